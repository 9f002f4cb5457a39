"""Damped Newton for many small bounded problems at once: the solver behind every fit, resample and profile point.

Each member of the batch follows its own path: exact curvature with Levenberg-Marquardt damping in the metric of the
reweighted Gauss-Newton majorant, bounds by projection (Bertsekas 1982), and a Huber threshold that decreases to its
target as the member settles, because the path from least squares to a nearly absolute penalty is smooth and the
objective at the target threshold is not (Clark & Osborne 1986). Finished members leave the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeplaw.analysis.fitting.solver.derivatives import BatchProblem, Derivatives, differentiate

Array = np.ndarray

DELTA_FACTOR = 0.25  # applied to the threshold whenever a member settles; .1 to .5 measured alike
SETTLED = 1e-3  # predicted decrease over value at which a member leaves an intermediate threshold
CONVERGED = 1e-13  # the same at the target threshold: the value is then right to machine precision
PERFECT_VALUE = 1e-28  # of the mean squared loss: a value below it is a perfect fit in double precision


@dataclass(frozen=True, slots=True)
class Box:
    """Bounds (p,), which coordinates are searched on their logarithm (p,), and which stay where they start (p,)."""

    low: Array
    high: Array
    log: Array
    frozen: Array


@dataclass(frozen=True, slots=True)
class Minimum:
    """The end point of each member: parameters (batch, p), mean penalty (batch,), and whether it converged."""

    theta: Array
    value: Array
    converged: Array

    def lower(self, other: Minimum) -> Minimum:
        """Return the lower of two minima of each member. It has converged if either has."""
        better = other.value < self.value
        theta = np.where(better[:, None], other.theta, self.theta)
        return Minimum(theta, np.where(better, other.value, self.value), self.converged | other.converged)


@dataclass(slots=True)
class _State:
    z: Array  # the parameters, or their logarithms where the box says so
    delta: Array
    damping: Array
    here: Derivatives


@np.errstate(all="ignore")  # a trial outside the law's domain is NaN or infinite, and is rejected
def minimise(
    problem: BatchProblem, start: Array, target: float, box: Box, *,
    initial_delta: Array | float = 0.0, tolerance: float = CONVERGED, max_steps: int = 300,
) -> Minimum:  # fmt: skip
    """Return the local minimum of the mean Huber penalty at threshold ``target`` reached from each start (batch, p).

    A path begins at the threshold ``initial_delta`` if that is above the target; the residuals' scale is a good choice.
    Losses and weights of two dimensions have a row for each member. A member has converged when the relative decrease
    still predicted is below ``tolerance``.
    """
    problem, batch = problem.by_inputs(), start.shape[0]
    best, value, converged = start.copy(), np.full(batch, np.inf), np.zeros(batch, dtype=bool)
    perfect = PERFECT_VALUE * np.broadcast_to(_mean_square(problem), (batch,))
    active = np.arange(batch)
    state = _initial_state(problem, start, np.maximum(np.broadcast_to(initial_delta, (batch,)), target), box)
    part = problem
    for iteration in range(1, max_steps + 1):
        done, stuck = _step(part, state, target, box, perfect[active], tolerance)
        leaving = done | stuck | (iteration == max_steps)
        if not leaving.any():
            continue
        out = active[leaving]
        best[out], value[out] = _parameters(state.z[leaving], box), state.here.value[leaving]
        converged[out] = done[leaving]
        active, part, state = active[~leaving], part.take(~leaving), _take(state, ~leaving)
        if not active.size:
            break
    return Minimum(best, value, converged)


def _mean_square(problem: BatchProblem) -> Array:
    observed = problem.losses if problem.space == "raw" else np.ones(1)
    return np.asarray(np.mean(np.square(observed), axis=-1))


def _initial_state(problem: BatchProblem, start: Array, delta: Array, box: Box) -> _State:
    z = _search_coordinates(np.clip(start, box.low, box.high), box)
    here = _differentiate(problem, z, delta, box)
    return _State(z, delta.copy(), np.full(start.shape[0], 1e-3), here)


def _search_coordinates(theta: Array, box: Box) -> Array:
    return np.where(box.log, np.log(np.maximum(theta, 1e-300)), theta)


def _parameters(z: Array, box: Box) -> Array:
    return np.clip(np.where(box.log, np.exp(np.where(box.log, z, 0.0)), z), box.low, box.high)


def _differentiate(problem: BatchProblem, z: Array, delta: Array, box: Box) -> Derivatives:
    """Return the derivatives with respect to the search coordinates ``z``."""
    theta = _parameters(z, box)
    found = differentiate(problem, theta, delta)
    if not box.log.any():
        return found
    chain = np.where(box.log, theta, 1.0)  # d theta / d log theta
    curvature = found.curvature * chain[:, :, None] * chain[:, None, :]
    diagonal = np.arange(theta.shape[1])
    curvature[:, diagonal, diagonal] += np.where(box.log, found.gradient * theta, 0.0)
    return Derivatives(found.value, found.gradient * chain, curvature, found.majorant * chain**2)


def _take(state: _State, keep: Array) -> _State:
    here = Derivatives(*(getattr(state.here, name)[keep] for name in ("value", "gradient", "curvature", "majorant")))
    return _State(state.z[keep], state.delta[keep], state.damping[keep], here)


def _step(
    problem: BatchProblem, state: _State, target: float, box: Box, perfect_value: Array, tolerance: float
) -> tuple[Array, Array]:
    """Take one damped step of every member, in place. Return which are finished and which cannot move."""
    low, high = _search_coordinates(box.low, box), _search_coordinates(box.high, box)
    move, predicted = _direction(state, low, high, box.frozen)
    relative = predicted / np.maximum(state.here.value, 1e-300)
    at_target, perfect = state.delta <= target, state.here.value <= perfect_value
    done = at_target & (((relative <= tolerance) & (state.damping <= 1.0)) | perfect)
    tighten = ~at_target & ((relative <= SETTLED) | perfect | (state.damping > 1e8))
    state.delta = np.where(tighten, np.maximum(state.delta * DELTA_FACTOR, target), state.delta)
    trial = np.where(tighten[:, None], state.z, np.clip(state.z + move, low, high))
    there = _differentiate(problem, trial, state.delta, box)
    gain = (state.here.value - there.value) / np.maximum(predicted, 1e-300)
    accept = tighten | (there.value < state.here.value)  # False where the law has no value
    _accept(state, trial, there, accept)
    state.damping = np.where(tighten, 1e-4, _damping(state.damping, accept, gain))
    stuck = ~done & ((at_target & (state.damping > 1e12)) | ~np.isfinite(state.here.value))
    # rounding can prevent the last decrease: the predicted one is then below the resolution of the sum
    done |= at_target & ~accept & (relative <= 1e-11)
    return done, stuck


def _damping(damping: Array, accept: Array, gain: Array) -> Array:
    """Return more damping after a rejected step, less after one that agreed with the model (Marquardt 1963)."""
    factor = np.where(gain > 0.7, 0.1, np.where(gain < 0.2, 3.0, 1.0))
    changed = np.where(accept, damping * factor, np.maximum(damping * 8.0, 1e-6))
    return np.clip(changed, 1e-15, 1e20)


def _accept(state: _State, trial: Array, there: Derivatives, accept: Array) -> None:
    state.z[accept] = trial[accept]
    for name in ("value", "gradient", "curvature", "majorant"):
        getattr(state.here, name)[accept] = getattr(there, name)[accept]


def _direction(state: _State, low: Array, high: Array, frozen: Array) -> tuple[Array, Array]:
    """Return the damped Newton step on the free coordinates and the decrease its quadratic model predicts."""
    here = state.here
    held = frozen | ((state.z <= low) & (here.gradient > 0)) | ((state.z >= high) & (here.gradient < 0))
    metric = np.maximum(here.majorant, 1e-12 * np.max(here.majorant, axis=1, keepdims=True) + 1e-300)
    scale = np.where(held, 0.0, 1.0 / np.sqrt(metric))
    matrix = here.curvature * scale[:, :, None] * scale[:, None, :]
    slope = here.gradient * scale
    lost = ~(np.isfinite(matrix).all(axis=(1, 2)) & np.isfinite(slope).all(axis=1))  # the law has no value there
    matrix[lost], slope[lost] = np.eye(slope.shape[1]), 0.0
    diagonal = np.arange(slope.shape[1])
    matrix[:, diagonal, diagonal] += held
    damping = state.damping.copy()
    for _ in range(40):
        damped = matrix.copy()
        damped[:, diagonal, diagonal] += damping[:, None]
        unit, positive = solve_positive(damped, -slope)
        if positive.all():
            break
        damping = np.where(positive, damping, np.maximum(damping * 10.0, 1e-4))
    state.damping = damping
    step = unit * scale
    curved = np.einsum("bi,bij,bj->b", unit, matrix, unit)
    return step, -np.einsum("bi,bi->b", slope, unit) - 0.5 * curved


def solve_positive(matrix: Array, right: Array) -> tuple[Array, Array]:
    """Solve (batch, p, p) x = (batch, p) by elimination across the batch; False where not positive definite."""
    count = right.shape[1]
    rows = np.empty((count, count + 1, matrix.shape[0]))  # batch last: each elimination is one vector operation
    rows[:, :count] = matrix.transpose(1, 2, 0)
    rows[:, count] = right.T
    positive = np.ones(matrix.shape[0], dtype=bool)
    for j in range(count):
        good = rows[j, j] > 1e-14  # pivots are positive exactly when the matrix is; its diagonal is of order 1
        positive &= good
        rows[j, j][~good] = 1.0
        factor = rows[j + 1 :, j] / rows[j, j]
        rows[j + 1 :, j + 1 :] -= factor[:, None] * rows[j, None, j + 1 :]
    solution = np.empty((count, matrix.shape[0]))
    for j in reversed(range(count)):
        known = np.sum(rows[j, j + 1 : count] * solution[j + 1 :], axis=0)
        solution[j] = (rows[j, count] - known) / rows[j, j]
    return np.ascontiguousarray(solution.T), positive
