"""The cards of isoFLOP curves of planted budgets: what they say is what was planted, and what is dropped is counted."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from sweeplaw.analysis.report.family import families
from sweeplaw.analysis.report.findings.isoflop import family_curves
from sweeplaw.analysis.report.panels.isoflop import curves_card, growth_card
from sweeplaw.analysis.scaling.isoflop_curves import IsoflopCurves, isoflop_curves
from sweeplaw.analysis.scaling.isoflop_design import grouped
from sweeplaw.analysis.tables.families import Axes

BY = Axes("N", "tokens", "loss", (), (), {"loss": "nats/token"})
BUDGETS = np.geomspace(1e18, 1e20, 4)


def runs(bend: float = 0.02, sizes: int = 7, k: float = 6.0) -> pl.DataFrame:
    """Return budgets whose loss is 2 + bend (ln N - ln N*)^2, less for larger ones, with N* = 2 C^(1/2), and noise."""
    away, flops = np.tile(np.linspace(-1, 1, sizes), len(BUDGETS)), np.repeat(BUDGETS, sizes)
    n = 2 * flops**0.5 * np.exp(away)
    losses = 2 + bend * away**2 - 0.05 * np.log10(flops / 1e18)
    losses += 1e-4 * np.random.default_rng(0).normal(size=len(n))
    return pl.DataFrame({"N": n, "tokens": flops / k / n, "loss": losses, "flops": flops})


def found(bend: float = 0.02, budgets: int = 4) -> IsoflopCurves:
    rows = runs(bend).head(7 * budgets)
    n, d, losses = (rows[name].to_numpy() for name in ("N", "tokens", "loss"))
    return isoflop_curves(grouped(n, d, losses), 6.0, resamples=200)


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_each_budget_has_a_parabola_a_minimum_and_its_flops_at_the_end() -> None:
    card = curves_card(found(), BY, "k")
    assert card.title == "Each budget has its best size"
    assert plain(card.caption).startswith(
        "28 of 28 runs fitted (filled): those within 3 % of the least loss of their budget; 0 dropped (hollow)."
    )
    exponent = re.search(r"Exponent of the best size in compute: ([\d.]+) \(([\d.]+) to ([\d.]+)\)", card.caption)
    assert exponent is not None
    value, low, high = map(float, exponent.groups())
    assert low < 0.5 < high
    assert value == pytest.approx(0.5, abs=0.01)
    assert card.caption.endswith("4 of 4 budgets have an optimum inside the sizes fitted.")
    drawn = plain(card.drawings[0])
    assert drawn.count('class="cur ') == drawn.count("best N") == 4
    assert drawn.count("<circle") == 28
    minima = re.findall(r"FLOPs: best N ([\d.]+) B \([\d.]+ B to [\d.]+ B\), loss ([\d.]+)", drawn)
    assert [float(size) for size, _ in minima] == pytest.approx([2e-9 * c**0.5 for c in BUDGETS], rel=0.02)
    assert [float(loss) for _, loss in minima] == pytest.approx([2, 1.9667, 1.9333, 1.9], abs=2e-4)
    assert card.sheet is not None
    assert len(card.sheet.rows) == 28
    assert card.sheet.rows[0][4] == pytest.approx(2e9, rel=0.02)


def test_runs_outside_the_window_are_hollow_and_counted() -> None:
    card = curves_card(found(bend=0.09), BY, "k")  # at the ends 4.5 % above the least
    assert plain(card.caption).startswith("20 of 28 runs fitted")
    assert "8 dropped (hollow)" in card.caption
    assert card.drawings[0].count('class="p hollow') == 8
    far = curves_card(found(bend=0.2), BY, "k")  # three sizes within 3 %: the fourth decides
    assert plain(far.caption).startswith("16 of 28 runs fitted")
    assert "or up to 4.7 % where that holds too few sizes; 12 dropped" in plain(far.caption)
    above = re.search(r"(\d) runs above the frame", far.caption)
    assert above is not None
    assert far.drawings[0].count('class="p hollow') == 12 - int(above[1])


def test_with_too_few_budgets_for_a_line_the_reason_stands_in_for_the_exponent() -> None:
    card = curves_card(found(budgets=1), BY, "k")
    assert card.title == "One budget has its best size inside"
    assert "No exponent: a line needs 3 budgets of at least 4 sizes; 1 found" in card.caption
    assert growth_card(found(budgets=1), BY, None, "k") is None


@pytest.mark.parametrize(
    ("surface", "sentence"),
    [
        ((0.52, 0.49, 0.55), "It overlaps that of the law of N and D: 0.520 (0.490 to 0.550)."),
        ((0.62, 0.59, 0.65), "It does not overlap that of the law of N and D: 0.620 (0.590 to 0.650)."),
        (None, "The law of N and D gives no exponent to compare."),
    ],
)
def test_the_best_size_grows_as_planted_and_is_compared_with_the_law(surface, sentence: str) -> None:
    card = growth_card(found(), BY, surface, "k")
    assert card is not None
    power = re.fullmatch(r"The best size grows as C to the power ([\d.]+)", card.title)
    assert power is not None
    assert float(power[1]) == pytest.approx(0.5, abs=0.01)
    assert card.caption.endswith(sentence)
    assert card.drawings[0].count("FLOPs: best N") == 4
    assert card.sheet is not None
    assert [row[1] for row in card.sheet.rows] == pytest.approx([2 * c**0.5 for c in BUDGETS], rel=0.02)


def test_a_growth_whose_interval_holds_none_is_no_title() -> None:
    curves = found()
    assert curves.line is not None
    unsure = replace(curves.line.intervals["a"], low=-0.01)
    card = growth_card(replace(curves, line=replace(curves.line, intervals={"a": unsure})), BY, None, "k")
    assert card is not None
    assert card.title == "Whether the best size grows is not known"
    assert "(−0.01" in card.caption


@pytest.mark.parametrize("k", [6.0, 8.0])
def test_without_a_law_the_curves_are_of_the_best_rows_at_the_runs_own_flops(k: float) -> None:
    (family,) = families(runs(k=k), BY)
    curves = family_curves(family, BY, None)
    assert curves is not None
    assert curves.k == pytest.approx(k)
    assert [one.budget.flops for one in curves.curves] == pytest.approx(BUDGETS)


def test_runs_that_do_not_group_by_compute_have_no_curves() -> None:
    grid = [{"N": n, "tokens": d, "loss": 2.0 + 1e7 / n + 1e9 / d} for n in (1e7, 5e7, 3e8) for d in (1e9, 7e9)]
    (family,) = families(pl.DataFrame(grid), BY)
    assert family_curves(family, BY, None) is None
