"""Pooled estimator: ordinary least squares of log knob on the features, over the rows near each cell's best.

The method of Step Law (arXiv 2503.04715, section 4.2; threshold 0.25 %). Its released tool resamples rows and prints
the mean of the resampled coefficients; `row_resamples` is that procedure. The rows of one cell are not independent, so
our intervals resample cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweeplaw.analysis.hyperlaws.features import Features
from sweeplaw.analysis.hyperlaws.knob_law import KnobLaw, knob_law
from sweeplaw.analysis.tuning.cells import CellTable
from sweeplaw.trials.progress import ProgressCallback, no_progress

Array = NDArray[np.float64]

STEP_LAW_THRESHOLD = 0.0025
TURNS = 20  # of drawing resamples that determine the laws, at most
TIE_ORDERS = 8  # the mean over these is within 0.2 % of the mean over all orders


@dataclass(frozen=True, slots=True)
class Pooled:
    """Rows within ``threshold`` (relative, strict) of their cell's lowest loss."""

    table: CellTable
    features: Features
    threshold: float

    @property
    def name(self) -> str:
        """The estimator option."""
        return f"pooled:{self.threshold:g}"

    @property
    def used(self) -> NDArray[np.bool_]:
        """Mask (rows,) of the rows that the law is fitted to."""
        return self.table.excess < self.threshold

    @property
    def cells_without(self) -> dict[int, str]:
        """Cells without a contribution, with the reason: none, since the lowest row of each cell is used."""
        return {}

    @property
    def notes(self) -> tuple[str, ...]:
        """Nothing to say of the runs used: the name has their threshold."""
        return ()

    def coefficients(self, weights: Array, progress: ProgressCallback = no_progress) -> Array:
        """Return (draws, knobs, q) for cell weights (draws, cells). Computed in one batch: ``progress`` is unused."""
        counts, means = self._cell_means()
        return least_squares(self.features, weights * counts, means)

    def row_resamples(self, draws: int = 1000, seed: int = 42, ties: Array | None = None) -> Array:
        """Return (draws, knobs, q) of row resamples, drawn as by the released tool: sorted by excess, legacy generator.

        The best rows of all cells tie at zero. The tool's sort is not stable, so its result depends on the processor;
        ours orders equal rows as in the table, or by ``ties`` (rows,).
        """
        used = np.flatnonzero(self.used)
        among_equals = used if ties is None else ties[used]
        ordered = used[np.lexsort((among_equals, self.table.excess[used]))]
        picks = np.random.RandomState(seed).randint(0, len(ordered), (draws, len(ordered)))
        places = picks + len(ordered) * np.arange(draws)[:, None]
        copies = np.bincount(places.ravel(), minlength=picks.size).reshape(picks.shape).astype(np.float64)
        return row_weighted(
            self.features, copies, self.features.matrix[self.table.cell[ordered]], self.table.x[ordered]
        )

    def _cell_means(self) -> tuple[Array, Array]:
        """Return the number of rows used (cells,) and their mean log knobs (cells, knobs)."""
        used, cells = self.used, len(self.table.cells)
        counts = np.bincount(self.table.cell[used], minlength=cells).astype(np.float64)
        sums = [np.bincount(self.table.cell[used], weights=column[used], minlength=cells) for column in self.table.x.T]
        return counts, np.stack(sums, axis=1) / np.maximum(counts, 1)[:, None]


def resampled_cells(groups: NDArray[np.int64], resamples: int, seed: int) -> Array:
    """Return the number of times each cell occurs in each resample, (resamples, cells).

    Cells are drawn within their group: ``groups`` (cells,) are numbers from 0 on, of the recipes. Else a resample may
    lack a recipe, whose offset it then does not determine.
    """
    rng = np.random.default_rng(seed)
    found = np.zeros((resamples, len(groups)))
    for group in range(int(groups.max()) + 1):
        cells = np.flatnonzero(groups == group)
        found[:, cells] = rng.multinomial(len(cells), np.full(len(cells), 1 / len(cells)), resamples)
    return found


def determining_cells(features: Features, groups: NDArray[np.int64], resamples: int, seed: int) -> Array:
    """Return `resampled_cells` that determine the laws: draws without (all of one size, say) are drawn again.

    Fewer than ``resamples`` are returned if most draws are such.
    """
    found, targets = np.zeros((0, len(groups))), np.zeros((len(groups), len(features.allowed)))
    for turn in range(TURNS):
        drawn = resampled_cells(groups, resamples - len(found), seed + turn)
        known = np.isfinite(least_squares(features, drawn, targets)).all(axis=(1, 2))
        found = np.concatenate([found, drawn[known]])
        if len(found) == resamples:
            break
    return found


def row_laws(fitted: Pooled) -> tuple[KnobLaw, ...]:
    """Return the laws as Step Law's tool prints them: the mean of its row resamples, over orders of tied rows."""
    ties = np.random.default_rng(0).random((TIE_ORDERS, len(fitted.table.z)))
    draws = np.concatenate([fitted.row_resamples(ties=order) for order in ties])
    draws = draws[np.isfinite(draws).all(axis=(1, 2))]
    return tuple(
        knob_law(fitted.features, k, name, draws[:, k].mean(axis=0), draws[:, k])
        for k, name in enumerate(fitted.table.knobs)
    )


def least_squares(features: Features, weights: Array, targets: Array) -> Array:
    """Return the weighted least-squares coefficients (draws, knobs, q) of targets (cells, knobs).

    Weights are (draws, cells), or (draws, cells, knobs) if they differ by knob. NaN if the weighted cells do not
    determine the law. Terms not allowed are zero.
    """
    if weights.ndim == 3:
        parts = [
            row_weighted(features, weights[..., k], features.matrix, targets, only=k) for k in range(targets.shape[1])
        ]
        return np.concatenate(parts, axis=1)
    return row_weighted(features, weights, features.matrix, targets)


def row_weighted(features: Features, weights: Array, design: Array, targets: Array, only: int | None = None) -> Array:
    """Return `least_squares` (draws, knobs, q) on any rows: design (n, q), targets (n, knobs), weights (draws, n)."""
    draws, q = len(weights), design.shape[1]
    gram = (weights @ (design[:, :, None] * design[:, None, :]).reshape(len(design), q * q)).reshape(draws, q, q)
    knobs = range(targets.shape[1]) if only is None else [only]
    out = np.zeros((draws, len(knobs), q))
    for position, k in enumerate(knobs):
        mask = np.flatnonzero(features.allowed[k])
        right = weights @ (design[:, mask] * targets[:, [k]])
        out[:, position, mask] = solve(gram[:, mask[:, None], mask], right)
    return out


def solve(gram: Array, right: Array) -> Array:
    """Solve ``gram`` (draws, p, p) x = ``right`` (draws, p); NaN if the system is singular to working precision."""
    unknown = np.asarray(~(np.isfinite(gram).all(axis=(1, 2)) & np.isfinite(right).all(axis=1)))
    gram, right = np.where(unknown[:, None, None], 0.0, gram), np.where(unknown[:, None], 0.0, right)
    values = np.linalg.eigvalsh(gram)
    singular = ~(values[:, 0] > 1e-10 * values[:, -1])
    safe = np.where(singular[:, None, None], np.eye(gram.shape[1]), gram)
    return np.where(singular[:, None], np.nan, np.linalg.solve(safe, right[..., None])[..., 0])
