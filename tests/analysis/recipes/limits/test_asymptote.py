"""Limits of laws against another solver, and every way in which a law has no limit to report."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar, nnls

from sweeplaw.analysis.recipes.limits.asymptote import asymptotes, shape_fault
from sweeplaw.analysis.recipes.limits.limit import Curve, limits_of
from sweeplaw.analysis.recipes.limits.scenarios import Scenarios, central
from tests.analysis.recipes.study.planted import known

CURVES = [
    ([0.15, 0.3, 0.6, 1.4], [3.750, 3.587, 3.510, 3.462]),
    (range(1, 11), [3.587, 3.45994, 3.4188, 3.3952, 3.3831, 3.3741, 3.3697, 3.3658, 3.3619, 3.3594]),
    ([1, 2, 3], [3.587, 3.45994, 3.4188]),
    ([1, 2, 3, 4, 5], [4.17566, 3.79520, 3.67928, 3.61881, 3.58401]),
    ([2.1e8, 4.2e8, 8.4e8, 1.68e9], [3.75, 3.48, 3.24, 3.05]),
]


def one_dimensional(x: np.ndarray, losses: np.ndarray) -> tuple[float, float, float]:
    """Return C, A and alpha: a search over alpha with non-negative least squares of C and A inside."""
    x = x / np.exp(np.mean(np.log(x)))

    def misfit(log_alpha: float) -> float:
        return float(nnls(np.column_stack([np.ones(len(x)), x ** -np.exp(log_alpha)]), losses)[1])

    grid = np.linspace(np.log(0.01), np.log(10), 400)
    best = grid[int(np.argmin([misfit(one) for one in grid]))]
    found = minimize_scalar(misfit, bounds=(best - 0.05, best + 0.05), method="bounded", options={"xatol": 1e-10}).x
    (floor, scale), _ = nnls(np.column_stack([np.ones(len(x)), x ** -np.exp(found)]), losses)
    return floor, scale, float(np.exp(found))


@pytest.mark.parametrize(("x", "losses"), CURVES)
def test_every_scenario_agrees_with_a_search_over_alpha_and_non_negative_least_squares(x, losses):
    x, losses = np.array(x, dtype=float), np.array(losses)
    drawn = losses + 0.002 * np.random.default_rng(0).standard_normal((6, len(x)))
    rows = np.vstack([losses, drawn])
    found = asymptotes(x, rows, np.ones(rows.shape))
    middle = np.exp(np.mean(np.log(x)))
    for (floor, scale, exponent), row in zip(found.params, rows, strict=True):
        other = one_dimensional(x, row)
        assert floor == pytest.approx(other[0], abs=2e-5)
        assert exponent == pytest.approx(other[2], rel=2e-4)
        assert scale * middle**-exponent == pytest.approx(other[1], abs=2e-5)


def test_a_change_of_unit_changes_the_coefficient_alone():
    x, losses = np.array(CURVES[0][0]), np.array([CURVES[0][1]])
    billions, ones = (asymptotes(unit * x, losses, np.ones((1, 4))).params[0] for unit in (1.0, 1e9))
    assert ones[[0, 2]] == pytest.approx(billions[[0, 2]], rel=1e-6)
    assert ones[1] == pytest.approx(billions[1] * 1e9 ** billions[2], rel=1e-5)


def limit_of(x: list[float], losses: list[float], draws: int = 0):
    """Return the limit of one curve whose errors are not known."""
    scenarios = Scenarios(draws)
    curve = Curve({}, np.array(x), scenarios.constant(np.array(losses)), "")
    return limits_of([curve], "K", scenarios, np.random.default_rng(0))[0]


@pytest.mark.parametrize(
    ("losses", "reason"),
    [
        ([3.0, 2.9, 2.8, 2.7], "runs to 0: the losses fall without an end in sight"),
        ([3.0, 3.1, 3.2, 3.3], "do not fall"),
        ([3.0, 2.5, 2.52, 2.49], "runs to its bound"),
        ([3.0, 2.99, 2.7, 2.0], "runs to 0"),
    ],
)
def test_a_law_at_its_bound_has_no_limit_and_is_named(losses, reason):
    found = limit_of([1.0, 2.0, 3.0, 4.0], losses)
    assert found.status == "degenerate"
    assert found.value is None
    assert any(reason in note for note in found.notes)


def test_three_points_are_an_interpolation_without_an_interval():
    found = limit_of([1.0, 2.0, 4.0], [3.0, 2.5, 2.25], 200)
    assert found.status == "interpolation"
    assert found.value == pytest.approx(2.0)
    assert found.interval(Scenarios(200), 0.95) is None
    assert "an interpolation" in found.notes[-1]


def test_two_points_have_no_limit_and_say_which_there_are():
    found = limit_of([1.0, 2.0], [3.0, 2.5])
    assert (found.status, found.value) == ("too few", None)
    assert found.notes == ("K = 1, 2: a limit takes 3 of K or more",)


def test_a_limit_that_the_table_gives_stands_where_points_are_too_few():
    assert limit_of([1.0, np.inf], [3.0, 2.5]).value == 2.5
    assert limit_of([1.0, 2.0, 4.0, np.inf], [3.0, 2.5, 2.25, 1.0]).value == pytest.approx(2.0)


def test_what_is_not_falling_or_not_convex_is_named_where_it_happens():
    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert shape_fault(x, np.array([3.0, 2.5, 2.25, 2.2])) == ""
    assert shape_fault(x, np.array([3.0, 2.5, 2.6, 2.2])).startswith("not falling: 2.6 at 3")
    assert shape_fault(x, np.array([3.0, 2.8, 2.3, 2.2])) == "not convex at 2"


def test_an_interval_keeps_infinite_draws_and_counts_undefined_ones():
    draws = np.array([*np.linspace(1, 2, 90), *[np.inf] * 10])
    assert known(central(draws, 0.9, "")).high == np.inf
    assert known(central(draws, 0.8, "")).high < np.inf
    assert known(central(np.array([1.0, 2.0, np.nan]), 0.9, "")).note == "undefined in 1 of 3 draws"
    assert central(np.ones(10), 0.9, "") is None
