"""How the spread of the noise changes with the inputs: its logarithm as a line in the logarithms of the inputs.

|residual| is regressed on the standardised logarithms (Glejser 1969), and the same statistic of draws of constant
spread is the null. The slopes are those of the quasi-likelihood of |residual| with a logarithmic link, shrunk by
1 - 1/F (James & Stein 1961), F being the ratio of explained to unexplained mean squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sweeplaw.analysis.fitting.noise.shared import SIGNIFICANT, Residuals

Array = np.ndarray

SCORING_STEPS = 20
LEAST_REPLICATES = 20  # degrees of freedom of replicates, from which the spread is theirs
LEAST_SHARE = 0.05  # of a row's variance left by the projection


@dataclass(frozen=True, slots=True)
class Growth:
    """The spread of the noise at inputs, relative to its geometric mean over the rows.

    ``slopes`` are those of the logarithm of the spread by each input's logarithm less its ``middle``; ``ends`` are the
    least and largest logarithm seen, beyond which the spread is taken as constant. ``p`` is that of constant spread.
    ``replicates``: it was estimated from rows at one point alone.
    """

    slopes: Array
    middle: Array
    ends: tuple[float, float]
    p: float
    replicates: bool = False

    def at(self, logs: Sequence[Array]) -> Array:
        """Return the relative spread at the inputs' logarithms, each (n,): (n,)."""
        line = np.stack(list(logs), axis=-1) @ self.slopes - float(self.middle @ self.slopes)
        return np.asarray(np.exp(np.clip(line, *self.ends)))


def replicates(residual: Array, inputs: Sequence[Array]) -> tuple[Residuals, Array] | None:
    """Return the residuals of rows at points with several, about their point's mean, and which rows (n,) they are.

    None if they have fewer than LEAST_REPLICATES degrees of freedom, or are less than half of the rows.
    """
    point = np.unique(np.stack(list(inputs), axis=1), axis=0, return_inverse=True)[1].ravel()
    several = np.bincount(point)[point] > 1
    point = np.unique(point[several], return_inverse=True)[1]
    count = int(point.max(initial=-1)) + 1
    if len(point) - count < LEAST_REPLICATES or 2 * len(point) < len(residual):
        return None
    basis = np.eye(count)[point] / np.sqrt(np.bincount(point))
    found = Residuals(residual[several], basis)
    return Residuals(found.project(found.values), basis), several


def growth(residuals: Residuals, logs: Sequence[Array], null: Array) -> Growth | None:
    """Return how the spread changes with the inputs; None if it may as well be constant.

    ``null`` are projected draws (batch, n) of noise of constant spread.
    """
    columns = np.stack([log for log in logs if np.std(log) > 0] or [np.zeros(len(residuals.values))], axis=1)
    middle, widths = columns.mean(axis=0), np.maximum(columns.std(axis=0), 1e-300)
    basis = np.linalg.svd((columns - middle) / widths, full_matrices=False)[0]
    seen = _ratios(residuals.values[None], residuals, basis)[0]
    draws = _ratios(null, residuals, basis)
    p = (1 + int(np.sum(draws >= seen))) / (1 + len(draws))
    if p >= SIGNIFICANT or columns.shape[1] < len(logs):
        return None
    slopes = _slopes(_sizes(residuals.values[None], residuals)[0], columns - middle) * max(0.0, 1 - 1 / seen)
    line = (columns - middle) @ slopes
    return Growth(slopes, middle, (float(line.min()), float(line.max())), p)


def _slopes(sizes: Array, columns: Array) -> Array:
    """Return b of E |residual| = exp(a + columns @ b), by Fisher scoring of the quasi-likelihood."""
    design = np.column_stack([np.ones(len(sizes)), columns / np.maximum(columns.std(axis=0), 1e-300)])
    found = np.zeros(design.shape[1])
    for _ in range(SCORING_STEPS):
        expected = np.exp(np.clip(design @ found, -50, 50))
        found += np.clip(np.linalg.lstsq(design, sizes / expected - 1, rcond=None)[0], -1, 1)
    return np.asarray(found[1:] / np.maximum(columns.std(axis=0), 1e-300))


def _sizes(values: Array, residuals: Residuals) -> Array:
    """Return |residual| (batch, n) over its mean, with the shrinkage by the projection undone."""
    kept = np.sqrt(np.maximum(1 - np.sum(residuals.basis**2, axis=1), LEAST_SHARE))
    size = np.abs(values) / kept
    return np.asarray(size / np.maximum(size.mean(axis=1, keepdims=True), 1e-300))


def _ratios(values: Array, residuals: Residuals, basis: Array) -> Array:
    """Return F of the regression of |values| on the orthonormal basis (n, k), whose columns sum to 0: (batch,)."""
    sizes = _sizes(values, residuals) - 1
    rows, count = basis.shape
    explained = np.sum((sizes @ basis) ** 2, axis=1)
    left = np.maximum(np.sum(sizes**2, axis=1) - explained, 1e-300)
    return np.asarray(explained / count / (left / max(rows - count - 1, 1)))
