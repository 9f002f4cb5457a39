"""Optimum of the knobs in every cell of a table: the best row, the fitted optimum, and a verdict on both.

A cell is one scientific point: one (N, D), or any combination of columns. Within it the knobs were tuned. The optimum
is estimated by the row of lowest loss and by the minimum of a quadratic of log loss in the logs of the knobs. The
verdict states what the cell supports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from sweeplaw.analysis.tables.display import Shown, finite
from sweeplaw.analysis.tables.runs import frame_of
from sweeplaw.analysis.tables.sql.expressions import check_columns
from sweeplaw.analysis.tuning.cell_settings import DIVERGED, CellSettings, KnobOptimum, as_column, objection, with_fit
from sweeplaw.analysis.tuning.quadratics.quadratic import Quadratic, QuadraticProblem, fit_quadratics
from sweeplaw.analysis.tuning.repeats import settings as settings_of
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import percent, settings


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
    a null in a cell or knob column are left out, and so are cells without a measured loss (see `unmeasured_cells`). A
    setting whose trial diverged (column `state`) bounds the optimum: the best value beside it is not at the end.
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
        split = known.partition_by(list(cells), as_dict=True)
        ordered = sorted(split.items(), key=lambda item: tuple((str(type(v)), v) for v in item[0]))
        groups = [(dict(zip(cells, values, strict=True)), part) for values, part in ordered]
    parts = [_Cell.of(part, cell, knobs, y) for cell, part in groups if _measured(part, y).any()]
    fits = iter(fit_quadratics([one.problem for one in parts if one.problem is not None], seed=seed))
    return [one.optimum(None if one.problem is None else next(fits)) for one in parts]


def unmeasured_cells(trials: pl.DataFrame, cells: Sequence[str], y: str = "val_loss") -> pl.DataFrame:
    """Return the cells (their columns, and ``rows``) in which no row has a finite positive loss."""
    measured = pl.col(y).is_finite() & (pl.col(y) > 0)
    counts = trials.group_by(list(cells)).agg(pl.len().alias("rows"), measured.fill_null(False).sum().alias("measured"))
    return counts.filter(pl.col("measured") == 0).drop("measured").sort(list(cells))


@dataclass(frozen=True, slots=True)
class _Cell:
    """A cell before its quadratic is fitted: what `CellOptimum` says of it, and the problem, None with the reason."""

    cell: Mapping[str, Any]
    row: Mapping[str, Any]
    loss: float
    knobs: tuple[KnobOptimum, ...]
    rows: int
    unmeasured: int
    window: float | None
    problem: QuadraticProblem | None
    reason: str

    @classmethod
    def of(cls, part: pl.DataFrame, cell: Mapping[str, Any], knobs: Sequence[str], y: str) -> _Cell:
        """Return the cell of these rows, at least one of which has a finite positive loss."""
        rows = int(_measured(part, y).sum())
        part = _averaged(part, knobs, y)
        measured = _measured(part, y).to_numpy()
        losses = part[y].fill_null(np.nan).to_numpy()
        z = np.log(losses, where=measured, out=np.full(part.height, np.inf))
        row = part.row(int(np.where(measured, losses, np.inf).argmin()), named=True)
        diverged = (part["state"] == DIVERGED).fill_null(False).to_numpy() if "state" in part.columns else None
        settings = CellSettings({name: as_column(part[name]) for name in knobs}, z, diverged)
        described = settings.knobs(row)
        problem, window, reason = settings.problem(described)
        unmeasured = int((~measured).sum())
        return cls(cell, row, float(losses[measured].min()), described, rows, unmeasured, window, problem, reason)

    def optimum(self, fit: Quadratic | None) -> CellOptimum:
        """Return the optimum by the ``fit`` of the problem, None without one."""
        usable = [knob.name for knob in self.knobs if knob.can_curve]
        reason, described = self.reason, self.knobs
        if fit is not None:
            described = with_fit(described, fit)
            reason = objection(fit, described)
        return CellOptimum(
            cell=self.cell,
            row=self.row,
            loss=self.loss,
            knobs=described,
            rows=self.rows,
            unmeasured=self.unmeasured,
            window=self.window,
            fitted_rows=fit.rows if fit else 0,
            fitted_loss=float(np.exp(fit.minimum)) if fit and np.isfinite(fit.minimum) else None,
            supported=not reason,
            verdict=_verdict(reason, fit, self.window, usable, described),
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


def _verdict(
    reason: str, fit: Quadratic | None, window: float | None, usable: Sequence[str], knobs: Sequence[KnobOptimum]
) -> str:
    held = [knob.name for knob in knobs if knob.name not in usable and len(knob.levels) > 1]
    at = f", {', '.join(held)} held at the best value" if held and usable else ""
    edges = [f"the {'lowest' if knob.edge == 'low' else 'highest'} {knob.name} tried" for knob in knobs if knob.edge]
    edge = f"; the lowest loss is at {' and '.join(edges)}" if edges else ""
    if reason or fit is None or window is None:
        return f"no interval for an optimum: {reason}{at}{edge}"
    within = f"{fit.rows} rows within {percent(window, '.1f')} of the best"
    return f"an optimum in {', '.join(usable)}: convex over {within}{at}{edge}"
