"""The objective, its gradient and its curvature at many parameter vectors at once.

All sums run over rows in blocks that fit the cache, so memory does not grow with rows or resamples. Shapes: parameters
(batch, p), losses and weights (n,) or (batch, n), results (batch,), (batch, p) and (batch, p, p).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from sweeplaw.analysis.fitting.solver.objectives import Space
from sweeplaw.analysis.fitting.solver.replicates import Replicates, replicates
from sweeplaw.analysis.laws.compiled import Bound

Array = np.ndarray

BLOCK = 32768  # elements of a (batch, rows) block; 256 KB an array, measured fastest between 4k and 128k

# glibc returns memory to the kernel after each block until one large array has been freed; the page faults tripled the
# time of a call (measured: 38 ms against 8 ms for 1000 vectors over 124 rows). This array is never written to.
np.empty(3 << 20)


@dataclass(frozen=True, slots=True)
class BatchProblem:
    """A law bound to its data, with losses and weights: shared, or one row for each batch member.

    With ``replicates``, losses and weights are in their order, and derivatives evaluate the law once for each input.
    """

    bound: Bound
    losses: Array
    weights: Array
    space: Space
    replicates: Replicates | None = None

    def take(self, rows: Array) -> BatchProblem:
        """Return the problem of these batch members."""
        losses = self.losses if self.losses.ndim == 1 else self.losses[rows]
        weights = self.weights if self.weights.ndim == 1 else self.weights[rows]
        return replace(self, losses=losses, weights=weights)

    def by_inputs(self) -> BatchProblem:
        """Return the same problem with its rows ordered by their inputs, if many rows share them."""
        found = None if self.replicates is not None else replicates(self.bound)
        if found is None:
            return self
        losses, weights = self.losses[..., found.order], self.weights[..., found.order]
        return replace(self, losses=losses, weights=weights, replicates=found)


@dataclass(frozen=True, slots=True)
class Derivatives:
    """Mean Huber penalty, gradient, exact curvature, and the diagonal of its reweighted Gauss-Newton majorant."""

    value: Array
    gradient: Array
    curvature: Array
    majorant: Array


def blocks(batch: int, rows: int, *, whole: bool = False) -> Iterator[tuple[slice, slice]]:
    """Yield slices that cover (batch, rows) in pieces of about BLOCK elements; ``whole``: all rows of a member."""
    width = rows if whole else min(rows, BLOCK)
    height = max(1, BLOCK // max(width, 1))
    for top in range(0, batch, height):
        for left in range(0, rows, width):
            yield slice(top, min(top + height, batch)), slice(left, min(left + width, rows))


def _part(array: Array, members: slice, rows: slice) -> Array:
    return array[None, rows] if array.ndim == 1 else array[members, rows]


def mean_penalties(problem: BatchProblem, theta: Array, delta: Array) -> Array:
    """Return the mean Huber penalty at each vector: (batch,). NaN where the law is not positive in log space."""
    total = np.zeros(theta.shape[0])
    for members, rows in blocks(theta.shape[0], problem.bound.rows):
        predicted = problem.bound(theta[members], 0, rows)[problem.bound.function.value]
        residual = _residual(problem, predicted, members, rows)
        size = np.abs(residual)
        clipped = np.minimum(size, delta[members, None])
        total[members] += np.sum(_part(problem.weights, members, rows) * clipped * (size - clipped / 2), axis=1)
    return np.asarray(total / np.sum(problem.weights, axis=-1))


def _residual(problem: BatchProblem, predicted: Array, members: slice, rows: slice) -> Array:
    losses = _part(problem.losses, members, rows)
    if problem.space == "raw":
        return np.asarray(losses - predicted)
    return np.asarray(np.log(losses) - np.log(predicted))


def differentiate(problem: BatchProblem, theta: Array, delta: Array) -> Derivatives:
    """Return value, gradient, curvature and majorant at each vector, exact up to the kinks of the penalty."""
    batch, count = theta.shape
    sums = Derivatives(
        np.zeros(batch), np.zeros((batch, count)), np.zeros((batch, count, count)), np.zeros((batch, count))
    )
    add = _add_block if problem.replicates is None else _add_replicates
    for members, rows in blocks(batch, problem.bound.rows, whole=problem.replicates is not None):
        add(problem, theta, delta, members, rows, sums)
    scale = np.broadcast_to(1.0 / np.sum(problem.weights, axis=-1), (batch,))
    return Derivatives(
        sums.value * scale,
        sums.gradient * scale[:, None],
        sums.curvature * scale[:, None, None],
        sums.majorant * scale[:, None],
    )


def _add_block(
    problem: BatchProblem, theta: Array, delta: Array, members: slice, rows: slice, sums: Derivatives
) -> None:
    """Add the terms of one block to ``sums``, in place."""
    nodes = problem.bound(theta[members], 2, rows)
    predicted = nodes[problem.bound.function.value]
    terms = _penalty(problem, predicted, delta, members, rows, sums)
    _add_terms(problem, nodes, terms, members, sums)


def _add_replicates(
    problem: BatchProblem, theta: Array, delta: Array, members: slice, rows: slice, sums: Derivatives
) -> None:
    """Add the terms of all rows of these members to ``sums``, in place, summed over the rows of each input."""
    found = problem.replicates
    assert found is not None
    nodes = found.bound(theta[members], 2)
    predicted = np.broadcast_to(nodes[problem.bound.function.value], (members.stop - members.start, found.bound.rows))
    slope, bend, pull = _penalty(problem, found.spread(predicted), delta, members, rows, sums)
    terms = found.summed(slope), found.summed(bend), found.summed(pull)
    _add_terms(problem, nodes, terms, members, sums)


def _penalty(
    problem: BatchProblem, predicted: Array, delta: Array, members: slice, rows: slice, sums: Derivatives
) -> tuple[Array, Array, Array]:
    """Add the penalties to ``sums``. Return by residual r: w psi(r) r', w psi'(r), and the weight of the majorant."""
    residual = _residual(problem, predicted, members, rows)
    weights = _part(problem.weights, members, rows)
    size = np.abs(residual)
    clipped = np.minimum(size, delta[members, None])
    sums.value[members] += np.einsum("bn,bn->b", weights * clipped, size - clipped / 2)
    slope = -np.copysign(weights * clipped, residual)  # raw r' = -1
    bend = weights * (size <= clipped)  # psi' = 1 inside the threshold
    return slope, bend, weights * (clipped / np.maximum(size, 1e-300))


def _add_terms(
    problem: BatchProblem, nodes: Mapping[int, Array], terms: tuple[Array, ...], members: slice, sums: Derivatives
) -> None:  # fmt: skip
    """Add gradient, curvature and majorant to ``sums``, by the chain rule through r(f)."""
    slope, bend, pull = terms
    function = problem.bound.function
    if problem.space == "log":  # r' = -1/f and r'' = 1/f^2
        inverse = 1.0 / nodes[function.value]
        slope *= inverse
        bend = bend * inverse * inverse - slope * inverse
        pull *= inverse * inverse

    jacobian = np.empty((slope.shape[0], len(function.gradient), slope.shape[1]))
    for index, node in enumerate(function.gradient):
        jacobian[:, index] = nodes[node]
    sums.gradient[members] += np.matmul(jacobian, slope[:, :, None])[:, :, 0]
    sums.curvature[members] += np.matmul(jacobian * bend[:, None], jacobian.transpose(0, 2, 1))
    for i, j, node in function.curvature:
        extra = np.einsum("bn,bn->b", np.broadcast_to(nodes[node], slope.shape), slope)
        sums.curvature[members, i, j] += extra
        if i != j:
            sums.curvature[members, j, i] += extra
    np.square(jacobian, out=jacobian)
    sums.majorant[members] += np.matmul(jacobian, pull[:, :, None])[:, :, 0]
