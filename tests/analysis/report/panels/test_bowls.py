"""Maps of the loss over two knobs: labels at their edges."""

from __future__ import annotations

import itertools
import re

import numpy as np
import polars as pl

from sweeplaw.analysis.report.charts.chart import LETTER
from sweeplaw.analysis.report.family import families
from sweeplaw.analysis.report.panels.bowls import bowls_card
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.analysis.tuning.optimum import optima

BY = Axes("params", "tokens", "val_loss", (), ("lr", "batch"))


def test_labels_of_long_levels_do_not_touch() -> None:
    rows = pl.DataFrame(
        [
            {
                "params": 1e7,
                "tokens": 1e9,
                "lr": lr,
                "batch": batch,
                "val_loss": 2 + np.log(lr / 3e-3) ** 2 + batch / 1e4,
            }
            for lr in np.geomspace(3e-4, 3e-2, 7).round(8)
            for batch in (64, 128, 256, 512, 1024)
        ]
    )
    (family,) = families(rows, BY)
    card = bowls_card(family, BY, ("lr", "batch"), optima(rows, ["params", "tokens"], ["lr", "batch"]), {}, "k")
    assert card is not None
    labels = re.findall(r'x="([\d.]+)" y="186.0" text-anchor="middle">([^<]+)<', card.drawings[0])
    ends = [(float(x) - LETTER * len(text) / 2, float(x) + LETTER * len(text) / 2) for x, text in labels]
    assert len(ends) > 1
    assert all(right < left for (_, right), (left, _) in itertools.pairwise(ends))
