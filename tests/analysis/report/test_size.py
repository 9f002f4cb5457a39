"""The page of very many runs stays small: dots and lines are drawn for some, and the captions say so."""

import numpy as np
import polars as pl
import pytest

from sweeplaw import analysis
from sweeplaw.analysis.report.panels.residuals import MOST_DOTS, residuals_card

pytestmark = pytest.mark.heavy


def test_residuals_of_many_runs_are_thinned_evenly_over_compute_and_the_caption_says_so() -> None:
    random = np.random.default_rng(0)
    n, d = (np.repeat(part, 200) for part in np.meshgrid(np.geomspace(1e7, 1e9, 4), np.geomspace(1e9, 1e11, 4)))
    n, d = n.ravel(), d.ravel()
    loss = (1.7 + 406 / n**0.34 + 411 / d**0.28) * np.exp(0.002 * random.standard_normal(len(n)))
    rows = pl.DataFrame({"N": n, "D": d, "loss": loss})
    fit = analysis.fit(rows, "additive", x={"N": "N", "D": "D"}, y="loss", all_rows=True)
    card = residuals_card(fit, "k")
    assert card is not None
    assert card.sheet is not None
    assert card.drawings[0].count("<circle") == len(card.sheet.rows) == MOST_DOTS < len(n)
    assert f"{MOST_DOTS:,} are drawn and in the table" in card.caption
    compute = [row[2] for row in card.sheet.rows]
    assert {min(compute), max(compute)} == {6 * n.min() * d.min(), 6 * n.max() * d.max()}
    few = analysis.fit(rows[::200], "additive", x={"N": "N", "D": "D"}, y="loss", all_rows=True)
    small = residuals_card(few, "k")
    assert small is not None
    assert "drawn" not in small.caption
