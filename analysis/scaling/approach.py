"""What each of the three approaches to the compute-optimal exponents returns, and the line through its optima."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweeplaw.analysis.fitting.uncertainty import Interval, percentile
from sweeplaw.analysis.tables.display import Shown, finite

Array = np.ndarray

MIN_BUDGETS = 3  # that a line needs


@dataclass(frozen=True, slots=True)
class IsoflopBudget:
    """One compute budget: its FLOPs, rows, and the optimum that was found (None with the reason in the note).

    ``off_centre`` is where the optimum lies in the range of log N that was fitted: 0 in its middle, 1/2 at its end.
    ``window`` is how far above the budget's least loss the ``rows_used`` may lie, in parts of it.
    """

    flops: float
    rows: int
    params: float | None
    loss: float | None
    off_centre: float | None
    note: str
    rows_used: int | None = None
    window: float | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Approach(Shown):
    """One approach: exponent a and coefficient of N* = n0 C^a, exponent b of D*, with intervals; NaN if withheld."""

    name: str
    a: float
    b: float
    coefficient: float
    intervals: Mapping[str, Interval]
    budgets: tuple[IsoflopBudget, ...]
    notes: tuple[str, ...]

    def params(self, flops: float) -> float:
        """Return N* for a budget by this approach's line."""
        return float(self.coefficient * flops**self.a)

    def headline(self) -> tuple[str, ...]:
        """Return the exponent of N* with its interval, and the notes."""
        if math.isnan(self.a):
            return (f"approach {self.name}: {'; '.join(self.notes)}",)
        known = self.intervals.get("a")
        spread = f" [{known.low:.3f}, {known.high:.3f}]" if known else ""
        return (f"approach {self.name}: a = {self.a:.4f}{spread}; {'; '.join(self.notes)}".removesuffix("; "),)

    def to_dict(self) -> dict[str, Any]:
        """Return the approach as plain values for JSON."""
        budgets = [
            {"flops": one.flops, "rows": one.rows, "params": one.params, "off_centre": one.off_centre, "note": one.note,
             "rows_used": one.rows_used, "window": one.window}
            for one in self.budgets
        ]  # fmt: skip
        return dict(finite({
            "name": self.name, "a": self.a, "b": self.b, "coefficient": self.coefficient,
            "intervals": {name: value.values() for name, value in self.intervals.items()},
            "budgets": budgets, "notes": self.notes,
        }))  # fmt: skip


def line(
    name: str, flops: Array, best: Array, level: float, budgets: tuple[IsoflopBudget, ...], notes: tuple[str, ...]
) -> Approach:
    """Fit log N* = log n0 + a log C through optima ``best`` (batch, m) of log N: the estimate, then its resamples.

    Budgets without an optimum (NaN) take no part.
    """
    slope, coefficient = slopes(np.log(flops), best)
    method = f"row bootstrap within budgets, {len(best) - 1} resamples"
    intervals = {"a": percentile(slope[1:], level, method), "b": percentile(1 - slope[1:], level, method)}
    if missing := len(flops) - int(np.isfinite(best[0]).sum()):
        notes = (*notes, f"{missing} of {len(flops)} budgets have no optimum and take no part")
    return Approach(
        name, float(slope[0]), float(1 - slope[0]), float(np.exp(coefficient[0])), intervals, budgets, notes
    )


def slopes(place: Array, best: Array) -> tuple[Array, Array]:
    """Return the slope and intercept of each line through ``best`` (batch, m) against ``place`` (m,), skipping NaN.

    The slope is NaN where fewer than two are known.
    """
    known = np.isfinite(best)
    count = np.maximum(known.sum(axis=1), 1)
    x, y = np.where(known, place, 0.0), np.where(known, best, 0.0)
    mean_x, mean_y = x.sum(axis=1) / count, y.sum(axis=1) / count
    spread = np.where(known, place - mean_x[:, None], 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.sum(spread * y, axis=1) / np.sum(spread**2, axis=1)
    slope = np.where(known.sum(axis=1) >= 2, slope, np.nan)
    return slope, mean_y - slope * mean_x
