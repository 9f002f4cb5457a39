"""The belief is the posterior of its Gaussian process; the evidence tells a law from cells that lie off it."""

from __future__ import annotations

import numpy as np
import pytest

from sweeplaw.analysis.guidance.heterogeneity import group_scales
from sweeplaw.analysis.guidance.surface import Belief, believe, discrepancy
from sweeplaw.analysis.guidance.terms import OFF_LAW, Terms
from tests.analysis.guidance.planted import Planted, planted

SEED_NOISE = 0.0008


def test_too_few_records_leave_every_scale_at_one_and_others_that_tell_nothing_at_its_prior() -> None:
    terms = Terms.of(planted(2, 2, noise=0.0, seed=1).space)
    few, more = (group_scales(terms, np.zeros((n, len(terms.sd))), np.eye(n), np.zeros(n)) for n in (8, 9))
    assert few.tolist() == [1, 1, 1]
    prior = (0.3 * 0.1**2 + 0.3 * 0.5**2 + 0.3 * 1.5**2 + 0.1 * 3**2) ** 0.5  # by weights of four scales
    assert more == pytest.approx([1, prior, prior])


def known(truth: Planted, runs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points near the optima, their log losses and the best of each cell."""
    rng = np.random.default_rng(seed)
    near = np.flatnonzero((np.abs(truth.space.x - truth.optimum[truth.space.cell]) < 1.6).all(axis=1))
    index = rng.choice(near, runs, replace=False)
    y = np.log(truth.loss[index])
    best = np.full(len(truth.space.cells), np.inf)
    np.minimum.at(best, truth.space.cell[index], y)
    return index, y, best


def belief_of(truth: Planted, runs: int) -> tuple[Belief, np.ndarray, np.ndarray]:
    index, y, best = known(truth, runs)
    return believe(Terms.of(truth.space), index, y, best, SEED_NOISE), index, y


def test_the_belief_is_the_posterior_of_the_process_by_its_textbook_formula() -> None:
    belief, index, y = belief_of(planted(2, 2, noise=0.0005, seed=1), 40)
    terms, fit, active = belief.terms, belief.fit, belief.active
    points = np.concatenate([index, active])
    features = terms.features(points)
    prior = features @ np.diag(terms.sd**2) @ features.T + discrepancy(belief.space, fit, points, points)
    ran, rest = slice(len(index)), slice(len(index), None)
    gain = prior[rest, ran] @ np.linalg.inv(prior[ran, ran] + np.diag(belief.noise[index] ** 2))
    mean = terms.mean(active) + gain @ (y - terms.mean(index))
    np.testing.assert_allclose(belief.mu, mean, atol=1e-7)
    covariance = prior[rest, rest] - gain @ prior[ran, rest]
    np.testing.assert_allclose(belief.covariance[: len(active), : len(active)], covariance, atol=1e-9)


def test_a_record_learnt_one_by_one_lowers_the_variance_as_one_that_is_awaited() -> None:
    truth = planted(2, 2, noise=0.0005, seed=2)
    belief, index, _ = belief_of(truth, 40)
    point = next(int(p) for p in belief.active if p not in index)
    learnt, awaited = belief.copy(), belief.copy()
    learnt.learn(point, float(belief.mu[belief.row[point]]), np.inf)
    awaited.noise[point] = learnt.noise[point]
    awaited.await_records(np.array([point]))
    np.testing.assert_allclose(learnt.covariance, awaited.covariance, atol=1e-12)
    np.testing.assert_array_equal(awaited.mean, belief.mean)
    assert learnt.variance[belief.row[point]] < belief.variance[belief.row[point]]


@pytest.mark.parametrize(("octaves", "low", "high"), [(0.0, 0.0, 0.75), (0.6, 1.5, 2.6)])
def test_the_evidence_says_how_far_cells_lie_off_the_law(octaves: float, low: float, high: float) -> None:
    truth = planted(2, 2, noise=0.0005, seed=3, off=octaves)
    belief, _, _ = belief_of(truth, 120)
    prior = Terms.of(truth.space)
    scale = (belief.terms.sd / prior.sd)[prior.group == OFF_LAW]
    assert low < scale[0] < high, scale[0]


@pytest.mark.parametrize("axes", [0, 1, 3])
def test_the_features_are_those_of_the_surfaces_that_the_parameters_give(axes: int) -> None:
    space = planted(2, axes, noise=0.0, seed=4, recipes=("adamw", "muon")).space
    terms = Terms.of(space)
    parameters = np.random.default_rng(0).standard_normal(len(terms.sd)) * terms.sd
    parameters[terms.shared + terms.by_level.shape[1] :] *= (
        terms.group[terms.shared + terms.by_level.shape[1] :] == OFF_LAW
    )
    points = np.arange(len(space))
    whole = terms.mean(points) + terms.features(points) @ parameters
    surface, x = space.surface, space.x
    matrix = 0.004 * np.eye(2)
    for value, (i, j) in zip(parameters[terms.first_pair :], terms.pairs, strict=False):
        matrix[i, j] += value / 2
        matrix[j, i] += value / 2
    quadratic = terms.levels(parameters)[surface] + (terms.slopes(parameters)[surface] * x).sum(axis=1)
    np.testing.assert_allclose(whole, quadratic + ((x @ matrix) * x).sum(axis=1), atol=1e-12)


@pytest.mark.parametrize("rows", [[0], [0, 3], [-1]])
def test_awaited_records_are_those_of_the_textbook_at_once_whichever_points_they_are_of(rows: list[int]) -> None:
    belief, _, _ = belief_of(planted(2, 2, noise=0.0005, seed=2), 40)
    followed = len(belief.mu)
    points, at = belief.active[rows], np.arange(followed)[rows]
    unfollowed = int(np.setdiff1d(np.arange(len(belief.space)), belief.active)[0])
    after = belief.copy()
    after.await_records(np.array([*points, unfollowed]))
    noisy = belief.covariance[np.ix_(at, at)] + np.diag(belief.noise[points] ** 2)
    expected = belief.covariance - belief.covariance[:, at] @ np.linalg.inv(noisy) @ belief.covariance[at]
    np.testing.assert_allclose(after.covariance, expected, atol=1e-10)
    np.testing.assert_array_equal(after.mean, belief.mean)
    nothing = belief.copy()
    nothing.await_records(np.array([unfollowed]))
    np.testing.assert_array_equal(nothing.covariance, belief.covariance)
