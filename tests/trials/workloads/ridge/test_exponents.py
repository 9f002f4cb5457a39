"""The predicted exponents are the slopes that the closed form reaches."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from sweeplaw.trials.workloads.ridge.eigenframework import RidgeProblem, optimal, risk
from sweeplaw.trials.workloads.ridge.exponents import in_features, in_samples
from sweeplaw.trials.workloads.ridge.spectrum import power_law

pytestmark = pytest.mark.heavy
ENDLESS = 10**15  # features or samples that are no bottleneck
MODES = 40_000


def slope(loss: Callable[[int], float], sizes: tuple[int, int]) -> float:
    return -math.log(loss(sizes[1]) / loss(sizes[0])) / math.log(sizes[1] / sizes[0])


@pytest.mark.parametrize("tuned", [True, False])
@pytest.mark.parametrize(("capacity", "source"), [(2.5, 0.3), (3.0, 0.5), (2.5, 0.7), (3.0, 2.0)])
def test_without_noise_the_risk_falls_in_samples_by_capacity_and_source(capacity, source, tuned) -> None:
    population = power_law(MODES, capacity, source)

    def loss(samples: int) -> float:
        problem = RidgeProblem(population, samples, ENDLESS)
        return (optimal(problem) if tuned else risk(problem, 0.0)).test

    expected = in_samples(capacity, source, noisy=False, tuned=tuned)
    assert slope(loss, (300, 600)) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(("capacity", "source"), [(1.5, 0.4), (2.0, 0.5), (2.0, 2.0)])
def test_with_noise_the_best_ridge_balances_it_against_the_bias(capacity, source) -> None:
    population = power_law(MODES, capacity, source)

    def loss(samples: int) -> float:
        return optimal(RidgeProblem(population, samples, ENDLESS, 1.0)).test - 1.0

    expected = in_samples(capacity, source, noisy=True)
    assert slope(loss, (10**6, 4 * 10**6)) == pytest.approx(expected, rel=0.02)


def test_with_noise_and_without_a_ridge_the_excess_does_not_fall() -> None:
    population = power_law(MODES, 2.0, 0.5)

    def loss(samples: int) -> float:
        return risk(RidgeProblem(population, samples, ENDLESS, 1.0), 0.0).test - 1.0

    assert in_samples(2.0, 0.5, noisy=True, tuned=False) == 0.0
    assert abs(slope(loss, (200, 400))) < 0.02
    assert loss(400) > 0.5


@pytest.mark.parametrize("ridge", [None, 0.0])
@pytest.mark.parametrize(("capacity", "source"), [(2.5, 0.3), (3.0, 0.25), (2.5, 1.0), (2.0, 3.0)])
def test_with_endless_samples_the_risk_falls_in_features(capacity, source, ridge) -> None:
    population = power_law(MODES, capacity, source)

    def loss(features: int) -> float:
        problem = RidgeProblem(population, ENDLESS, features)
        return (optimal(problem) if ridge is None else risk(problem, ridge)).test

    assert slope(loss, (300, 600)) == pytest.approx(in_features(capacity, source), rel=0.01)


@pytest.mark.parametrize("source", np.linspace(0.1, 3.0, 30))
def test_features_are_never_better_than_samples_without_noise(source) -> None:
    assert in_features(2.0, source) <= in_samples(2.0, source, noisy=False)
