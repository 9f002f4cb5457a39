"""Features of the discrepancy: a smooth function of the log inputs, and offsets that runs of one size or budget share.

The smooth part has the rational quadratic kernel 1 / (1 + r^2 / (2 l^2)). It is a sum of few features: a pivoted
Cholesky factor of the kernel on the rows, which reproduces it there to `TOLERANCE`. What they do not span at another
point is that point's own variance, so that far from the runs the prior variance is whole again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

Array = np.ndarray

TOLERANCE = 1e-6  # of the kernel's diagonal, 1
MAX_RANK = 120
SCATTERED = 0.75  # of the clusters that chance makes, from which on values are a continuum


def kernel(a: Array, b: Array, length: float) -> Array:
    """Return the rational quadratic kernel between points (n, d) and (m, d): (n, m)."""
    square = np.sum(a**2, axis=1)[:, None] + np.sum(b**2, axis=1)[None] - 2 * a @ b.T
    return np.asarray(1.0 / (1.0 + np.maximum(square, 0.0) / (2 * length**2)))


@dataclass(frozen=True, slots=True)
class Smooth:
    """Features of a smooth function: ``pivots`` (r, d) and the Cholesky factor (r, r) of the kernel on them."""

    length: float
    pivots: Array
    factor: Array

    def at(self, points: Array) -> tuple[Array, Array]:
        """Return the features of points (n, r), and the variance that they do not span (n,)."""
        cross = kernel(points, self.pivots, self.length)
        features = solve_triangular(self.factor, cross.T, lower=True).T
        return features, np.maximum(1.0 - np.sum(features**2, axis=1), 0.0)


def smooth(points: Array, length: float) -> Smooth:
    """Return the features that reproduce the kernel on these points, chosen greedily by what is left."""
    left = np.ones(len(points))
    chosen: list[int] = []
    columns = np.empty((len(points), min(MAX_RANK, len(points))))
    while len(chosen) < columns.shape[1] and (best := int(np.argmax(left))) >= 0 and left[best] > TOLERANCE:
        rank = len(chosen)
        column = kernel(points, points[best : best + 1], length)[:, 0] - columns[:, :rank] @ columns[best, :rank]
        columns[:, rank] = column / np.sqrt(left[best])
        left = np.maximum(left - columns[:, rank] ** 2, 0.0)
        left[best] = 0.0
        chosen.append(best)
    return Smooth(length, points[chosen], np.tril(columns[chosen, : len(chosen)]))


@dataclass(frozen=True, slots=True)
class SharedOffsets:
    """Offsets that runs of nearly one value share: intervals of its logarithm. A run alone has none of its own."""

    low: Array
    high: Array

    def at(self, logs: Array) -> tuple[Array, Array]:
        """Return the indicators of the groups (n, groups), and 1 for each value that is in none of them (n,)."""
        shared = ((logs[:, None] >= self.low) & (logs[:, None] <= self.high)).astype(float)
        return shared, 1.0 - np.sum(shared, axis=1)


NO_GROUPS = SharedOffsets(np.zeros(0), np.zeros(0))


def groups(logs: Array, gap: float, widest: float) -> SharedOffsets:
    """Return the clusters of values, parted by ``gap`` or more, that have several runs.

    There are none if the values are one cluster, or fall into about as many as values scattered by chance: a continuum,
    in which no value is shared. A cluster wider than ``widest`` is none either.
    """
    ranked = np.sort(logs)
    spread = float(np.ptp(ranked))
    gap = min(gap, spread / len(ranked))
    parts = np.split(ranked, np.flatnonzero(np.diff(ranked) > gap) + 1)
    by_chance = 1 + (len(ranked) - 1) * np.exp(-len(ranked) * gap / spread) if spread > 0 else 1.0
    if len(parts) == 1 or len(parts) > SCATTERED * by_chance:
        return NO_GROUPS
    shared = [part for part in parts if len(part) > 1 and np.ptp(part) <= widest]
    return SharedOffsets(
        np.array([part[0] - gap / 4 for part in shared]), np.array([part[-1] + gap / 4 for part in shared])
    )
