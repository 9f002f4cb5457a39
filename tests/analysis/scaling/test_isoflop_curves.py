"""IsoFLOP curves: on planted parabolas their minima are the planted ones, and the line is that of approach 2."""

from __future__ import annotations

import numpy as np
import pytest

from sweeplaw import analysis
from sweeplaw.analysis.fitting.derived.allocation import flops_per_nd
from sweeplaw.analysis.scaling.isoflop import compare_approaches
from sweeplaw.analysis.scaling.isoflop_curves import curves_of_fit, isoflop_curves
from sweeplaw.analysis.scaling.isoflop_design import IsoflopDesign, grouped
from tests.analysis.scaling.test_parabola import HOFFMANN, planted

BUDGETS = np.geomspace(1e18, 1e20, 4)


def parabolas(exponent: float = 0.5, bend: float = 0.02, sizes: int = 7, noise: float = 0.0) -> IsoflopDesign:
    """Return budgets whose loss is 2 + bend (ln N - ln N*)^2, with N* = 2 C^exponent."""
    away = np.tile(np.linspace(-1, 1, sizes), len(BUDGETS))
    flops = np.repeat(BUDGETS, sizes)
    n = 2 * flops**exponent * np.exp(away)
    losses = 2 + bend * away**2 + noise * np.random.default_rng(0).normal(size=len(n))
    return grouped(n, flops / 6 / n, losses, 6.0)


def test_minima_parabolas_and_the_line_are_the_planted_ones() -> None:
    found = isoflop_curves(parabolas(0.45), 6.0, resamples=50)
    assert len(found.found) == len(found.curves) == 4
    for flops, one in zip(BUDGETS, found.curves, strict=True):
        best = 2 * flops**0.45
        assert one.optimum == pytest.approx((best, 2.0))
        assert one.parabola is not None
        assert one.parabola(np.log(best * np.e**0.5)) == pytest.approx(2.005)
        assert one.to_dict()["parabola"][2] == pytest.approx(0.02)
    assert found.line is not None
    assert found.line.a == pytest.approx(0.45)
    assert (found.why_not, found.rows_used, found.rows) == ("", 28, 28)
    assert found.verdict() == "4 of 4 budgets have an optimum inside the sizes fitted"


def test_intervals_of_noisy_minima_hold_the_planted_ones() -> None:
    found = isoflop_curves(parabolas(sizes=21, noise=0.001), 6.0)
    for flops, one in zip(BUDGETS, found.curves, strict=True):
        assert one.interval is not None
        assert one.interval.low < 2 * flops**0.5 < one.interval.high
        assert one.interval.high / one.interval.low < 1.5


def test_an_interval_is_of_as_many_resamples_as_were_asked_for_without_the_minimum_of_the_runs_themselves() -> None:
    for one in isoflop_curves(parabolas(sizes=21, noise=0.001), 6.0, resamples=20).curves:
        assert one.interval is not None
        assert one.interval.method == "row bootstrap within the window, 20 resamples"


def test_runs_above_the_window_are_dropped_and_an_optimum_outside_the_sizes_is_none() -> None:
    rows = parabolas(bend=0.2)  # at the ends 10 % above the least loss, of which 3 % are within
    rows.losses[:7] = 2 + 0.02 * np.arange(7)  # the first budget falls towards its smallest size
    found = isoflop_curves(rows, 6.0, resamples=20)
    first, *others = found.curves
    assert [one.used.sum() for one in found.curves] == [4, 5, 5, 5]
    assert all((one.losses[~one.used] > 1.03 * one.losses.min()).all() for one in found.curves)
    assert first.optimum is None
    assert first.interval is None
    assert all(one.optimum is not None for one in others)
    assert found.verdict() == "3 of 4 budgets have an optimum inside the sizes fitted"


@pytest.mark.parametrize("count", [1, 2])
def test_of_few_budgets_there_are_curves_and_a_reason_why_there_is_no_line(count: int) -> None:
    rows = parabolas()
    kept = rows.budget < count
    found = isoflop_curves(grouped(rows.params[kept], rows.tokens[kept], rows.losses[kept]), 6.0, resamples=20)
    assert len(found.found) == count
    assert found.line is None
    assert f"a line needs 3 budgets of at least 4 sizes; {count} found" in found.why_not
    assert found.to_dict()["line"] is None


def test_rows_whose_compute_runs_on_in_small_steps_have_no_budgets() -> None:
    rng = np.random.default_rng(0)
    n, d = np.exp(rng.uniform(np.log(1e7), np.log(1e9), 400)), np.exp(rng.uniform(np.log(1e9), np.log(1e11), 400))
    rows = grouped(n, d, 1.7 + 406 / n**0.34 + 411 / d**0.28)
    largest = max(rows.budgets, key=len)
    assert "the rows have no budgets" in rows.fault(largest)
    assert all(np.ptp(np.log(rows.flops[members])) < np.log(1.5) for members in rows.usable)


@pytest.mark.heavy
def test_the_line_of_a_fit_is_approach_2_to_the_last_digit() -> None:
    fit = analysis.fit(planted(HOFFMANN, 1.5, 0.5, noise=5e-4), objective="ls")
    found = curves_of_fit(fit)
    (approach,) = [one for one in compare_approaches(fit, flops_per_nd(fit)[0]) if one.name == "2 parabola"]
    assert found.line is not None
    assert found.line.to_dict() == approach.to_dict()
    assert [one.optimum and one.optimum[0] for one in found.curves] == [one.params for one in approach.budgets]
