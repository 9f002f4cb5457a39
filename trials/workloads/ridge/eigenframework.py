"""The omniscient risk of random-feature ridge regression: what data and features give on average, in closed form.

With n samples, k features, ridge d and the eigenvalues l of the kernel, there are one kappa and one gamma > 0 with

    n = sum l / (l + gamma) + d / kappa        k = sum l / (l + gamma) + k kappa / gamma

(Simon, Karkada, Ghosh & Belkin 2023, arXiv:2311.14646, section 4: the RF eigenframework; the kernel is the mean over
the features, and the ridge is added to its matrix, not divided by n). For a given gamma both are explicit and d rises
with gamma, so that gamma is the root of one function, and takes the place of the ridge where that is tuned.

With z = sum l / (l + gamma) and q = sum l^2 / (l + gamma)^2, formulas are written in k - z and z - q, which
keep their digits for any number of features: the published factor 1 - (q (k - 2z) + z^2) / (n (k - q)) is
1 - (z - (k - z) / (k - q) (z - q)) / n.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from sweeplaw.trials.workloads.ridge.spectrum import Floats, Spectrum

GRID = 129  # values of gamma among which the best is looked for before it is refined
SMALLEST = 1e-13  # gamma over the last eigenvalue in the ridgeless limit where every mode can be learned
LARGEST = 1e4  # gamma over the power of features and labels, beyond which hardly anything is learned
LEAST_KEPT = 1e-12  # share of degrees of freedom below which a risk is infinite, up to rounding


@dataclass(frozen=True, slots=True)
class RidgeProblem:
    """Regression on a ``population`` from ``samples`` (n) of label noise ``noise`` (standard deviation), by the mean of
    ``ensemble`` predictors of ``features`` (k) each, which share the samples and have features of their own.
    """

    population: Spectrum
    samples: int
    features: int
    noise: float = 0.0
    ensemble: int = 1

    @property
    def power(self) -> float:
        """The mean square of a label: the risk of predicting zero."""
        return float(np.sum(self.population.target**2)) + self.noise * self.noise


@dataclass(frozen=True, slots=True)
class Risk:
    """Expected losses at ``ridge``: the mean squared errors on the population, label noise included (``test``, infinite
    where interpolation diverges), and on the samples (``train``). ``gamma`` and ``kappa`` solve the equations.
    """

    ridge: float
    gamma: float
    kappa: float
    test: float
    train: float


def risk(problem: RidgeProblem, ridge: float) -> Risk:
    """Return the risk at a ``ridge`` >= 0."""
    return _risk(problem, _solve(problem, ridge), ridge)


def optimal(problem: RidgeProblem) -> Risk:
    """Return the least test risk of all ridges >= 0."""
    least = math.log(_solve(problem, 0.0))
    most = max(least + 1.0, math.log(LARGEST * (float(problem.population.eigenvalues.sum()) + problem.power)))
    grid = np.linspace(least, most, GRID)
    losses = _test_risk(problem, np.exp(grid))
    best = int(np.argmin(losses))
    found = minimize_scalar(
        lambda log_gamma: _test_risk(problem, np.exp([log_gamma]))[0],
        bounds=(grid[max(best - 1, 0)], grid[min(best + 1, GRID - 1)]),
        method="bounded",
        options={"xatol": 1e-9},
    )
    if best == 0 and losses[0] <= found.fun:
        return _risk(problem, math.exp(least), 0.0)
    gamma = math.exp(found.x)
    return _risk(problem, gamma, _ridge(problem, gamma))


def _solve(problem: RidgeProblem, ridge: float) -> float:
    """Return gamma at this ridge."""
    eigenvalues = problem.population.eigenvalues
    samples, features = problem.samples, problem.features
    low = math.log(float(eigenvalues[-1]) * SMALLEST)
    high = math.log(ridge + float(eigenvalues.sum()) * (1.0 + samples / features)) + 1.0
    fitted = min(samples, features)
    if fitted < len(eigenvalues):  # in the ridgeless limit as many modes are learned as there are samples or features
        low = _root(lambda gamma: fitted - _learned(problem, gamma), low, high)
    return math.exp(low if ridge == 0.0 else _root(lambda gamma: _ridge(problem, gamma) - ridge, low, high))


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Return the log of the root of a rising function, between logs ``low`` and ``high``; ``low`` if positive there."""
    if rising(math.exp(low)) >= 0.0:
        return low
    return float(brentq(lambda log_gamma: rising(math.exp(log_gamma)), low, high, xtol=1e-15, rtol=1e-15))


def _learned(problem: RidgeProblem, gamma: float) -> float:
    """Return z, the number of modes that are learned."""
    eigenvalues = problem.population.eigenvalues
    return float(np.sum(eigenvalues / (eigenvalues + gamma)))


def _ridge(problem: RidgeProblem, gamma: float) -> float:
    """Return the ridge at which the equations have the solution ``gamma``."""
    learned = _learned(problem, gamma)
    return gamma * (1.0 - learned / problem.features) * (problem.samples - learned)


def _risk(problem: RidgeProblem, gamma: float, ridge: float) -> Risk:
    """Return the losses. The residual on the samples is ridge / (n kappa) of that on the population (section 4)."""
    learned, test = _learned(problem, gamma), float(_test_risk(problem, np.array([gamma]))[0])
    residual = max(0.0, 1.0 - learned / problem.samples)
    interpolates = ridge == 0.0 and problem.samples <= min(problem.features, len(problem.population.eigenvalues))
    if problem.samples > problem.features:  # of the two equations, the one whose difference keeps its digits
        kappa = ridge / (problem.samples - learned)
    else:
        kappa = gamma * (1.0 - learned / problem.features)
    return Risk(ridge, gamma, kappa, test, 0.0 if interpolates else residual**2 * test)


def _test_risk(problem: RidgeProblem, gamma: Floats) -> Floats:
    """Return the population risk at each ``gamma``: of one predictor by the RF eigenframework, and of a mean of several
    from that and the mean product of the errors of two (`_product`), which is the risk of infinitely many.
    """
    target, samples = problem.population.target, problem.samples
    missed = gamma[:, None] / (problem.population.eigenvalues + gamma[:, None])
    learned = 1.0 - missed
    unused = problem.features - len(target) + np.sum(missed, -1)  # k - z
    partly = np.sum(learned * missed, -1)  # z - q
    share = np.divide(partly, unused + partly, out=np.zeros_like(partly), where=unused + partly > 0)
    bias = np.sum(missed * (missed + share[:, None] * learned) * target**2, -1) + problem.noise * problem.noise
    alone = _per_kept(bias, 1.0 - (np.sum(learned, -1) - (1.0 - share) * partly) / samples)
    if problem.ensemble == 1:
        return alone
    shared = _product(problem, missed)
    return shared + (alone - shared) / problem.ensemble


def _product(problem: RidgeProblem, missed: Floats) -> Floats:
    """Return the mean product of the errors of two predictors that share samples: the risk of kernel ridge regression
    at the same gamma (Ruben, Tong, Chaudhry & Pehlevan 2024, arXiv:2412.05418).
    """
    bias = np.sum(missed**2 * problem.population.target**2, -1) + problem.noise * problem.noise
    return _per_kept(bias, 1.0 - np.sum((1.0 - missed) ** 2, -1) / problem.samples)


def _per_kept(bias: Floats, kept: Floats) -> Floats:
    """Return the bias over the share of degrees of freedom that is kept, infinite where no freedom is kept."""
    return np.divide(bias, kept, out=np.full_like(bias, math.inf), where=kept > LEAST_KEPT)
