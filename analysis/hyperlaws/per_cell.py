"""Per-cell estimator: laws from the fitted optimum of each cell, weighted by its uncertainty.

Weight 1 / (s^2 + t^2): s is the cell's standard error of the log optimum, t the spread between cells that the law does
not explain (DerSimonian and Laird 1986, generalized to a regression), so that one very certain cell cannot dominate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweeplaw.analysis.hyperlaws.features import Features
from sweeplaw.analysis.hyperlaws.pooled import least_squares
from sweeplaw.analysis.tuning.cells import CellTable
from sweeplaw.analysis.tuning.optimum import CellOptimum, optima
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.progress import ProgressCallback, no_progress

Array = NDArray[np.float64]

REASONS = 3  # shown in an error; `optima` has the verdict of every cell
LEAST_ERROR = 1e-9  # of a log optimum: the weights of a table without noise then stay finite
STANDARD_NORMAL_WIDTH = 3.92  # 95 % interval in standard errors


@dataclass(frozen=True, slots=True)
class PerCell:
    """``center`` (cells, knobs): log optima, ``error`` (cells, knobs): standard errors, NaN if unsupported.

    ``spread`` (knobs,): unexplained standard deviation between cells.
    """

    table: CellTable
    features: Features
    center: Array
    error: Array
    spread: Array
    used: NDArray[np.bool_]
    cells_without: dict[int, str]

    @property
    def name(self) -> str:
        """The estimator option."""
        return "cells"

    @property
    def notes(self) -> tuple[str, ...]:
        """Nothing to say of the runs used: each cell's verdict does."""
        return ()

    def coefficients(self, weights: Array, progress: ProgressCallback = no_progress) -> Array:
        """Return (draws, knobs, q) for cell weights (draws, cells). Computed in one batch: ``progress`` is unused."""
        known = np.isfinite(self.center)
        precision = np.where(known, 1 / (np.where(known, self.error, 1.0) ** 2 + self.spread**2), 0.0)
        return least_squares(self.features, weights[:, :, None] * precision, np.where(known, self.center, 0.0))


def per_cell(table: CellTable, features: Features, found: Sequence[CellOptimum]) -> PerCell:
    """Return the estimator of these cell optima (one per cell, in the table's order). Raise InputError if too few."""
    cells, knobs = len(table.cells), len(table.knobs)
    center, error = np.full((cells, knobs), np.nan), np.full((cells, knobs), np.nan)
    used, without = np.zeros(len(table.z), dtype=bool), {}
    for i, cell in enumerate(found):
        if not cell.supported or cell.fitted_knobs != table.knobs:
            without[i] = cell.verdict
            continue
        for k, name in enumerate(table.knobs):
            knob = cell.knob(name)
            if knob.fitted and knob.low and knob.high:
                center[i, k] = np.log(knob.fitted)
                error[i, k] = max(np.log(knob.high / knob.low) / STANDARD_NORMAL_WIDTH, LEAST_ERROR)
        used[table.rows_of(i)] = table.excess[table.rows_of(i)] < (cell.window or 0.0)
    supported = int(np.isfinite(center[:, 0]).sum())
    needed = int(features.allowed.sum(axis=1).max()) + 1
    if supported < needed:
        shown = list(dict.fromkeys(without.values()))
        reasons = "; ".join(shown[:REASONS]) + (f"; and {len(shown) - REASONS} more" if len(shown) > REASONS else "")
        raise InputError(
            f"{supported} of {cells} cells support an optimum of their own and the law needs {needed} ({reasons})",
            where="estimator cells",
        )
    spread = np.array([_between(features, k, center[:, k], error[:, k]) for k in range(knobs)])
    return PerCell(table, features, center, error, spread, used, without)


def cell_optima(table: CellTable) -> list[CellOptimum]:
    """Return the optimum of each cell of ``table``, in its order."""
    return optima(table.frame(), table.cells.columns, table.knobs, table.y)


def _between(features: Features, knob: int, center: Array, error: Array) -> float:
    """Return the standard deviation between cells beyond their errors, by the method of moments on the residuals."""
    known = np.isfinite(center)
    design, target, weight = features.matrix[known][:, features.allowed[knob]], center[known], 1 / error[known] ** 2
    root = np.sqrt(weight)
    solution = np.linalg.lstsq(design * root[:, None], target * root, rcond=None)[0]
    statistic = float((weight * (target - design @ solution) ** 2).sum())
    gram = np.linalg.pinv((design * weight[:, None]).T @ design)
    expected = weight.sum() - np.trace(gram @ ((design * weight[:, None] ** 2).T @ design))
    freedom = len(target) - design.shape[1]
    return float(np.sqrt(max(0.0, (statistic - freedom) / expected)))
