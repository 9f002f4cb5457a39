"""Exponent of the best learning rate in the batch size at fixed (N, D), and the critical batch from the same runs.

The square-root rule (exponent 1/2) is what noise-dominated adaptive methods follow, the linear rule (1) what SGD does
(Malladi et al. 2022, arXiv 2205.10287; Goyal et al. 2017, arXiv 1706.02677). The exponent is the slope of the fitted
optimum of lr over batch-size slices, with an offset per cell; its interval resamples cells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweeplaw.analysis.hyperlaws.features import Features
from sweeplaw.analysis.hyperlaws.joint import joint
from sweeplaw.analysis.hyperlaws.knob_law import Estimate, widened
from sweeplaw.analysis.hyperlaws.pooled import resampled_cells
from sweeplaw.analysis.tables.display import Shown, finite
from sweeplaw.analysis.tuning.cells import CellTable
from sweeplaw.analysis.tuning.optimum import CellOptimum, optima
from sweeplaw.trials.errors import InputError

Array = NDArray[np.float64]

SQUARE_ROOT, LINEAR = 0.5, 1.0
RULES = {"square-root": SQUARE_ROOT, "linear": LINEAR}
SAME_RULE = 0.03  # margin of the interval before a rule is excluded: slices of planted surfaces err by up to .02
OVERHEAD = 1.2  # tokens over the minimum at the critical batch (Zhang et al. 2024, arXiv 2410.21676)
FEWEST_CELLS = 4
REASONS = 3  # why the best learning rate of a slice is not known, that are given


@dataclass(frozen=True, slots=True, repr=False)
class BatchRule(Shown):
    """``exponent`` of lr*(B), from ``slices`` batch-size slices in ``cells`` cells.

    ``surface``: the exponent by the shared curvature, -H_lr,B / H_lr,lr. ``verdict`` compares it with the two rules.
    ``critical``: batch, in the table's unit, at which each cell would need 20 % more tokens than at its best, at the
    best lr; None if unknown.
    """

    exponent: Estimate
    surface: float
    slices: int
    cells: int
    verdict: str
    critical: tuple[tuple[Mapping[str, object], float | None], ...]

    def headline(self) -> tuple[str, ...]:
        """Return the verdict and the evidence."""
        return (f"{self.verdict} ({self.slices} slices in {self.cells} cells; shared surface: {self.surface:.2f})",)

    def to_dict(self) -> dict[str, Any]:
        """Return the rule as plain values for JSON."""
        return dict(finite({
            "exponent": self.exponent.value,
            "exponent_interval": self.exponent.ends,
            "exponent_of_the_shared_surface": self.surface,
            "slices": self.slices,
            "cells": self.cells,
            "verdict": self.verdict,
            "critical": [{**cell, "critical_batch": value} for cell, value in self.critical],
        }))  # fmt: skip


def batch_rule(
    table: CellTable, terms: Features, lr: str, batch: str, resamples: int = 1000, seed: int = 0
) -> BatchRule:
    """Return the rule in ``table``, whose knobs include ``lr`` and ``batch``. Raise InputError if no slice has one."""
    i, j = table.knobs.index(lr), table.knobs.index(batch)
    found = _optima_of_slices(table, i, j)
    cell, x, y, weight = _slices(found)
    if len(np.unique(cell)) == 0:
        raise InputError(_without_slices(found, lr, batch), where="batch-lr")
    slope = _slopes(cell, x, y, weight, np.ones((1, len(table.cells))))[0]
    draws = _slopes(cell, x, y, weight, resampled_cells(table.recipe, resamples, seed))
    draws = widened(draws[np.isfinite(draws)], slope, len(np.unique(cell)) - 1)
    enough = len(np.unique(cell)) >= FEWEST_CELLS and len(draws) > resamples / 2
    low, high = np.quantile(draws, [0.025, 0.975]) if enough else (None, None)
    exponent = Estimate(float(slope), None if low is None else float(low), None if high is None else float(high))
    hessian = joint(table, terms).curvature()
    return BatchRule(
        exponent=exponent,
        surface=float(-hessian[i, j] / hessian[i, i]),
        slices=len(x),
        cells=len(np.unique(cell)),
        verdict=_verdict(exponent),
        critical=_critical(table, hessian, i, j),
    )


def _optima_of_slices(table: CellTable, i: int, j: int) -> Sequence[CellOptimum]:
    """Return what is known of the best lr of each slice: the runs of one batch size in one cell."""
    frame = pl.DataFrame(
        {"cell": table.cell, "batch": table.levels[:, j], "lr": np.exp(table.x[:, i]), "loss": np.exp(table.z)}
    )
    return optima(frame, ["cell", "batch"], ["lr"], "loss")


def _without_slices(found: Sequence[CellOptimum], lr: str, batch: str) -> str:
    """Return that no cell has two slices with an optimum, and why the first ones without one have none."""
    known = sum(one.supported for one in found)
    why = dict.fromkeys(one.verdict for one in found if not one.supported)
    first = "".join(f"\n  - {verdict}" for verdict in list(why)[:REASONS])
    return (
        f"no cell has two values of {batch} at which the best {lr} is determined: it is at {known} of {len(found)}"
        + (f"; elsewhere:{first}" if first else "")
    )


def _slices(found: Sequence[CellOptimum]) -> tuple[NDArray[np.int64], Array, Array, Array]:
    """Return cell, log batch, log of the best lr and its weight for each batch-size slice with an optimum."""
    per_cell = Counter(one.cell["cell"] for one in found if one.supported)
    kept = [one for one in found if one.supported and per_cell[one.cell["cell"]] > 1]
    knobs = [one.knob("lr") for one in kept]
    error = np.array([np.log((k.high or np.nan) / (k.low or np.nan)) / 3.92 for k in knobs])
    typical = np.median(error) if len(error) else 1.0  # no slice may weigh more than a typical one
    return (
        np.array([one.cell["cell"] for one in kept], dtype=np.int64),
        np.array([one.cell["batch"] for one in kept]),
        np.array([np.log(k.fitted or np.nan) for k in knobs]),
        1 / np.maximum(error, typical) ** 2,
    )


def _slopes(cell: NDArray[np.int64], x: Array, y: Array, weight: Array, cell_weights: Array) -> Array:
    """Return the weighted slope (draws,) of y on x with an offset per cell; NaN if the drawn cells have no spread."""
    cells = cell_weights.shape[1]
    mass = np.maximum(np.bincount(cell, weights=weight, minlength=cells), 1e-300)
    dx = x - (np.bincount(cell, weights=weight * x, minlength=cells) / mass)[cell]
    dy = y - (np.bincount(cell, weights=weight * y, minlength=cells) / mass)[cell]
    up = cell_weights @ np.bincount(cell, weights=weight * dx * dy, minlength=cells)
    down = cell_weights @ np.bincount(cell, weights=weight * dx * dx, minlength=cells)
    return np.asarray(np.where(down > 0, up / np.where(down > 0, down, 1.0), np.nan))


def _verdict(exponent: Estimate) -> str:
    value = f"lr* ~ B^{exponent.value:.2f}"
    if exponent.low is None or exponent.high is None:
        return f"{value}: too few cells for an interval, so neither rule is excluded"
    low, high = exponent.low - SAME_RULE, exponent.high + SAME_RULE
    inside = {name: low <= rule <= high for name, rule in RULES.items()}
    interval = f"{value} [{exponent.low:.2f}, {exponent.high:.2f}]"
    if all(inside.values()):
        return f"{interval}: covers both the square-root and the linear rule"
    if any(inside.values()):
        rule, other = ("square-root", "linear") if inside["square-root"] else ("linear", "square-root")
        return f"{interval}: agrees with the {rule} rule and excludes the {other} rule"
    where = "below both" if high < SQUARE_ROOT else "above both" if low > LINEAR else "between"
    return f"{interval}: {where} the square-root and the linear rule, and excludes them"


def _critical(
    table: CellTable, hessian: Array, i: int, j: int
) -> tuple[tuple[Mapping[str, object], float | None], ...]:
    """Return the critical batch of each cell: 20 % more tokens would compensate for the loss at its best lr.

    Along the best lr the log loss rises by h (ln B/B*)^2 / 2 with h = 1 / inverse(H)_BB, and 20 % more tokens lower it
    by s ln 1.2, s = -d log L / d log D over the cells' lowest losses.
    """
    slope = _data_slope(table)
    along = 1 / np.linalg.inv(hessian)[j, j]
    best = {tuple(c.cell.values()): c for c in optima(table.frame(), table.cells.columns, table.knobs, table.y)}
    out: list[tuple[Mapping[str, object], float | None]] = []
    for c in range(len(table.cells)):
        label = table.label(c)
        found = best.get(tuple(label.values()))
        fitted = found.knob(table.knobs[j]).fitted if found is not None and found.supported else None
        reach = np.exp(np.sqrt(2 * slope * np.log(OVERHEAD) / along)) if slope and along > 0 else None
        out.append((label, float(fitted * reach) if fitted and reach else None))
    return tuple(out)


def _data_slope(table: CellTable) -> float | None:
    """Return -d log L / d log D of the cells' lowest losses, other axes fixed; None if undetermined."""
    names: Sequence[str] = table.axes
    tokens = next((k for k, name in enumerate(names) if name in ("D", "tokens")), None)
    spread = np.ptp(table.log_axes, axis=0) > 0
    if tokens is None or not spread[tokens] or len(table.cells) <= 1 + spread.sum():
        return None
    design = np.concatenate([np.ones((len(table.cells), 1)), table.log_axes[:, spread]], axis=1)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    solution = np.linalg.lstsq(design, table.lowest, rcond=None)[0]
    slope = -float(solution[1 + int(spread[:tokens].sum())])
    return slope if slope > 0 else None
