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


def test_cells_touch_where_another_map_has_levels_between() -> None:
    rows = pl.DataFrame(
        [
            {"params": n, "tokens": 1e9, "lr": lr, "batch": batch, "val_loss": 2 + np.log(lr / 3e-3) ** 2 + batch / 1e4}
            for n, rates in ((1e7, (1e-3, 2e-3, 4e-3, 8e-3)), (1e8, (1.1e-3, 2.2e-3, 4.4e-3)))
            for lr in rates
            for batch in (64, 128, 256, 512, 1024)
        ]
    )
    (family,) = families(rows, BY)
    card = bowls_card(family, BY, ("lr", "batch"), optima(rows, ["params", "tokens"], ["lr", "batch"]), {}, "k")
    assert card is not None
    for number, one in enumerate(card.drawings[0].split('class="bowl"')[1:]):
        boxes = {
            (float(x), float(width))
            for x, width in re.findall(r'<rect x="([-\d.]+)" y="[-\d.]+" width="([\d.]+)"', one)
        }
        assert len(boxes) == (4, 3)[number]
        for (x, width), (after, _) in itertools.pairwise(sorted(boxes)):
            assert abs(x + width - after) < 0.2
