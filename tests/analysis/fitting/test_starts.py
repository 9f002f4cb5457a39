"""The starts of a fit: how many, which of the grid, and linear parameters at their bounded least squares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import lsq_linear
from scipy.stats import qmc

from sweeplaw.analysis.fitting.solver.derivatives import mean_penalties
from sweeplaw.analysis.fitting.solver.objectives import parse_objective
from sweeplaw.analysis.fitting.solver.solve import Setup, set_up
from sweeplaw.analysis.fitting.solver.starts import _grid, _unit_points, project, starting_points
from sweeplaw.analysis.laws.catalog import LAWS
from sweeplaw.analysis.laws.law import Law, formula_law


def setup_of(law: Law, objective: str = "huber:0.001", space: Any = "log") -> Setup:
    rng = np.random.default_rng(0)
    size, tokens = np.exp(rng.uniform(17, 22, 30)), np.exp(rng.uniform(20, 25, 30))
    losses = (1.7 + 400 / size**0.34 + 410 / tokens**0.28) * np.exp(0.01 * rng.normal(size=30))
    return set_up(law, parse_objective(objective, space), {"N": size, "D": tokens}, losses, rng.uniform(0.5, 2, 30))


@pytest.mark.parametrize(
    ("law", "count"),
    [
        (LAWS["additive"], 16),  # two exponents: a grid
        (LAWS["additive"].fix(alpha=0.34), 16),
        (LAWS["additive"].fix(alpha=0.34, beta=0.28), 1),  # linear: one start is the minimum
        (LAWS["skaling"], 64),  # more than two: many minima, so more are tried
    ],
    ids=["two", "one", "none", "three"],
)
def test_the_number_of_starts_follows_that_of_the_nonlinear_parameters(law: Law, count: int) -> None:
    setup = setup_of(law)
    points = starting_points(law, setup.problem, setup.box, setup.delta)
    assert points.shape == (count, len(law.free))
    assert len(np.unique(points.round(12), axis=0)) == count
    assert (points >= setup.box.low).all()
    assert (points <= setup.box.high).all()


@pytest.mark.parametrize("law", [LAWS["additive"], LAWS["skaling"]], ids=lambda law: law.name)
def test_two_thirds_are_the_best_of_the_grid_and_the_others_come_from_all_of_the_rest(law: Law) -> None:
    setup = setup_of(law)
    points = starting_points(law, setup.problem, setup.box, setup.delta)
    linear = tuple(setup.problem.bound.function.linear)
    grid = _grid(law, setup.box, linear)
    every = project(setup.problem, grid, linear, setup.box, setup.delta) if linear else grid
    scores = np.sort(mean_penalties(setup.problem, every, np.full(len(every), setup.delta)))
    own = mean_penalties(setup.problem, points, np.full(len(points), setup.delta))
    best = 2 * len(points) // 3
    np.testing.assert_allclose(own[:best], scores[:best], rtol=1e-9)
    assert own[best] > scores[best - 1]
    assert np.searchsorted(scores, own[-1]) > 0.8 * len(scores), "the worst part of the grid is tried, too"


def test_more_than_two_dimensions_are_filled_by_a_halton_sequence() -> None:
    halton = qmc.Halton(3, scramble=False).random(385)[1:]  # without its first point, the origin
    np.testing.assert_allclose(_unit_points(384, 3), halton)
    assert _unit_points(81, 2).shape == (81, 2)
    assert sorted({float(value) for value in _unit_points(81, 2)[:, 0]}) == pytest.approx(np.linspace(0, 1, 9).tolist())
    assert _unit_points(48, 1)[:, 0].tolist() == pytest.approx(np.linspace(0, 1, 48).tolist())


@pytest.mark.parametrize("space", ["raw", "log"])
@pytest.mark.parametrize("low", [0.0, 1.5])
def test_linear_parameters_are_at_their_bounded_least_squares(space: Any, low: float) -> None:
    law = formula_law("E + A * N + B / D", ["N", "D"])
    x = np.random.default_rng(1).uniform(0.5, 2, (2, 25))
    losses, weights = 1.0 + 2 * x[0] + 0.5 / x[1] + 0.1 * np.sin(9 * x[0]), np.linspace(0.5, 2, 25)
    setup = set_up(law, parse_objective("ls", space), {"N": x[0], "D": x[1]}, losses, weights)
    names = [param.name for param in law.free]
    lower = np.where(np.array(names) == "E", low, 0.0)
    box = setup.box.__class__(lower, setup.box.high, setup.box.log, setup.box.frozen)
    found = project(setup.problem, np.ones((1, 3)), (0, 1, 2), box, setup.delta)[0]
    columns = {"E": np.ones(25), "A": x[0] / setup.centre[0], "B": setup.centre[1] / x[1]}
    basis = np.stack([columns[name] for name in names], axis=1)
    scale = np.sqrt(weights) / (losses if space == "log" else 1.0)
    expected = lsq_linear(basis * scale[:, None], losses * scale, (lower, np.full(3, np.inf))).x
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
