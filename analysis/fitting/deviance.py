"""The scale that turns an objective into a deviance, and the deviance an interval allows.

The deviance of a constrained fit is ``2 W (F1 - F) E[psi'] / E[psi^2]`` with W the sum of weights: the log-likelihood
ratio for least squares, and its robust counterpart for Huber and absolute deviation (Schrader & Hettmansperger 1980).
For one parameter it is compared with the squared Student quantile at n - p degrees of freedom.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from sweeplaw.analysis.fitting.solver.objectives import residuals
from sweeplaw.analysis.fitting.solver.solve import Setup

Array = np.ndarray

KERNEL_WIDTH = 1.0  # in units of the robust scale times n^(-1/5)


@dataclass(frozen=True, slots=True)
class DevianceScale:
    """``factor`` times the excess of the mean penalty is the deviance; ``freedom`` is n - p, 0 for an interpolation.

    For noise that is not independent, `noise.clustered.Spread.widen` lowers both.
    """

    factor: float
    freedom: float

    def threshold(self, level: float) -> float:
        """Return the largest deviance that a value of one parameter has inside the interval of this level."""
        return float(student.ppf((1 + level) / 2, self.freedom) ** 2) if self.freedom > 0 else math.inf


def deviance_scale(setup: Setup, theta: Array) -> DevianceScale:
    """Return the deviance scale of a fit at its optimum ``theta`` (p,)."""
    problem, count = setup.problem, int(np.sum(~setup.box.frozen))
    residual = residuals(problem.losses, problem.bound.predict(theta[None]), problem.space)
    freedom = max(int(np.count_nonzero(problem.weights)) - count, 0)
    return DevianceScale(float(deviance_factors(residual, problem.weights, setup.delta, count)[0]), freedom)


def deviance_factors(residual: Array, weights: Array, delta: float, count: int) -> Array:
    """Return ``2 W E[psi'] / E[psi^2]`` for fits with residuals (batch, n) and ``count`` parameters: (batch,).

    NaN for interpolations.
    """
    rows, total = int(np.count_nonzero(weights)), float(np.sum(weights))
    if rows <= count:
        return np.full(len(residual), np.nan)
    size = np.abs(residual)
    spread = np.sum(weights * np.minimum(size, delta) ** 2, axis=1) / total * rows / (rows - count)
    return np.asarray(2 * total * _inner_share(size, delta, count) / np.maximum(spread, 1e-300))


def _inner_share(size: Array, delta: float, count: int) -> Array:
    """Return E[psi'], the share of rows inside the threshold: (batch,).

    A threshold below the residuals' scale has only a handful of rows inside, and the share is the density at zero: it
    is then estimated from the rows within a kernel's width, less the p rows that any such fit passes through.
    """
    if not np.isfinite(delta):
        return np.ones(len(size))
    rows = size.shape[1]
    width = KERNEL_WIDTH * np.median(size, axis=1) / 0.6745 * rows**-0.2
    wide = width > delta
    width = np.maximum(width, delta)
    inside = np.sum(size <= width[:, None], axis=1)
    plain = np.maximum(inside, 1) / rows
    return np.asarray(np.where(wide, np.maximum(inside - count, 1) / (rows - count) * delta / width, plain))
