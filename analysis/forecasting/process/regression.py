"""The forecast as a ridge regression: the law's derivatives and the features of the discrepancy, at many prior scales.

For features H (n, m), weights w and prior standard deviations D (m,) in units of the noise's, y = H D b + e with
b ~ N(0, s2 I), e ~ N(0, s2 / w), and s2 a scaled inverse chi-square. Everything follows from the Gram matrix of H and
y, so hundreds of scales D are one stacked Cholesky factorisation of small matrices, whatever the number of rows: the
last row of the factor of the bordered matrix has the coefficients, and its corner the residual square.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray

FREEDOM = 4.0  # degrees of freedom of the prior of the noise
NOISE = 0.003  # its scale: relative standard deviation of a loss
STACK_ELEMENTS = 1 << 18  # elements of (scales, m, m) held at once: they fit the cache


@dataclass(frozen=True, slots=True)
class Gram:
    """The sufficient statistics of a regression: the weighted Gram matrix of features and target (m + 1, m + 1)."""

    matrix: Array
    log_weights: float
    rows: int


def gram(features: Array, target: Array, weights: Array) -> Gram:
    """Return the sufficient statistics of rows (n, m), (n,), (n,)."""
    bordered = np.column_stack([features, target]) * np.sqrt(weights)[:, None]
    return Gram(bordered.T @ bordered, float(np.sum(np.log(weights))), len(target))


@dataclass(frozen=True, slots=True)
class Posterior:
    """Coefficients at each of k prior scales: ``mean`` (k, m), inverse root (k, m, m), ``noise`` variance (k,)."""

    noise: Array
    mean: Array
    root: Array
    freedom: float

    def variance(self, features: Array, index: int) -> Array:
        """Return the posterior variance of H D b at features (n, m) at one scale, in units of the noise's: (n,)."""
        return np.asarray(np.sum((features @ self.root[index].T) ** 2, axis=1))


def evidences(stats: Gram, scales: Array) -> Array:
    """Return the log evidence at each vector of prior scales (k, m): (k,)."""
    step = max(1, STACK_ELEMENTS // stats.matrix.size)
    parts = [
        np.diagonal(_factor(stats, scales[at : at + step]), axis1=1, axis2=2) for at in range(0, len(scales), step)
    ]
    logs = np.log(np.concatenate(parts))
    return np.asarray(stats.log_weights / 2 - np.sum(logs[:, :-1], axis=1) - (FREEDOM + stats.rows) * logs[:, -1])


def posterior(stats: Gram, scales: Array) -> Posterior:
    """Return the posterior at each vector of prior scales (k, m), zero for a feature that is left out."""
    factor = _factor(stats, scales)
    root = np.linalg.inv(factor[:, :-1, :-1])
    half, corner = factor[:, -1, :-1], factor[:, -1, -1]
    freedom = FREEDOM + stats.rows
    mean = scales * np.matmul(root.transpose(0, 2, 1), half[:, :, None])[:, :, 0]
    return Posterior(corner**2 / freedom, mean, root * scales[:, None], freedom)


def _factor(stats: Gram, scales: Array) -> Array:
    """Return the Cholesky factor of the bordered system at each vector of scales: (k, m + 1, m + 1)."""
    bordered = np.column_stack([scales, np.ones(len(scales))])
    matrix = stats.matrix * bordered[:, None, :]
    matrix *= bordered[:, :, None]
    diagonal = np.arange(bordered.shape[1])
    matrix[:, diagonal[:-1], diagonal[:-1]] += 1.0
    matrix[:, -1, -1] += FREEDOM * NOISE**2
    return np.linalg.cholesky(matrix)
