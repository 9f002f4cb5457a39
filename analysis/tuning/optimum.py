"""Optimum of the knobs in every cell of a table: the best row, the fitted optimum, and a verdict on both.

A cell is one scientific point: one (N, D), or any combination of columns. Within it the knobs were tuned. The optimum
is estimated by the row of lowest loss and by the minimum of a quadratic of log loss in the logs of the knobs. The
verdict states what the cell supports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweeplaw.analysis.tables.display import Shown, finite
from sweeplaw.analysis.tables.levels import levels
from sweeplaw.analysis.tables.runs import frame_of
from sweeplaw.analysis.tables.sql.expressions import check_columns
from sweeplaw.analysis.tuning.quadratic import Quadratic, fit_quadratic, term_count
from sweeplaw.analysis.tuning.repeats import settings as settings_of
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import settings

Array = NDArray[np.float64]
Edge = Literal["", "low", "high"]

# Relative excess loss within which the quadratic is fitted. The published grids are quadratic in the logs within 1.5 %;
# the wider windows are for coarse grids, and the verdict names the one used.
WINDOWS = (0.015, 0.03, 0.06, 0.12)
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


@dataclass(frozen=True, slots=True, repr=False)
class CellOptimum(Shown):
    """The optimum of one cell.

    ``row``: all columns of the first run of the best setting, ``loss`` in it and here: the mean over the setting's runs
    (its seeds). ``rows``: with a finite loss and all knobs; ``unmeasured``: without one. ``fitted_loss``: the minimum
    of the quadratic, fitted to ``fitted_rows`` settings whose relative excess is within ``window``. ``supported``: it
    is convex, its optimum inside the grid, with an interval; ``verdict`` says why.
    """

    cell: Mapping[str, Any]
    row: Mapping[str, Any]
    loss: float
    knobs: tuple[KnobOptimum, ...]
    rows: int
    unmeasured: int
    window: float | None
    fitted_rows: int
    fitted_loss: float | None
    supported: bool
    verdict: str
    quadratic: Quadratic | None
    fitted_knobs: tuple[str, ...]

    def knob(self, name: str) -> KnobOptimum:
        """Return the knob of this name. Raise InputError for a knob that was not analysed."""
        found = next((knob for knob in self.knobs if knob.name == name), None)
        if found is None:
            raise InputError(f"no optimum of {name!r} (knobs: {', '.join(knob.name for knob in self.knobs)})")
        return found

    def headline(self) -> tuple[str, ...]:
        """Return the cell, its lowest loss with the knobs there, and the verdict."""
        best = {knob.name: knob.best for knob in self.knobs}
        return (f"{settings(self.cell) or 'all rows'}: loss {self.loss:.4f} at {settings(best)}", self.verdict)

    def to_dict(self) -> dict[str, Any]:
        """Return the optimum as plain values for JSON."""
        return dict(finite({
            "cell": self.cell,
            "loss": self.loss,
            "trial_id": self.row.get("trial_id"),
            "rows": self.rows,
            "unmeasured": self.unmeasured,
            "verdict": self.verdict,
            "knobs": {
                knob.name: {
                    "best": knob.best,
                    "levels": knob.levels,
                    "edge": knob.edge or None,
                    "touches_edge": knob.touches_edge,
                    "fitted": knob.fitted,
                    "low": knob.low,
                    "high": knob.high,
                }
                for knob in self.knobs
            },
        }))  # fmt: skip


def optima(
    trials: Any, cells: Sequence[str], knobs: Sequence[str], y: str = "val_loss", *, seed: int = 0
) -> list[CellOptimum]:
    """Return the optimum of every cell, in ascending order of the cells.

    ``trials`` is any source of runs that `fit` takes; a Polars frame is used as it is, of others the losses of
    completed runs.
    ``cells`` and ``knobs`` name columns; knobs may be numbers or text (text has no edge and no quadratic). Rows with
    a null in a cell or knob column are left out, and so are cells without a measured loss (see `unmeasured_cells`).
    Raise InputError if a name is not a column or the loss is text.
    """
    trials = frame_of(trials, {"cells": cells, "knobs": knobs}, y)
    check_columns(trials, [*cells, *knobs, y], numbers=[y])
    known = trials.drop_nulls([*cells, *knobs])
    if known.is_empty():
        return []
    if not cells:
        groups: list[tuple[dict[str, Any], pl.DataFrame]] = [({}, known)]
    else:
        parts = known.partition_by(list(cells), as_dict=True)
        ordered = sorted(parts.items(), key=lambda item: tuple((str(type(v)), v) for v in item[0]))
        groups = [(dict(zip(cells, values, strict=True)), part) for values, part in ordered]
    return [cell_optimum(part, cell, knobs, y, seed=seed) for cell, part in groups if _measured(part, y).any()]


def unmeasured_cells(trials: pl.DataFrame, cells: Sequence[str], y: str = "val_loss") -> pl.DataFrame:
    """Return the cells (their columns, and ``rows``) in which no row has a finite positive loss."""
    measured = pl.col(y).is_finite() & (pl.col(y) > 0)
    counts = trials.group_by(list(cells)).agg(pl.len().alias("rows"), measured.fill_null(False).sum().alias("measured"))
    return counts.filter(pl.col("measured") == 0).drop("measured").sort(list(cells))


def cell_optimum(
    part: pl.DataFrame, cell: Mapping[str, Any], knobs: Sequence[str], y: str, *, seed: int = 0
) -> CellOptimum:
    """Return the optimum of the rows of one cell, at least one of which must have a finite positive loss."""
    rows = int(_measured(part, y).sum())
    part = _averaged(part, knobs, y)
    kept = part.filter(_measured(part, y))
    unmeasured = part.height - kept.height
    loss = kept[y].to_numpy().astype(np.float64)
    row = kept.row(int(loss.argmin()), named=True)
    described = tuple(best_level(kept, name, row[name]) for name in knobs)
    usable = [knob.name for knob in described if _can_curve(knob)]
    fit, window, reason = _quadratic(part, kept, loss, row, knobs, usable, y, seed)
    if fit is not None and not reason:
        described = tuple(_with_fit(knob, fit, usable) for knob in described)
        reason = _objection(fit, described)
    return CellOptimum(
        cell=cell,
        row=row,
        loss=float(loss.min()),
        knobs=described,
        rows=rows,
        unmeasured=unmeasured,
        window=window,
        fitted_rows=fit.rows if fit else 0,
        fitted_loss=float(np.exp(fit.minimum)) if fit and np.isfinite(fit.minimum) else None,
        supported=not reason,
        verdict=_verdict(reason, fit, window, usable, described),
        quadratic=fit,
        fitted_knobs=tuple(usable),
    )


def _averaged(part: pl.DataFrame, knobs: Sequence[str], y: str) -> pl.DataFrame:
    """Return the rows with the measured ones of each setting as one, at the mean of their losses."""
    part = part.with_columns(pl.col(y).cast(pl.Float64))
    measured = _measured(part, y)
    kept = part.filter(measured)
    if not knobs or kept.select(knobs).n_unique() == kept.height:
        return part
    others = [name for name in part.columns if name not in (*knobs, y)]
    means = settings_of(kept, (), knobs, y, others)
    return pl.concat([means.select(part.columns), part.filter(~measured)])


def _measured(part: pl.DataFrame, y: str) -> pl.Series:
    return (part[y].is_finite() & (part[y] > 0)).fill_null(False)


def best_level(kept: pl.DataFrame, name: str, best: Any) -> KnobOptimum:
    """Return the levels tried of a numeric or text knob, and the edge at which its value ``best`` is."""
    column = kept[name]
    if not column.dtype.is_numeric():
        return KnobOptimum(name, best, tuple(column.unique().sort()), "")
    values = column.to_numpy().astype(np.float64)
    tried, index = levels(values)
    at = index[np.flatnonzero(values == best)[0]]
    edge: Edge = "" if len(tried) < 2 else "low" if at == 0 else "high" if at == len(tried) - 1 else ""
    return KnobOptimum(name, best, tuple(tried.tolist()), edge)


def _can_curve(knob: KnobOptimum) -> bool:
    """Whether a quadratic in the log of this knob can exist: three positive levels, and the best one positive."""
    numbers = [value for value in knob.levels if isinstance(value, float)]
    return len(numbers) == len(knob.levels) and sum(value > 0 for value in numbers) >= 3 and knob.best > 0


def _quadratic(
    part: pl.DataFrame,
    kept: pl.DataFrame,
    loss: Array,
    row: Mapping[str, Any],
    knobs: Sequence[str],
    usable: Sequence[str],
    y: str,
    seed: int,
) -> tuple[Quadratic | None, float | None, str]:
    """Fit in the usable knobs at the best value of the others; return (fit, window, reason against it)."""
    if not usable:
        return None, None, "no knob has three positive levels"
    held = pl.all_horizontal(
        pl.lit(True),
        *[_same_level(part, name, row[name]) for name in knobs if name not in usable],
        *[pl.col(name) > 0 for name in usable],
    )
    part = part.filter(held)
    measured = _measured(part, y).to_numpy()
    x = np.log(part.select(usable).to_numpy().astype(np.float64))
    z = np.log(part[y].cast(pl.Float64).fill_null(np.nan).to_numpy(), where=measured, out=np.full(len(x), np.inf))
    needed = term_count(len(usable))
    for window in WINDOWS:
        inside = z - np.log(loss.min()) < np.log1p(window)
        # With fewer than three levels of a knob inside the window, the curvature would rest on one-sided rows alone.
        spans = all(len(levels(np.exp(column))[0]) >= 3 for column in x[inside].T)
        if inside.sum() >= needed and spans:
            fit = fit_quadratic(x[inside], z[inside], x[~inside], np.log(loss.min()) + np.log1p(window), seed=seed)
            return fit, window, fit.reason
    return (
        None,
        None,
        (
            f"too few points: {int(measured.sum())} rows, of which fewer than {needed} with three levels of each of "
            f"{', '.join(usable)} lie within {WINDOWS[-1]:.0%} of the best"
        ),
    )


def _same_level(part: pl.DataFrame, name: str, value: Any) -> pl.Expr:
    if not part[name].dtype.is_numeric():
        return pl.col(name).eq(value)
    values = part[name].to_numpy().astype(np.float64)
    _, index = levels(values)
    return pl.lit(pl.Series(index == index[np.flatnonzero(values == value)[0]]))


def _with_fit(knob: KnobOptimum, fit: Quadratic, usable: Sequence[str]) -> KnobOptimum:
    if knob.name not in usable:
        return knob
    i = list(usable).index(knob.name)
    ends = fit.interval() if fit.is_convex else None
    fitted = float(np.exp(fit.optimum[i])) if fit.is_convex else None
    low, high = (float(np.exp(ends[0][i])), float(np.exp(ends[1][i]))) if ends else (None, None)
    return KnobOptimum(knob.name, knob.best, knob.levels, knob.edge, fitted, low, high)


def _objection(fit: Quadratic, knobs: Sequence[KnobOptimum]) -> str:
    """Return why the fitted optimum should not be used, or an empty string."""
    if not fit.is_convex:
        return "log loss is not convex around its lowest row"
    for knob in knobs:
        if knob.fitted is not None and not knob.levels[0] <= knob.fitted <= knob.levels[-1]:
            side, end = ("below", knob.levels[0]) if knob.fitted < knob.levels[0] else ("above", knob.levels[-1])
            return f"the fitted {knob.name} = {knob.fitted:.3g} is {side} the grid, which ends at {end:.3g}"
    if fit.convex is None:
        return "as many terms as points: a minimum without an interval"
    if fit.convex < CONVEX_ENOUGH:
        return f"curvature not established: {fit.convex:.0%} of the draws are convex"
    return ""


def _verdict(
    reason: str, fit: Quadratic | None, window: float | None, usable: Sequence[str], knobs: Sequence[KnobOptimum]
) -> str:
    held = [knob.name for knob in knobs if knob.name not in usable and len(knob.levels) > 1]
    at = f", {', '.join(held)} held at the best value" if held and usable else ""
    edges = [f"the {'lowest' if knob.edge == 'low' else 'highest'} {knob.name} tried" for knob in knobs if knob.edge]
    edge = f"; the lowest loss is at {' and '.join(edges)}" if edges else ""
    if reason or fit is None:
        return f"no interval for an optimum: {reason}{at}{edge}"
    return f"an optimum in {', '.join(usable)}: convex over {fit.rows} rows within {window:.1%} of the best{at}{edge}"
