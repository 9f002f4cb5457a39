"""Starting points of a fit: a grid over the non-linear parameters, with the linear ones projected out at each point.

Variable projection (Golub & Pereyra 1973): given the exponents, a law's coefficients are a small bounded least squares
problem, solved here for all grid points at once and reweighted towards the penalty to be minimised.
"""

from __future__ import annotations

import numpy as np

from sweeplaw.analysis.fitting.solver.derivatives import BatchProblem, mean_penalties
from sweeplaw.analysis.fitting.solver.newton import Box, solve_positive
from sweeplaw.analysis.laws.law import Law

Array = np.ndarray

POINTS = {0: 1, 1: 48, 2: 81}  # grid points by number of non-linear parameters; more take a Halton set
HALTON_POINTS = 384
ROUNDS = 4  # of reweighting: enough to rank the starts
STARTS = 16  # from which a minimum is sought
SCREENED = 64  # tried for a few steps first, where more than two parameters are non-linear and minima are many
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)


def starting_points(law: Law, problem: BatchProblem, box: Box, delta: float) -> Array:
    """Return the parameter vectors (batch, p), in centred units, to start from: the best of the grid, then some others.

    They are at most STARTS, or SCREENED for a law of more than two non-linear parameters.
    """
    function = problem.bound.function
    linear = tuple(index for index in function.linear if not box.frozen[index])
    theta = _grid(law, box, linear)
    with np.errstate(all="ignore"):
        if linear:
            theta = project(problem, theta, linear, box, delta)
        scores = mean_penalties(problem, theta, np.full(len(theta), delta))
    order = np.argsort(np.where(np.isfinite(scores), scores, np.inf), kind="stable")
    count = SCREENED if len(theta) == HALTON_POINTS else STARTS
    best, rest = order[: 2 * count // 3], order[2 * count // 3 :]
    spread = rest[:: max(1, len(rest) // (count - len(best)))][: count - len(best)] if len(rest) else rest
    return np.asarray(theta[np.concatenate([best, spread])])


def _grid(law: Law, box: Box, linear: tuple[int, ...]) -> Array:
    """Return vectors: non-linear parameters on a logarithmic grid of their start range, linear ones at 1."""
    nonlinear = [index for index in range(len(law.free)) if index not in linear and not box.frozen[index]]
    count = POINTS.get(len(nonlinear), HALTON_POINTS)
    unit = _unit_points(count, len(nonlinear))
    theta = np.ones((len(unit), len(law.free)))
    for column, index in enumerate(nonlinear):
        low, high = law.free[index].start
        theta[:, index] = _spread(unit[:, column], low, high)
    return np.asarray(np.clip(theta, box.low, box.high))


def _spread(unit: Array, low: float, high: float) -> Array:
    return np.asarray(low * (high / low) ** unit if low > 0 else low + (high - low) * unit)


def _unit_points(count: int, dimensions: int) -> Array:
    """Return a product grid in one or two dimensions, a Halton set in more: (count, dimensions) in [0, 1]."""
    if dimensions == 0:
        return np.zeros((1, 0))
    if dimensions <= 2:
        side = round(count ** (1 / dimensions))
        line = np.linspace(0, 1, side)
        return np.stack([axis.ravel() for axis in np.meshgrid(*[line] * dimensions)], axis=1)
    return np.stack([_halton(count, PRIMES[index % len(PRIMES)]) for index in range(dimensions)], axis=1)


def _halton(count: int, base: int) -> Array:
    index, result, share = np.arange(1, count + 1), np.zeros(count), 1.0
    while index.any():
        share /= base
        result += share * (index % base)
        index //= base
    return result


def project(problem: BatchProblem, theta: Array, linear: tuple[int, ...], box: Box, delta: float) -> Array:
    """Return ``theta`` (batch, p) with its linear parameters at their bounded, reweighted least squares solution."""
    function, theta = problem.bound.function, theta.copy()
    theta[:, list(linear)] = 1.0
    nodes = problem.bound(theta, 1)
    shape = (len(theta), problem.bound.rows)
    basis = np.stack([np.broadcast_to(nodes[function.gradient[index]], shape) for index in linear], axis=1)
    offset = np.broadcast_to(nodes[function.value], shape) - np.sum(basis, axis=1)  # linear parameters are 1 here
    importance = problem.weights / (problem.losses**2 if problem.space == "log" else 1.0)
    scale = problem.losses if problem.space == "log" else np.ones(1)
    pull = np.broadcast_to(importance, shape)
    for _ in range(ROUNDS):
        coefficients = _bounded_squares(
            basis, problem.losses - offset, pull, box.low[list(linear)], box.high[list(linear)]
        )
        size = np.abs(problem.losses - offset - np.einsum("bq,bqn->bn", coefficients, basis)) / scale
        pull = importance * np.minimum(1.0, delta / np.maximum(size, 1e-12)) if np.isfinite(delta) else pull
    theta[:, list(linear)] = coefficients
    return theta


def _bounded_squares(basis: Array, target: Array, weights: Array, low: Array, high: Array) -> Array:
    """Solve least squares of (batch, q, n) bases; coefficients outside their bounds move there, the others adapt."""
    batch, count, _ = basis.shape
    weighted = basis * weights[:, None]
    matrix, right = np.matmul(weighted, basis.transpose(0, 2, 1)), np.einsum("bqn,bn->bq", weighted, target)
    scale = 1.0 / np.sqrt(np.maximum(np.einsum("bqq->bq", matrix), 1e-300))
    matrix, right = matrix * scale[:, :, None] * scale[:, None, :], right * scale
    held, solution = np.zeros((batch, count), dtype=bool), np.zeros((batch, count))
    diagonal = np.arange(count)
    for _ in range(count):
        system = np.where(held[:, :, None] | held[:, None, :], 0.0, matrix)
        system[:, diagonal, diagonal] = np.where(held, 1.0, matrix[:, diagonal, diagonal] + 1e-12)
        fixed = np.where(held, solution / scale, 0.0)
        adjusted = np.where(held, fixed, right - np.einsum("bqr,br->bq", matrix, fixed))
        solution = solve_positive(system, adjusted)[0] * scale
        outside = ((solution < low) | (solution > high)) & ~held
        solution = np.clip(solution, low, high)
        held |= outside
    return solution
