"""The large-sample covariance of one fit, without resampling: curvature and the spread of the rows' gradients."""

from __future__ import annotations

import numpy as np

from analysis.moments import moments
from analysis.objectives import residuals
from analysis.solve import Setup, Solution, residual_scale

Array = np.ndarray


def covariance(setup: Setup, solution: Solution) -> Array:
    """H^-1 G H^-1 (p, p) in the law's units, with the n/(n - p) correction; NaN where the curvature is singular."""
    problem, count = setup.problem, len(solution.theta)
    width = np.array([effective_width(setup, solution)])
    curvature = moments(problem, solution.theta[None], width).curvature[0]
    psi = score(setup, solution, float(width[0]))
    nodes = problem.bound(solution.theta[None], 1)
    shape = (problem.bound.rows,)
    slopes = np.stack([np.broadcast_to(nodes[node][0], shape) for node in problem.bound.function.gradient], axis=1)
    if problem.space == "log":
        slopes = slopes / problem.bound.predict(solution.theta[None])[0][:, None]
    pulls = slopes * (psi * problem.weights)[:, None]
    meat = pulls.T @ pulls / max(shape[0] - count, 1) * shape[0] / np.sum(problem.weights) ** 2
    try:
        bread = np.linalg.inv(curvature)
    except np.linalg.LinAlgError:
        return np.full((count, count), np.nan)
    inner = bread @ meat @ bread
    jacobian = _outward_jacobian(setup, solution.theta)
    return np.asarray(jacobian @ inner @ jacobian.T)


def effective_width(setup: Setup, solution: Solution) -> float:
    """The threshold to measure curvature with.

    Below the residuals' own scale the exact curvature of a Huber penalty counts a handful of rows; a threshold of
    ``1.06 s n^(-1/5)`` (Silverman's kernel width, s the robust scale) counts enough of them.
    """
    if not np.isfinite(setup.delta):
        return float("inf")
    scale = residual_scale(setup.problem, solution.theta)
    return max(setup.delta, 1.06 * scale * setup.problem.bound.rows**-0.2)


def score(setup: Setup, solution: Solution, width: float) -> Array:
    """psi of each residual, at the objective's own threshold but in the units of the threshold ``width``."""
    rest = residuals(setup.problem.losses, setup.problem.bound.predict(solution.theta[None])[0], setup.problem.space)
    if not np.isfinite(setup.delta):
        return np.asarray(rest)
    return np.clip(rest, -setup.delta, setup.delta) * (width / setup.delta)


def _outward_jacobian(setup: Setup, theta: Array) -> Array:
    """d own units / d centred units, by central differences of the exact change of units."""
    columns = []
    for index in range(len(theta)):
        step = np.zeros(len(theta))
        step[index] = 1e-6 * max(abs(theta[index]), 1e-3)
        pair = setup.outward(np.stack([theta + step, theta - step]))
        columns.append((pair[0] - pair[1]) / (2 * step[index]))
    return np.stack(columns, axis=1)
