"""The closed form agrees with the published equations, with known limits and with what theory proves of it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import fsolve

from sweeplaw.trials.workloads.ridge.eigenframework import RidgeProblem, optimal, risk
from sweeplaw.trials.workloads.ridge.spectrum import Spectrum, power_law

POPULATION = power_law(300, 1.5, 0.4)
SIZES = (4, 8, 16, 32, 64, 128)


def sums(problem: RidgeProblem, gamma: float) -> tuple[float, float]:
    """z and q of the eigenframework."""
    learned = problem.population.eigenvalues / (problem.population.eigenvalues + gamma)
    return float(learned.sum()), float((learned**2).sum())


@pytest.mark.parametrize("samples", [16, 64, 300, 1000])
@pytest.mark.parametrize("features", [16, 64, 300])
@pytest.mark.parametrize("ridge", [1e-4, 1e-2, 1.0, 100.0])
def test_the_equations_are_solved_to_twelve_digits(samples: int, features: int, ridge: float) -> None:
    found = risk(RidgeProblem(POPULATION, samples, features), ridge)
    learned, _ = sums(RidgeProblem(POPULATION, samples, features), found.gamma)
    assert abs(learned + ridge / found.kappa - samples) < 1e-12 * samples
    assert abs(learned + features * found.kappa / found.gamma - features) < 1e-12 * features


@pytest.mark.parametrize(("samples", "features", "noise"), [(40, 90, 0.3), (90, 40, 0.0), (60, 60, 1.0)])
def test_the_risk_is_that_of_the_published_equations_solved_otherwise(
    samples: int, features: int, noise: float
) -> None:
    """Simon et al. 2023, arXiv:2311.14646: both equations at once, and the risk in z and q."""
    problem, ridge = RidgeProblem(POPULATION, samples, features, noise), 0.05
    eigenvalues, target = POPULATION.eigenvalues, POPULATION.target

    def off(logs: np.ndarray) -> list[float]:
        kappa, gamma = np.exp(logs)
        z, _ = sums(problem, gamma)
        return [z + ridge / kappa - samples, z + features * kappa / gamma - features]

    kappa, gamma = np.exp(fsolve(off, [math.log(0.01), math.log(0.02)], xtol=1e-13))
    z, q = sums(problem, gamma)
    kept = 1 - (q * (features - 2 * z) + z**2) / (samples * (features - q))
    bias = gamma / (eigenvalues + gamma) - kappa * eigenvalues / (eigenvalues + gamma) ** 2 * features / (features - q)
    test = (float(np.sum(bias * target**2)) + noise**2) / kept
    found = risk(problem, ridge)
    assert found.test == pytest.approx(test, rel=1e-9)
    assert found.train == pytest.approx((ridge / (samples * kappa)) ** 2 * test, rel=1e-9)


def test_with_very_many_features_it_is_kernel_ridge_regression() -> None:
    """One equation, n = sum l / (l + kappa) + ridge / kappa (Simon et al. 2021, arXiv:2110.03922)."""
    found = risk(RidgeProblem(POPULATION, 50, 10**9, 0.3), 0.1)
    z, q = sums(RidgeProblem(POPULATION, 50, 10**9), found.gamma)
    assert z + 0.1 / found.gamma == pytest.approx(50, rel=1e-6)
    missed = found.gamma / (POPULATION.eigenvalues + found.gamma)
    kernel = (float(np.sum(missed**2 * POPULATION.target**2)) + 0.09) / (1 - q / 50)
    assert found.test == pytest.approx(kernel, rel=1e-6)


@pytest.mark.parametrize("features", [20, 40])
def test_least_squares_on_more_samples_than_modes_learns_them_all(features: int) -> None:
    """Ordinary least squares on all p modes has the risk noise^2 / (1 - p/n); of fewer features the rest is missed."""
    population = power_law(40, 1.5, 0.4)
    found = risk(RidgeProblem(population, 200, features, 0.3), 0.0)
    if features == 40:
        assert found.test == pytest.approx(0.09 / (1 - 40 / 200), rel=1e-9)
        assert found.train == pytest.approx(0.09 * (1 - 40 / 200), rel=1e-9)
    missed = found.gamma / (population.eigenvalues + found.gamma)
    expected = (float(np.sum(missed * population.target**2)) + 0.09) / (1 - features / 200)
    assert found.test == pytest.approx(expected, rel=1e-9)


def test_without_a_ridge_the_risk_is_infinite_where_samples_are_as_many_as_features_alone() -> None:
    """Double descent: the peak is at the interpolation threshold, and a ridge removes it."""
    losses = {k: risk(RidgeProblem(POPULATION, 64, k, 0.1), 0.0).test for k in (16, 32, 60, 63, 64, 65, 70, 128, 256)}
    assert losses[64] == math.inf
    assert losses[16] < losses[60] < losses[63]
    assert losses[65] > losses[70] > losses[128] > losses[256]
    assert losses[256] < losses[16]
    tuned = [optimal(RidgeProblem(POPULATION, 64, k, 0.1)).test for k in sorted(losses)]
    assert tuned == sorted(tuned, reverse=True)


@pytest.mark.parametrize("noise", [0.0, 0.3, 3.0])
@pytest.mark.parametrize("exponents", [(1.2, 0.2), (2.0, 0.7), (3.0, 2.0)])
def test_at_the_best_ridge_more_features_and_more_samples_are_never_worse(
    noise: float, exponents: tuple[float, float]
) -> None:
    """Simon et al. 2023, section 4."""
    population = power_law(128, *exponents)
    table = np.array([[optimal(RidgeProblem(population, n, k, noise)).test for k in SIZES] for n in SIZES])
    assert np.all(np.diff(table, axis=0) <= 1e-9 * table[1:])
    assert np.all(np.diff(table, axis=1) <= 1e-9 * table[:, 1:])


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_the_best_ridge_is_no_worse_than_any_of_a_fine_grid(noise: float) -> None:
    problem = RidgeProblem(POPULATION, 80, 120, noise)
    best = optimal(problem)
    grid = [risk(problem, ridge).test for ridge in (0.0, *np.geomspace(1e-6, 1e3, 100))]
    assert best.test <= min(grid) * (1 + 1e-12)
    assert risk(problem, best.ridge).test == pytest.approx(best.test, rel=1e-10)


def test_the_best_ridge_rises_with_noise_and_with_samples_and_noiseless_data_of_a_rough_target_need_none() -> None:
    noisy = [optimal(RidgeProblem(POPULATION, 64, 256, noise)).ridge for noise in (0.0, 0.1, 0.3, 1.0, 3.0)]
    assert noisy == sorted(noisy)
    assert noisy[0] < 0.1 * noisy[-1]
    larger = [optimal(RidgeProblem(POPULATION, n, 256, 1.0)).ridge for n in (32, 64, 128, 256, 512)]
    assert larger == sorted(larger)


@pytest.mark.parametrize("noise", [0.0, 0.5])
@pytest.mark.parametrize("samples", [32, 128, 512])
def test_one_model_at_its_best_ridge_is_better_than_any_ensemble_of_as_many_features(
    samples: int, noise: float
) -> None:
    """Ruben et al. 2024, arXiv:2412.05418."""
    losses = [optimal(RidgeProblem(POPULATION, samples, 128 // k, noise, k)).test for k in (1, 2, 4, 8, 16, 32)]
    assert losses == sorted(losses)


def test_an_ensemble_lies_between_one_predictor_and_infinitely_many_by_the_inverse_of_their_number() -> None:
    one, two, four, many = (risk(RidgeProblem(POPULATION, 64, 48, 0.2, k), 0.02).test for k in (1, 2, 4, 10**9))
    assert two - many == pytest.approx((one - many) / 2, rel=1e-6)
    assert four - many == pytest.approx((one - many) / 4, rel=1e-6)
    assert many < four < two < one


def test_nothing_is_learned_at_an_endless_ridge() -> None:
    problem = RidgeProblem(POPULATION, 64, 64, 0.5)
    assert risk(problem, 1e12).test == pytest.approx(problem.power, rel=1e-6)
    assert problem.power == pytest.approx(float(np.sum(POPULATION.target**2)) + 0.25)


def test_the_scale_of_kernel_and_ridge_is_one() -> None:
    """Eigenvalues and ridge times c leave the predictor as it is; target and noise times c multiply the risk by c^2."""
    problem = RidgeProblem(POPULATION, 50, 70, 0.2)
    found = risk(problem, 0.03)
    scaled = replace(problem, population=Spectrum(7.0 * POPULATION.eigenvalues, POPULATION.target))
    assert risk(scaled, 0.21).test == pytest.approx(found.test, rel=1e-10)
    louder = replace(problem, population=Spectrum(POPULATION.eigenvalues, 3.0 * POPULATION.target), noise=0.6)
    assert risk(louder, 0.03).test == pytest.approx(9.0 * found.test, rel=1e-10)
