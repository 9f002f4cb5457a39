"""The settings of one cell as arrays: the levels of its knobs, and the problem of the quadratic near its lowest row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweeplaw.analysis.tables.levels import levels
from sweeplaw.analysis.tuning.quadratics.quadratic import Quadratic, QuadraticProblem, is_lopsided, term_count
from sweeplaw.trials.quantities import percent

Array = NDArray[np.float64]
Edge = Literal["", "low", "high"]

# Relative excess loss within which the quadratic is fitted. The published grids are quadratic in the logs within 1.5 %;
# the wider windows are for coarse grids. Where the loss moves by little more in all, a window is halved until the loss
# is as steep on both sides of its optimum. The verdict names the window used.
WINDOWS = (0.015, 0.03, 0.06, 0.12)
DIVERGED = "diverged"  # state of a trial whose loss ran away
CONVEX_ENOUGH = 0.95  # share of coefficient draws that must be convex


@dataclass(frozen=True, slots=True)
class KnobOptimum:
    """One knob in one cell.

    ``best``: its value in the lowest row. ``levels``: values tried in the cell, ascending, without rounding variants.
    ``edge``: the end of the levels at which ``best`` is; empty if inside, or if there is a single level. ``fitted``,
    ``low``, ``high``: minimum of the quadratic and its 95 % interval; None if the cell has none.
    """

    name: str
    best: Any
    levels: tuple[Any, ...]
    edge: Edge
    fitted: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def touches_edge(self) -> bool:
        """Whether the best value is the lowest or highest tried."""
        return self.edge != ""

    @property
    def can_curve(self) -> bool:
        """Whether a quadratic in the log of this knob can exist: three levels that have one, and the best one has."""
        numbers = [value for value in self.levels if isinstance(value, float)]
        known = [value for value in numbers if 0 < value < math.inf]
        return len(numbers) == len(self.levels) and len(known) >= 3 and self.best in known


@dataclass(frozen=True, slots=True)
class CellSettings:
    """Settings of one cell, seeds averaged: ``columns`` by knob (n,), of numbers as an array, of others as a series.

    ``z`` (n,) is log loss, infinite where it was not measured. At least one was. ``diverged`` (n,) are settings whose
    loss ran away, which bound the optimum as a measured one does; None for none.
    """

    columns: Mapping[str, Array | pl.Series]
    z: Array
    diverged: NDArray[np.bool_] | None = None

    def knobs(self, best: Mapping[str, Any]) -> tuple[KnobOptimum, ...]:
        """Return the levels of each knob among the settings that were measured or diverged, and the edge at which its
        ``best`` value is.
        """
        ended = np.isfinite(self.z) if self.diverged is None else np.isfinite(self.z) | self.diverged
        return tuple(best_level(name, _where(column, ended), best[name]) for name, column in self.columns.items())

    def problem(self, knobs: Sequence[KnobOptimum]) -> tuple[QuadraticProblem | None, float | None, str]:
        """Return the problem of the quadratic in the knobs that can curve, its window, or why there is none.

        The other knobs are held at their best value.
        """
        usable = [knob.name for knob in knobs if knob.can_curve]
        if not usable:
            return None, None, "no knob has three positive levels"
        kept = np.ones(len(self.z), dtype=bool)
        for knob in knobs:
            column = self.columns[knob.name]
            logs = knob.name in usable
            kept &= np.asarray((column > 0) & (column < math.inf)) if logs else _same_level(column, knob.best)
        x = np.log(np.stack([np.asarray(self.columns[name])[kept] for name in usable], axis=1))
        z, lowest, needed = self.z[kept], float(self.z.min()), term_count(len(usable))

        def within(window: float) -> QuadraticProblem | None:
            inside = z - lowest < np.log1p(window)
            # With fewer than three levels of a knob inside the window, the curvature would rest on one-sided rows.
            if inside.sum() < needed or any(len(levels(np.exp(column))[0]) < 3 for column in x[inside].T):
                return None
            return QuadraticProblem(x[inside], z[inside], x[~inside], lowest + np.log1p(window))

        found = next(((window, one) for window in WINDOWS if (one := within(window)) is not None), None)
        while found is not None and is_lopsided(found[1]) and (narrower := within(found[0] / 2)) is not None:
            found = found[0] / 2, narrower
        if found is not None:
            return found[1], found[0], ""
        return (
            None,
            None,
            f"too few points: {int(np.isfinite(z).sum())} rows, of which fewer than {needed} with three levels of each "
            f"of {', '.join(usable)} lie within {percent(WINDOWS[-1], '.0f')} of the best",
        )


def as_column(values: pl.Series) -> Array | pl.Series:
    """Return a knob's values as `CellSettings` holds them."""
    return values.to_numpy().astype(np.float64) if values.dtype.is_numeric() else values


def best_level(name: str, column: Array | pl.Series, best: Any) -> KnobOptimum:
    """Return the levels tried of a numeric or text knob, and the edge at which its value ``best`` is."""
    if isinstance(column, pl.Series):
        return KnobOptimum(name, best, tuple(column.unique().sort()), "")
    tried, index = levels(column)
    at = index[np.flatnonzero(column == best)[0]]
    edge: Edge = "" if len(tried) < 2 else "low" if at == 0 else "high" if at == len(tried) - 1 else ""
    return KnobOptimum(name, best, tuple(tried.tolist()), edge)


def _where(column: Array | pl.Series, kept: NDArray[np.bool_]) -> Array | pl.Series:
    return column.filter(pl.Series(kept)) if isinstance(column, pl.Series) else column[kept]


def _same_level(column: Array | pl.Series, value: Any) -> NDArray[np.bool_]:
    if isinstance(column, pl.Series):
        return np.asarray((column == value).to_numpy())
    _, index = levels(column)
    return np.asarray(index == index[np.flatnonzero(column == value)[0]])


def with_fit(knobs: Sequence[KnobOptimum], fit: Quadratic) -> tuple[KnobOptimum, ...]:
    """Return the knobs with the fitted optimum, and its interval if there are draws of it, of those that can curve."""
    if fit.reason or not fit.is_convex:
        return tuple(knobs)
    ends = fit.interval()
    at = {name: k for k, name in enumerate(knob.name for knob in knobs if knob.can_curve)}
    with np.errstate(over="ignore"):
        middle = np.exp(fit.optimum)
        low, high = (None, None) if ends is None else np.exp(ends)
    return tuple(
        knob
        if knob.name not in at
        else replace(
            knob,
            fitted=float(middle[at[knob.name]]),
            low=None if low is None else float(low[at[knob.name]]),
            high=None if high is None else float(high[at[knob.name]]),
        )
        for knob in knobs
    )


def objection(fit: Quadratic, knobs: Sequence[KnobOptimum]) -> str:
    """Return why the fitted optimum should not be used, or an empty string."""
    if fit.reason:
        return fit.reason
    if not fit.is_convex:
        return "log loss is not convex around its lowest row"
    for knob in knobs:
        if knob.fitted is not None and not knob.levels[0] <= knob.fitted <= knob.levels[-1]:
            side, end = ("below", knob.levels[0]) if knob.fitted < knob.levels[0] else ("above", knob.levels[-1])
            return f"the fitted {knob.name} = {knob.fitted:.3g} is {side} the grid, which ends at {end:.3g}"
    if fit.convex is None:
        return "as many terms as points"
    if fit.convex < CONVEX_ENOUGH:
        return f"curvature not established: {percent(fit.convex, '.0f')} of the draws are convex"
    return ""
