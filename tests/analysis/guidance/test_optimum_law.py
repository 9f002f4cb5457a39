"""The law of the optimum: planted slopes, the bound on any estimate of them, and runs placed to narrow it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sweeplaw.analysis.guidance.guide import Guide, Options
from sweeplaw.analysis.guidance.optimum_law import optimum_at, optimum_gradient
from tests.analysis.guidance.planted import COUPLING, CURVATURE, Planted, planted
from tests.analysis.guidance.test_guide import search

NOISE = 0.0006


def cramer_rao(truth: Planted, index: list[int], noise: float) -> np.ndarray:
    """Return the least sd (knobs, axes) of unbiased slopes from these runs, if the form of the truth were known."""
    space, x, z = truth.space, truth.space.x[index], truth.space.z[truth.space.cell[index]]
    knobs, axes = truth.slope.shape
    matrix = CURVATURE * np.eye(knobs) + COUPLING * (1 - np.eye(knobs)) / max(1, knobs - 1)
    off = x - truth.optimum[space.cell[index]]
    toward = -2 * off @ matrix  # derivative by the optimum
    columns = [toward[:, [k]] * np.hstack([np.ones((len(x), 1)), z]) for k in range(knobs)]
    columns += [off[:, [i]] * off[:, [j]] for i in range(knobs) for j in range(i, knobs)]
    columns.append((space.cell[index][:, None] == np.arange(len(space.cells))) * 1.0)
    design = np.hstack(columns)
    covariance = noise**2 * np.linalg.pinv(design.T @ design)
    per_knob = np.sqrt(covariance.diagonal()[: knobs * (axes + 1)]).reshape(knobs, axes + 1)
    return per_knob[:, 1:]


@pytest.mark.heavy
def test_planted_slopes_lie_within_their_intervals_and_no_interval_is_narrower_than_possible() -> None:
    errors = []
    for seed in range(6):
        truth = planted(2, 2, noise=NOISE, seed=20 + seed)
        guide = search(truth, 90, seed)
        law, bound = guide.law(), cramer_rao(truth, guide.records.index, NOISE)
        for k, knob in enumerate(truth.space.knobs):
            for a, axis in enumerate(truth.space.axes):
                sd = law.sd[knob.name][axis]
                errors.append((law.slope[knob.name][axis] - truth.slope[k, a]) / sd)
                assert 0.8 * bound[k, a] < sd < 12 * bound[k, a], (sd, bound[k, a])
    assert max(np.abs(errors)) < 4
    assert np.sqrt(np.mean(np.square(errors))) < 1.5


@pytest.mark.heavy
def test_slopes_of_a_linear_knob_and_their_deviations_are_in_its_own_units() -> None:
    truth = planted(1, 2, noise=NOISE, seed=3, scale="linear")
    index = np.arange(0, len(truth.space), 2)
    guides = Guide(truth.space), Guide(replace(truth.space, unit=10 * truth.space.unit))
    for guide in guides:
        guide.observe(index.tolist(), truth.loss[index].tolist())
    (one, ten), (knob,) = (guide.law() for guide in guides), truth.space.knobs
    for axis in truth.space.axes:
        assert ten.slope[knob.name][axis] == pytest.approx(10 * one.slope[knob.name][axis])
        assert ten.sd[knob.name][axis] == pytest.approx(10 * one.sd[knob.name][axis])


@pytest.mark.heavy
def test_the_gradient_of_the_optimum_is_that_of_finite_differences() -> None:
    guide = search(planted(2, 2, noise=NOISE, seed=3), 40)
    belief, z = guide.belief().copy(), np.array([1.0, 2.0])
    gradient = optimum_gradient(belief, z)
    first = len(belief.active)
    for term in range(gradient.shape[1]):
        ends = []
        for sign in (1, -1):
            moved = belief.copy()
            moved.mean[first + term] += sign * 1e-7
            ends.append(optimum_at(moved, z))
        np.testing.assert_allclose((ends[0] - ends[1]) / 2e-7, gradient[:, term], rtol=1e-4, atol=1e-2)


@pytest.mark.heavy
def test_runs_placed_for_a_target_tell_the_optimum_there_better_than_runs_placed_for_the_cells() -> None:
    errors: dict[str, list[float]] = {"target": [], "regret": []}
    for seed in range(4):
        truth = planted(2, 2, noise=NOISE, seed=40 + seed)
        target = tuple(float(v) for v in truth.space.cells.max(axis=0) * 4)
        z = truth.space.at(target)
        there = truth.optimum.mean(axis=0) + truth.slope @ z
        budget = 20 * float(np.median(truth.space.cost))
        for name, options in (("target", Options(target=target)), ("regret", Options())):
            guide = Guide(truth.space, seed, options)
            while found := guide.propose(1, budget - guide.records.spent):
                guide.observe([found[0].index], [float(truth.loss[found[0].index])])
            errors[name] += list(optimum_at(guide.belief(), z) - there)
    spread = {name: float(np.sqrt(np.mean(np.square(values)))) for name, values in errors.items()}
    assert spread["target"] < 0.8 * spread["regret"], spread
