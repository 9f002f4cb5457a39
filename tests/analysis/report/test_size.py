"""The page of very many runs stays small: dots and lines are drawn for some, and the captions say so."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sweeplaw import analysis
from sweeplaw.analysis.report import page, report
from sweeplaw.analysis.report.charts.dots import MOST_DOTS
from sweeplaw.analysis.report.family_laws import MOST_LAWS
from sweeplaw.analysis.report.panels.residuals import residuals_card
from sweeplaw.analysis.tables.families import Axes

pytestmark = pytest.mark.heavy
BY = Axes("N", "D", "loss", (), ())


def test_residuals_of_many_runs_are_thinned_evenly_over_compute_and_the_caption_says_so() -> None:
    random = np.random.default_rng(0)
    n, d = (np.repeat(part, 200) for part in np.meshgrid(np.geomspace(1e7, 1e9, 4), np.geomspace(1e9, 1e11, 4)))
    n, d = n.ravel(), d.ravel()
    loss = (1.7 + 406 / n**0.34 + 411 / d**0.28) * np.exp(0.002 * random.standard_normal(len(n)))
    rows = pl.DataFrame({"N": n, "D": d, "loss": loss})
    fit = analysis.fit(rows, "additive", x={"N": "N", "D": "D"}, y="loss", all_rows=True)
    card = residuals_card(fit, BY, "k")
    assert card is not None
    assert card.sheet is not None
    assert card.drawings[0].count("<circle") == len(card.sheet.rows) == MOST_DOTS < len(n)
    assert f"{MOST_DOTS:,} of {len(n):,} are drawn and in the table" in card.caption
    compute = [row[2] for row in card.sheet.rows]
    assert {min(compute), max(compute)} == {6 * n.min() * d.min(), 6 * n.max() * d.max()}
    few = analysis.fit(rows[::200], "additive", x={"N": "N", "D": "D"}, y="loss", all_rows=True)
    small = residuals_card(few, BY, "k")
    assert small is not None
    assert "drawn" not in small.caption


def test_of_thousands_of_nearly_distinct_sizes_some_lines_have_a_law_and_the_page_counts_the_others(
    tmp_path: Path,
) -> None:
    """2,000 sizes at two budgets, 8 of which have four budgets more: only these can have a law in D."""
    random = np.random.default_rng(0)
    n = np.round(10 ** random.uniform(7, 9, 2000))
    budgets = np.geomspace(1e9, 1e11, 6)
    many = [np.repeat(n, 2), np.repeat(n[:8], 4)]
    d = np.concatenate([np.tile(budgets[:2], 2000), np.tile(budgets[2:], 8)])
    size = np.concatenate(many)
    loss = (1.7 + 406 / size**0.34 + 411 / d**0.28) * np.exp(0.002 * random.standard_normal(len(size)))
    pl.DataFrame({"N": size, "D": d, "loss": loss}).write_csv(tmp_path / "many.csv")
    made = report.make(tmp_path / "many.csv", x={"N": "N", "D": "D"}, loss="loss")
    html, data = page.write(made, tmp_path)
    values = json.loads(data.read_text(encoding="utf-8"))["families"][0]
    in_d = [one for one in values["slices"] if one["x"] == ["D"]]
    assert 0 < len(in_d) <= 8 < MOST_LAWS
    assert {one["at"]["N"] for one in in_d} <= set(n[:8])
    assert values["slices_left_out"] == {"N": 2000 - len(in_d), "D": 0}
    assert values["surface"]["params"]["alpha"] == pytest.approx(0.34, abs=0.01)  # the planted one
    method = values["surface"]["intervals"]["alpha"]["method"]
    assert method == f"row bootstrap, {1_000_000 // len(d)} resamples of {len(d)}"
    text = html.read_text(encoding="utf-8")
    assert f"{2000 - len(in_d):,} further lines were not tried" in text
    assert text.count("<circle") < 5 * 2 * MOST_DOTS
