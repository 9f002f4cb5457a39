"""The exact least absolute deviations optimum, where the law passes through as many rows as it has parameters.

Sequential linear programming: the law is linearised, the linear program of least absolute deviations is solved within a
trust region, and the step is kept if the true sum falls (Osborne & Watson 1971). It converges quadratically to such an
optimum, which a smoothed penalty only approaches.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog, lsq_linear
from scipy.sparse import csr_matrix, eye, hstack

from sweeplaw.analysis.fitting.solver.derivatives import BatchProblem
from sweeplaw.analysis.fitting.solver.newton import Box
from sweeplaw.analysis.fitting.solver.objectives import residuals

Array = np.ndarray

STEPS = 30
ZERO_RESIDUAL = 1e-7  # of the mean absolute residual: below it the law passes through the row
MAX_ROWS = 20000  # beyond it the smoothed optimum stands: the exact one moves the value by less than rounding


def polish_least_absolute(problem: BatchProblem, box: Box, theta: Array) -> Array:
    """Return the vector (p,) of least absolute deviations near ``theta``, both in centred units."""
    if problem.bound.rows > MAX_ROWS:
        return theta
    radius, value = 1e-3, _absolute_sum(problem, theta)
    for _ in range(STEPS):
        residual, slopes = _linearise(problem, theta)
        scale = np.maximum(np.abs(theta), 1e-3)
        low = np.where(box.frozen, 0.0, np.maximum(-radius * scale, box.low - theta))
        high = np.where(box.frozen, 0.0, np.minimum(radius * scale, box.high - theta))
        step = _linear_program(residual, slopes, problem.weights, low, high)
        trial = np.clip(theta + step, box.low, box.high)
        found = _absolute_sum(problem, trial)
        if found < value:
            gained, theta, value = value - found, trial, found
            radius *= 2
            if gained <= 1e-15 * value:
                break
        else:
            radius *= 0.1
            if radius < 1e-15:
                break
    return theta


def subgradient(problem: BatchProblem, theta: Array, inside: Array) -> float:
    """Return the distance of zero from the subdifferential of the sum of absolute residuals, scaled and relative.

    Rows the law passes through contribute with any sign, up to their weight; all others contribute their weight with
    the sign of their residual. The combination nearest to zero is a bounded least squares problem.
    """
    residual, slopes = _linearise(problem, theta)
    scale = np.sqrt(np.maximum(np.mean(slopes**2, axis=0), 1e-300))[inside]
    slopes = slopes[:, inside] / scale * problem.weights[:, None]
    through = np.abs(residual) <= ZERO_RESIDUAL * max(float(np.mean(np.abs(residual))), 1e-300)
    pull = slopes[~through].T @ np.sign(residual[~through])
    if through.any() and inside.any():
        pull = pull + slopes[through].T @ lsq_linear(slopes[through].T, -pull, (-1.0, 1.0)).x
    return float(np.linalg.norm(pull) / np.sum(problem.weights))


def _absolute_sum(problem: BatchProblem, theta: Array) -> float:
    predicted = problem.bound.predict(theta[None])[0]
    return float(np.sum(problem.weights * np.abs(residuals(problem.losses, predicted, problem.space))))


def _linearise(problem: BatchProblem, theta: Array) -> tuple[Array, Array]:
    """Return the residuals (n,) and the slopes (n, p) of the prediction, in the objective's space."""
    function = problem.bound.function
    nodes = problem.bound(theta[None], 1)
    predicted = np.broadcast_to(nodes[function.value][0], (problem.bound.rows,))
    slopes = np.stack([np.broadcast_to(nodes[node][0], predicted.shape) for node in function.gradient], axis=1)
    if problem.space == "log":
        slopes = slopes / predicted[:, None]
    return residuals(problem.losses, predicted, problem.space), slopes


def _linear_program(residual: Array, slopes: Array, weights: Array, low: Array, high: Array) -> Array:
    """Return the step of least sum w |residual - slopes step|; the difference is over - under, both at least 0."""
    rows, count = slopes.shape
    identity = eye(rows, format="csr")
    equal = hstack([csr_matrix(slopes), identity, -identity], format="csr")
    cost = np.concatenate([np.zeros(count), weights, weights])
    bounds = [*zip(low, high, strict=True), *[(0.0, None)] * (2 * rows)]
    answer = linprog(cost, A_eq=equal, b_eq=residual, bounds=bounds, method="highs")
    return np.asarray(answer.x[:count]) if answer.status == 0 else np.zeros(count)
