"""Weights of rows whose noise clearly changes with size, so that the noisy ones do not decide the parameters.

The weight of a row is E[psi'] / E[psi^2] for normal noise of its spread, which minimises the variance of an estimate
that solves sum w psi(r) dr = 0 (Huber 1964): the inverse variance for least squares, the inverse standard deviation for
absolute deviations, and between them for Huber's penalty.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import erf
from scipy.stats import norm

from sweeplaw.analysis.fitting.noise.noise import Noise
from sweeplaw.analysis.fitting.solver.objectives import residuals
from sweeplaw.analysis.fitting.solver.solve import Setup

Array = np.ndarray

LEAST_SHARE = 1e-3  # of the largest weight


def weighted(setup: Setup, theta: Array, noise: Noise) -> Setup | None:
    """Return the setup with rows weighted by their noise; None if that does not clearly change."""
    problem, relative = setup.problem, noise.relative
    if relative is None or not noise.clear:
        return None
    residual = residuals(problem.losses, problem.bound.predict(theta[None])[0], problem.space)
    typical = float(np.median(np.abs(residual) / relative)) / 0.6745
    if not typical > 0:
        return None
    weights = inverse_variances(typical * relative, setup.delta)
    weights = np.maximum(weights, LEAST_SHARE * weights.max())
    return replace(setup, problem=replace(problem, weights=weights / weights.mean()))


def inverse_variances(spread: Array, delta: float) -> Array:
    """Return E[psi'] / E[psi^2] of Huber's penalty with threshold ``delta`` for normal noise of each spread (n,)."""
    if not np.isfinite(delta):
        return np.asarray(spread**-2)
    reach = delta / spread
    inside = erf(reach / np.sqrt(2))
    square = spread**2 * (inside - 2 * reach * norm.pdf(reach)) + delta**2 * (1 - inside)
    return np.asarray(inside / square)
