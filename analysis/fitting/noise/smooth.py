"""A smooth function of the log inputs as a sum of few features: a pivoted Cholesky factor of its kernel on the rows.

The kernel is the rational quadratic 1 / (1 + r^2 / (2 l^2)). The features reproduce it on the rows to `TOLERANCE`. What
they do not span at another point is that point's own variance, so that far from the rows the prior variance is whole
again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

Array = np.ndarray

TOLERANCE = 1e-6  # of the kernel's diagonal, 1
MAX_RANK = 120


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
