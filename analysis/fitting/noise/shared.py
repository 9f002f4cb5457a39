"""Whether runs of one group share noise: the share of the residuals' sum of squares that lies between groups.

With e the residuals less everything that the law's parameters and a smooth misfit (all terms up to the third degree in
the logarithms of the inputs) explain, and K = 1 for two runs of one group, q = e'Ke / e'e. Under independent noise q
has the distribution that normal draws through the same projection have. Variance components are those whose expected
sums of squares equal the observed ones (Henderson's method, Searle, Casella & McCulloch 1992, ch. 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from scipy.optimize import nnls

from sweeplaw.analysis.fitting.noise.groups import RowGroups

Array = np.ndarray

MOST_DRAWS = 2000
DRAWN_VALUES = 1_000_000  # of all draws together: tables of more than 500 rows get fewer
SIGNIFICANT = 0.01  # measured: false alarms .00-.03 a candidate, power .93-1.0 at correlation .5 and 120 rows
CLIP = 3.0  # robust standard deviations at which a residual is cut
LEAST_FREEDOM = 8  # rows beyond those that the projection uses up


@dataclass(frozen=True, slots=True)
class Residuals:
    """Residuals (n,) less what the orthonormal basis (n, r) explains."""

    values: Array
    basis: Array

    def project(self, draws: Array) -> Array:
        """Return draws (batch, n) less what the basis explains."""
        return np.asarray(draws - (draws @ self.basis) @ self.basis.T)


@dataclass(frozen=True, slots=True)
class Test:
    """The test of one division: p, and by how many of its standard deviations the statistic is above chance."""

    groups: RowGroups
    p: float
    excess: float

    @property
    def fires(self) -> bool:
        """Whether the runs of a group share noise."""
        return self.p < SIGNIFICANT


def draws_for(rows: int) -> int:
    """Return the number of draws of the null for this many rows."""
    return min(MOST_DRAWS, DRAWN_VALUES // rows)


def clean(residual: Array, jacobian: Array, logs: Sequence[Array]) -> Residuals | None:
    """Return the residuals ready for tests; None if too few rows are left by the projection."""
    basis = _orthonormal([*jacobian.T, *_smooth(logs)])
    if len(residual) - basis.shape[1] < LEAST_FREEDOM:
        basis = _orthonormal(list(jacobian.T))
    width = CLIP * float(np.median(np.abs(residual))) / 0.6745
    if len(residual) - basis.shape[1] < LEAST_FREEDOM or not width > 0:
        return None
    cleaned = Residuals(residual, basis)
    return Residuals(cleaned.project(np.clip(residual, -width, width)), basis)


def _smooth(logs: Sequence[Array]) -> list[Array]:
    """Return all products of two and three of the standardised logarithms."""
    scaled = [(log - log.mean()) / log.std() for log in logs if np.std(log) > 0]
    return [np.prod(terms, axis=0) for degree in (2, 3) for terms in combinations_with_replacement(scaled, degree)]


def _orthonormal(columns: Sequence[Array]) -> Array:
    matrix = np.stack(columns, axis=1)
    size = np.linalg.norm(matrix, axis=0)
    left, values, _ = np.linalg.svd(matrix / np.where(size > 0, size, 1.0), full_matrices=False)
    return np.asarray(left[:, values > 1e-9 * values[0]])


def test(residuals: Residuals, groups: RowGroups, null: Array) -> Test:
    """Return the test of one division against ``null``: projected draws (batch, n) of the noise without it."""
    draws = between(null, groups.labels)
    seen = float(between(residuals.values[None], groups.labels)[0])
    spread = float(np.std(draws)) or 1.0
    p = (1 + int(np.sum(draws >= seen))) / (1 + len(draws))
    return Test(groups, p, (seen - float(np.mean(draws))) / spread)


def between(values: Array, labels: Array) -> Array:
    """Return e'Ke / e'e for each row of values (batch, n): (batch,)."""
    return np.asarray(np.sum(sums(values, labels) ** 2, axis=1) / np.maximum(np.sum(values**2, axis=1), 1e-300))


def sums(values: Array, labels: Array) -> Array:
    """Return the sum of values (batch, n) over each group: (batch, groups)."""
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    return np.asarray(np.add.reduceat(values[:, order], starts, axis=1))


def correlations(residuals: Residuals, divisions: Sequence[RowGroups]) -> tuple[float, ...]:
    """Return the share of the noise's variance that each division's groups have in common."""
    basis, count = residuals.basis, len(residuals.values)
    parts = [np.arange(count), *(groups.labels for groups in divisions)]
    inner = [sums(basis.T, labels) for labels in parts]  # (r, groups) each
    expected = np.array([[_trace(a, b, inner[i], inner[j]) for j, b in enumerate(parts)] for i, a in enumerate(parts)])
    seen = np.array([np.sum(sums(residuals.values[None], labels) ** 2) for labels in parts])
    variances = nnls(expected / expected[0, 0], seen / max(float(seen[0]), 1e-300))[0]
    return tuple(float(one) for one in variances[1:] / max(float(variances.sum()), 1e-300))


def _trace(first: Array, second: Array, basis_first: Array, basis_second: Array) -> float:
    """Return tr(M K M L) for the projection M = 1 - QQ' and two divisions K and L, without a matrix of all rows."""
    pairs = np.unique(np.stack([first, second]), axis=1, return_counts=True)
    shared = float(np.sum(pairs[1] ** 2))
    mixed = float(np.sum(pairs[1] * np.sum(basis_first[:, pairs[0][0]] * basis_second[:, pairs[0][1]], axis=0)))
    both = float(np.sum((basis_first @ basis_first.T) * (basis_second @ basis_second.T)))
    return shared - 2 * mixed + both
