"""Numbers of isoFLOP designs, of parts held out and of budgets that are known in closed form, and where rules turn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sweeplaw.analysis.forecasting.budgets import (
    budgets_of,
    compute_of,
    enough,
    last_decade,
    next_budgets,
)
from sweeplaw.analysis.scaling.approach import IsoflopBudget, slopes
from sweeplaw.analysis.scaling.isoflop_design import IsoflopDesign, group_budgets, windows
from sweeplaw.analysis.scaling.parabola import _minimum, _notes, parabola
from sweeplaw.analysis.scaling.validation import Holdout, paired


def test_compute_is_one_budget_up_to_a_tenth_apart() -> None:
    assert group_budgets(np.array([1.0, 4.2, 1.09, 1.21, 4.0])).tolist() == [0, 2, 0, 1, 2]


def test_a_window_holds_three_hundredths_or_as_many_sizes_as_a_parabola_needs_up_to_a_tenth() -> None:
    params = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    losses = np.array([
        [1.0, 1.01, 1.015, 1.02, 1.0299, 1.0301], [1.0, 1.01, 1.02, 1.0625, 1.07, 1.5],
        [1.0, 1.01, 1.02, 1.101, 1.2, 1.5],
    ])  # fmt: skip
    inside, width = windows(params, losses)
    assert inside.tolist() == [[True] * 5 + [False], [True] * 4 + [False] * 2, [False] * 6]
    assert width.tolist() == pytest.approx([0.03, 0.0625, 0.101])
    twice = windows(np.array([1.0, 1.0, 2.0, 3.0]), losses[:1, :4])  # three sizes
    assert not twice[0].any()
    assert twice[1].tolist() == [math.inf]


def test_lines_through_optima_skip_those_that_are_not_known() -> None:
    place = np.array([0.0, 1.0, 2.0, 4.0])
    best = np.array([[1.0, 3.0, 5.0, 9.0], [1.0, np.nan, np.nan, 5.0], [1.0, np.nan, np.nan, np.nan]])
    slope, intercept = slopes(place, best)
    assert slope.tolist() == pytest.approx([2.0, 1.0, np.nan], nan_ok=True)
    assert intercept[:2].tolist() == pytest.approx([1.0, 1.0])


def test_the_minimum_of_a_polynomial_is_where_its_slope_rises_through_zero() -> None:
    assert _minimum(np.array([[0.0, -2.0, 1.0], [0.0, 1.0, -1.0], [0.0, 1.0, 0.0]]), 2).tolist() == pytest.approx(
        [1.0, np.nan, np.nan], nan_ok=True
    )
    cubic = np.array([[0.0, 2.0, -1.5, 1 / 3], [0.0, -2.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]])  # slopes (x - 1)(x - 2) …
    assert _minimum(cubic, 3).tolist() == pytest.approx([2.0, 1.0, np.nan], nan_ok=True)


def test_exact_parabolas_give_the_exponent_and_each_minimum() -> None:
    """Five budgets a factor of 10 apart, whose best size is 1e6 (C / 1e18)^0.6, with an exact parabola in log N."""
    flops = np.repeat(10.0 ** np.arange(18, 23), 7)
    best = 1e6 * (flops / 1e18) ** 0.6
    params = best * np.tile(np.exp(np.linspace(-0.6, 0.6, 7)), 5)
    losses = 2 + 0.1 * np.log(params / best) ** 2
    rows = IsoflopDesign(params, flops / 6 / params, losses, flops, group_budgets(flops))
    found = parabola(rows, resamples=20)
    assert found.name == "2 parabola"
    assert [found.a, found.b] == pytest.approx([0.6, 0.4])
    assert found.coefficient == pytest.approx(1e6 / 1e18**0.6)
    assert found.params(1e20) == pytest.approx(1e6 * 100**0.6)
    assert [one.params for one in found.budgets] == pytest.approx(best[::7].tolist())
    assert [(one.rows, one.rows_used, one.window, one.note) for one in found.budgets] == [(7, 7, 0.03, "")] * 5
    assert [one.off_centre for one in found.budgets] == pytest.approx([0.0] * 5, abs=1e-9)
    assert found.intervals["a"].method == "row bootstrap within budgets, 20 resamples"
    assert "cubics in place of parabolas give a = 0.6000 (5 budgets)" in found.notes


def test_notes_count_rows_and_off_centre_budgets() -> None:
    budgets = (
        IsoflopBudget(1e18, 9, 1e6, None, 0.3, "", 5, 0.03), IsoflopBudget(1e19, 9, 1e6, None, -0.05, "", 4, 0.2),
        IsoflopBudget(1e20, 2, None, None, None, "2 sizes, fewer than 3"),
    )  # fmt: skip
    assert _notes(budgets) == [
        "fitted to the 9 of 20 rows within 3 % of the least loss of their budget (20 % where that holds too few sizes)",
        "off-centre sampling at 1 of 2 budgets pulls the vertex", "1e+20 FLOPs: 2 sizes, fewer than 3",
    ]  # fmt: skip


def test_the_errors_of_a_part_held_out() -> None:
    observed, predicted = np.array([2.0, 4.0]), np.array([2.5, 3.0])
    found = Holdout("largest", np.arange(2), observed, predicted, 7, "fine", True, "a note", 0.9,
                    (np.array([2.0, 2.0]), np.array([3.0, 3.5])))  # fmt: skip
    assert found.errors.tolist() == [0.25, -0.25]
    assert found.summary() == {
        "kind": "largest", "rows": 2, "trained_on": 7, "mean_relative_error": 0.25, "worst_relative_error": 0.25,
        "bias": 0.0, "rms_nats": pytest.approx(math.sqrt(0.625)), "band_level": 0.9, "rows_inside_band": 1,
        "share_inside_band": 0.5, "verified": True, "status": "fine", "note": "a note",
    }  # fmt: skip
    bare = Holdout("largest", np.arange(2), observed, predicted, 7, "fine", True).summary()
    assert (bare["rows_inside_band"], bare["share_inside_band"], bare["band_level"]) == (None, None, 0.95)


def test_two_laws_are_compared_on_the_same_rows() -> None:
    squares = np.array([[1.0, 4.0, 1.0], [4.0, 9.0, 4.0]])
    found = paired("a", "b", squares, 0.9, 50, 0)
    assert (found.first, found.second, found.rows) == ("a", "b", 3)
    assert found.rms == (math.sqrt(2.0), math.sqrt(17 / 3))
    assert found.difference == pytest.approx(-11 / 3)
    assert found.probability_first_better == 1.0
    assert -5 <= found.interval.low <= found.interval.high <= -3
    assert (found.interval.level, found.interval.method) == (0.9, "paired row bootstrap, 50 resamples of 3")
    assert paired("a", "b", squares[[0, 0]], 0.9, 50, 0).probability_first_better == 0.5


def test_compute_is_the_product_of_the_inputs_that_make_it() -> None:
    n, d, k = np.array([2.0]), np.array([3.0]), np.array([5.0])
    assert compute_of({"N": n, "D": d, "K": k}).tolist() == pytest.approx([6.0])
    assert compute_of({"K": k, "N": n, "M": d}).tolist() == pytest.approx([30.0])
    assert compute_of({"x": n, "K": k}).tolist() == pytest.approx([10.0])


def test_budgets_are_clusters_where_nine_in_ten_runs_are_in_one_and_thirds_of_a_decade_elsewhere() -> None:
    clusters = np.repeat([1.0, 2.0, 40.0], 6)
    assert budgets_of(clusters).tolist() == [0] * 6 + [1] * 6 + [2] * 6
    alone = np.array([3.0, 5.0])
    assert budgets_of(np.concatenate([clusters, alone])).max() == 4  # 18 of 20 are in clusters
    scattered = 10.0 ** np.array([0.0, 0.3, 0.4, 1.0, 1.4])
    assert budgets_of(scattered).tolist() == [0, 0, 1, 2, 3]


def test_a_forecast_needs_twelve_runs_at_three_budgets() -> None:
    assert [enough(12, 3), enough(11, 3), enough(12, 2)] == [True, False, False]
    numbers = np.repeat([0, 1, 2, 3], [5, 4, 3, 2])
    (only,) = next_budgets(numbers)
    assert (only.name, only.known.sum(), only.ahead.sum()) == ("budget 4", 12, 2)
    assert list(next_budgets(np.repeat([0, 1, 2, 3], [5, 4, 2, 2]))) == []
    compute = np.repeat([1.0, 2.0, 4.0, 60.0], [5, 4, 3, 2])
    (cut,) = last_decade(compute, numbers)
    assert (cut.name, cut.known.sum(), cut.ahead.sum()) == ("last decade", 12, 2)
    assert list(last_decade(np.where(compute == 4.0, 6.1, compute), numbers)) == []
