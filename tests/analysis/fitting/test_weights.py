"""Weights of rows by their noise, against the integrals that define them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from sweeplaw.analysis.fitting.noise.weights import LEAST_SHARE, inverse_variances, weighted
from sweeplaw.analysis.fitting.solver.objectives import parse_objective
from sweeplaw.analysis.fitting.solver.solve import Setup, set_up
from sweeplaw.analysis.laws.law import formula_law


@pytest.mark.parametrize("spread", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("delta", [0.5, 2.0])
def test_the_weight_is_that_of_least_variance_for_hubers_penalty(spread: float, delta: float) -> None:
    def expected(function: Any) -> float:
        return float(quad(lambda r: function(r) * norm.pdf(r, scale=spread), -40, 40, points=[-delta, delta])[0])

    slope = expected(lambda r: abs(r) <= delta)
    square = expected(lambda r: min(abs(r), delta) ** 2)
    assert inverse_variances(np.array([spread]), delta)[0] == pytest.approx(slope / square, rel=1e-5)


def test_least_squares_weigh_by_the_inverse_variance_and_absolute_deviations_by_the_inverse_deviation() -> None:
    spread = np.array([0.5, 1.0, 2.0])
    assert inverse_variances(spread, np.inf).tolist() == [4.0, 1.0, 0.25]
    small = inverse_variances(spread, 1e-6)
    np.testing.assert_allclose(small / small[1], 1 / spread, rtol=1e-4)


def setup() -> Setup:
    x = np.geomspace(1.0, 100.0, 12)
    losses = 2 + 1 / x + 0.01 * np.cos(3 * np.arange(12))
    return set_up(formula_law("E + A / N", ["N"]), parse_objective("ls", "raw"), {"N": x}, losses, np.ones(12))


def weights(relative: Any, *, clear: bool = True) -> Any:
    made = setup()
    noise: Any = SimpleNamespace(relative=relative, clear=clear)
    found = weighted(made, np.array([2.0, 1 / made.centre[0]]), noise)
    return None if found is None else found.problem.weights


def test_rows_are_weighted_only_where_the_noise_clearly_changes() -> None:
    relative = np.linspace(1.0, 3.0, 12)
    assert weights(None) is None
    assert weights(relative, clear=False) is None
    found = weights(relative)
    np.testing.assert_allclose(found, relative**-2.0 / np.mean(relative**-2.0))


def test_no_row_is_without_weight() -> None:
    relative = np.ones(12)
    relative[3] = 1e6
    found = weights(relative)
    assert found.min() == pytest.approx(LEAST_SHARE * found.max())
    assert found.mean() == pytest.approx(1)
