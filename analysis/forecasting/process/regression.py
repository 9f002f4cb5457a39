"""The forecast as a ridge regression: the law's derivatives and the features of the discrepancy, at many prior scales.

For features H (n, m), weights w and prior standard deviations D (m,) in units of the noise's, y = H D b + e with
b ~ N(0, s2 I), e ~ N(0, s2 / w), and s2 a scaled inverse chi-square. Everything follows from the Gram matrix of H and
y, so hundreds of scales D are one stacked Cholesky factorisation of small matrices, whatever the number of rows: the
last row of the factor of the bordered matrix has the coefficients, and its corner the residual square.

The first features may be indicators of groups that share no row. Their part of the Gram matrix is diagonal, so they are
eliminated first, at the cost of a sum, however many they are.
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
    """The sufficient statistics of a regression with r indicators and p other features.

    ``totals`` (r,) are the weights of the groups, ``sums`` (r, p + 1) the weighted sums over them of the other features
    and the target, ``matrix`` (p + 1, p + 1) the weighted Gram matrix of these.
    """

    totals: Array
    sums: Array
    matrix: Array
    log_weights: float
    rows: int


def gram(features: Array, target: Array, weights: Array, groups: int = 0) -> Gram:
    """Return the sufficient statistics of rows (n, m), (n,), (n,), whose first ``groups`` features are indicators."""
    indicators = features[:, :groups]
    bordered = np.column_stack([features[:, groups:], target])
    weighted = bordered * weights[:, None]
    return Gram(
        weights @ indicators,
        indicators.T @ weighted,
        bordered.T @ weighted,
        float(np.sum(np.log(weights))),
        len(target),
    )


@dataclass(frozen=True, slots=True)
class Posterior:
    """Coefficients at each of k prior scales: ``mean`` (k, m), ``noise`` variance (k,).

    The inverse root of their precision, in the features' own scales, has two parts: ``lead`` (k, r), of the indicators
    alone, and ``root`` (k, p, p), of the other features less what the indicators say of them, ``share`` (k, r, p).
    """

    noise: Array
    mean: Array
    lead: Array
    share: Array
    root: Array
    freedom: float

    def variance(self, features: Array, index: int) -> Array:
        """Return the posterior variance of H D b at features (n, m) at one scale, in units of the noise's: (n,)."""
        groups = self.lead.shape[1]
        indicators, others = features[:, :groups], features[:, groups:]
        alone = (indicators * self.lead[index]) ** 2
        rest = (others - indicators @ self.share[index]) @ self.root[index].T
        return np.asarray(np.sum(alone, axis=1) + np.sum(rest**2, axis=1))


def evidences(stats: Gram, scales: Array) -> Array:
    """Return the log evidence at each vector of prior scales (k, m): (k,)."""
    step = max(1, STACK_ELEMENTS // (stats.matrix.size + stats.sums.size))
    found = []
    for at in range(0, len(scales), step):
        lead, _, factor = _factor(stats, scales[at : at + step])
        logs = np.log(np.diagonal(factor, axis1=1, axis2=2))
        half = np.sum(np.log(lead), axis=1) / 2 + np.sum(logs[:, :-1], axis=1)
        found.append(stats.log_weights / 2 - half - (FREEDOM + stats.rows) * logs[:, -1])
    return np.concatenate(found)


def posterior(stats: Gram, scales: Array) -> Posterior:
    """Return the posterior at each vector of prior scales (k, m), zero for a feature that is left out."""
    groups = len(stats.totals)
    own, other = scales[:, :groups], scales[:, groups:]
    lead, coupling, factor = _factor(stats, scales)
    inverse = np.linalg.inv(factor[:, :-1, :-1])
    half, corner = factor[:, -1, :-1], factor[:, -1, -1]
    freedom = FREEDOM + stats.rows
    rest = np.matmul(inverse.transpose(0, 2, 1), half[:, :, None])
    first = (coupling[:, :, -1] - np.matmul(coupling[:, :, :-1], rest)[:, :, 0]) / lead
    mean = np.concatenate([own * first, other * rest[:, :, 0]], axis=1)
    share = (own**2 / lead)[:, :, None] * stats.sums[None, :, :-1]
    return Posterior(corner**2 / freedom, mean, own / np.sqrt(lead), share, inverse * other[:, None], freedom)


def _factor(stats: Gram, scales: Array) -> tuple[Array, Array, Array]:
    """Return the bordered system at each vector of scales, the indicators eliminated from it.

    These are its diagonal part (k, r), what couples the indicators to the rest (k, r, p + 1), and the Cholesky factor
    of the rest without them (k, p + 1, p + 1).
    """
    own, bordered = np.split(np.column_stack([scales, np.ones(len(scales))]), [len(stats.totals)], axis=1)
    lead = 1.0 + own**2 * stats.totals
    coupling = own[:, :, None] * stats.sums * bordered[:, None, :]
    matrix = stats.matrix * bordered[:, None, :]
    matrix *= bordered[:, :, None]
    if own.shape[1]:
        matrix -= np.matmul(coupling.transpose(0, 2, 1), coupling / lead[:, :, None])
    diagonal = np.arange(bordered.shape[1])
    matrix[:, diagonal[:-1], diagonal[:-1]] += 1.0
    matrix[:, -1, -1] += FREEDOM * NOISE**2
    return lead, coupling, np.linalg.cholesky(matrix)
