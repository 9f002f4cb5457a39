"""Batches of regressions agree with textbook solutions of each, and the exact risk with what test points measure."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sweeplaw.trials.workloads.ridge.draws import NormalDraws, allocate, draw
from sweeplaw.trials.workloads.ridge.regression import Settings, losses
from sweeplaw.trials.workloads.ridge.spectrum import power_law

POPULATION = power_law(60, 1.5, 0.4)
SHAPES = [(20, 35), (35, 20), (30, 30), (60, 60)]


def drawn(seeds, *shape) -> NormalDraws:
    """The draws of these seeds, in room of their own."""
    return draw(seeds, allocate(len(seeds), *shape))


def measured(shape, ridge, noise, predictors=1, seeds=(0, 1, 2), population=POPULATION):
    """Test and train losses of one trial of each seed."""
    draws = drawn(list(seeds), shape[0], predictors, shape[1], len(population.target))
    same = [torch.full((len(seeds),), value, dtype=torch.float64) for value in (ridge, noise)]
    found = losses(population, draws, Settings(torch.arange(len(seeds)), *same))
    return found.test.numpy(), found.train.numpy()


def weights_of(shape, ridge, noise, seed, predictors=1, population=POPULATION):
    """Weights in the eigenbasis and training residuals, by least squares on the stacked system of each predictor."""
    draws = drawn([seed], shape[0], predictors, shape[1], len(population.target))
    x, k = draws.samples[0], shape[1]
    y = x @ population.target + noise * draws.noise[0]
    weights = np.zeros(len(population.target))
    for directions in draws.directions[0]:
        to_features = (directions * np.sqrt(population.eigenvalues)).T / np.sqrt(k)
        stacked = np.vstack([x @ to_features, np.sqrt(ridge) * np.eye(k)])
        theta = np.linalg.lstsq(stacked, np.concatenate([y, np.zeros(k)]), rcond=None)[0]
        weights += to_features @ theta / predictors
    return weights, y - x @ weights


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ridge", [1e-4, 0.1])
@pytest.mark.parametrize("predictors", [1, 3])
def test_losses_are_those_of_least_squares_on_the_stacked_system(shape, ridge, predictors) -> None:
    test, train = measured(shape, ridge, 0.3, predictors)
    for seed in range(3):
        weights, residual = weights_of(shape, ridge, 0.3, seed, predictors)
        assert test[seed] == pytest.approx(np.sum((POPULATION.target - weights) ** 2) + 0.09, rel=1e-8)
        assert train[seed] == pytest.approx(np.mean(residual**2), rel=1e-8)


@pytest.mark.parametrize("shape", [(20, 35), (35, 20), (60, 60)])
def test_without_a_ridge_the_solution_has_the_least_norm(shape) -> None:
    test, train = measured(shape, 0.0, 0.3)
    for seed in range(3):
        weights, residual = weights_of(shape, 0.0, 0.3, seed)
        assert test[seed] == pytest.approx(np.sum((POPULATION.target - weights) ** 2) + 0.09, rel=1e-6)
        assert train[seed] == pytest.approx(np.mean(residual**2), rel=1e-6, abs=1e-12)
    assert np.all(train < 1e-12) == (shape[0] <= shape[1])


def test_a_gram_matrix_that_loses_all_digits_is_replaced_by_singular_values() -> None:
    """Eigenvalues over 17 decades: a Cholesky factor of the Gram matrix fails or is noise, least squares is not."""
    population = power_law(50, 10.0, 0.4)
    test, _ = measured((40, 45), 0.0, 0.1, population=population)
    for seed in range(3):
        weights, _ = weights_of((40, 45), 0.0, 0.1, seed, population=population)
        assert test[seed] == pytest.approx(np.sum((population.target - weights) ** 2) + 0.01, rel=1e-3)


def test_the_risk_is_the_mean_over_new_samples() -> None:
    test, _ = measured((35, 20), 0.1, 0.3)
    fresh = np.random.default_rng(5)
    x = fresh.standard_normal((40_000, 60))
    y = x @ POPULATION.target + 0.3 * fresh.standard_normal(40_000)
    for seed in range(3):
        errors = (y - x @ weights_of((35, 20), 0.1, 0.3, seed)[0]) ** 2
        assert abs(errors.mean() - test[seed]) < 4 * errors.std() / 200


def test_trials_that_share_a_draw_are_as_if_each_had_its_own() -> None:
    draws = drawn([3, 4], 25, 2, 15, 60)
    ridges = torch.tensor([0.1, 0.01, 1.0, 0.1], dtype=torch.float64)
    settings = Settings(torch.tensor([0, 0, 1, 1]), ridges, torch.full((4,), 0.2, dtype=torch.float64))
    together = losses(POPULATION, draws, settings).test
    for position, (seed, ridge) in enumerate(zip([3, 3, 4, 4], ridges.tolist(), strict=True)):
        alone = measured((25, 15), ridge, 0.2, 2, [seed])[0][0]
        assert together[position].item() == pytest.approx(alone, rel=1e-12)


def test_a_larger_problem_extends_a_smaller_one_and_seeds_and_streams_are_independent() -> None:
    small, large = drawn([7], 10, 1, 8, 30), drawn([6, 7], 20, 2, 8, 30)
    np.testing.assert_array_equal(large.samples[1, :10], small.samples[0])
    np.testing.assert_array_equal(large.noise[1, :10], small.noise[0])
    np.testing.assert_array_equal(large.directions[1, 0], small.directions[0, 0])
    one_predictor = drawn([7], 10, 1, 16, 30).directions[0, 0]
    np.testing.assert_array_equal(large.directions[1].reshape(16, 30), one_predictor)
    parts = [large.samples[0].ravel(), large.samples[1].ravel(), large.directions[1].ravel()]
    correlations = np.corrcoef([part[:480] for part in parts])
    assert np.all(np.abs(correlations - np.eye(3)) < 0.2)
