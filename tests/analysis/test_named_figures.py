"""The figures of a report by name, of runs that lack what some figures show."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import polars as pl
import pytest

from sweeplaw.analysis.report import report
from sweeplaw.analysis.report.paper.named import named_figures


@pytest.mark.heavy
def test_a_report_without_tuned_knobs_has_the_figures_of_its_law_and_each_can_be_drawn(tmp_path: Path) -> None:
    rows = [(n, d, 1.7 + 400 / n**0.34 + 410 / d**0.28) for n, d in product((1e6, 4e6, 16e6), (1e8, 4e8, 16e8))]
    pl.DataFrame(rows, schema=["N", "D", "loss"], orient="row").write_csv(tmp_path / "runs.csv")
    found = named_figures(report.make(tmp_path / "runs.csv", loss="loss", x={"N": "N", "D": "D"}))
    assert list(found) == ["loss_n", "loss_d", "residuals"]
    assert all(draw().axes for draw in found.values())
