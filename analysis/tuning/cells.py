"""The rows of a sweep as arrays, cell by cell: what every law for an optimum is fitted to.

A cell is one combination of the axes (N and D, say) and of the recipe columns; its rows are settings of the knobs.
What the design itself forbids is refused here, in words: one cell, a knob that never moved, a knob that a rule set,
two knobs or two axes that moved together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweeplaw.analysis.tables.expressions import check_columns
from sweeplaw.analysis.tables.levels import SAME_LEVEL, snap
from sweeplaw.trials.errors import InputError

Array = NDArray[np.float64]

TOGETHER = 0.999  # correlation of logs beyond which two columns are one
LEAST_SPAN = 1.05  # an axis whose largest value is within 5 % of its smallest carries no exponent


@dataclass(frozen=True)
class CellTable:
    """Measured rows, sorted by cell.

    ``axes`` numeric columns the laws run over, ``recipes`` columns that split cells without being an axis.
    ``cells`` (one row a cell, ascending): axes and recipes; ``log_axes`` (cells, axes); ``cell`` (rows,) index of a
    row's cell; ``x`` (rows, knobs) natural logs; ``ladder`` the same with two roundings of one level made one;
    ``z`` (rows,) natural log of the loss; ``unmeasured`` (cells,) rows without a finite loss. ``dropped``: rows left
    out, by reason. ``notes``: what a reader must know of the design.
    """

    axes: tuple[str, ...]
    recipes: tuple[str, ...]
    knobs: tuple[str, ...]
    y: str
    cells: pl.DataFrame
    log_axes: Array
    cell: NDArray[np.int64]
    x: Array
    ladder: Array
    z: Array
    unmeasured: NDArray[np.int64]
    rows_in: int
    dropped: Mapping[str, int]
    notes: tuple[str, ...]

    @cached_property
    def excess(self) -> Array:
        """Relative loss of each row above the lowest of its cell."""
        return np.asarray(np.exp(self.z - self.lowest[self.cell]) - 1)

    @cached_property
    def lowest(self) -> Array:
        """Lowest log loss of each cell (cells,)."""
        return np.minimum.reduceat(self.z, self.starts)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Index of the first row of each cell."""
        return np.flatnonzero(np.diff(self.cell, prepend=-1))

    def rows_of(self, cell: int) -> slice:
        """The rows of one cell."""
        first, last = np.searchsorted(self.cell, [cell, cell + 1])
        return slice(int(first), int(last))

    def frame(self) -> pl.DataFrame:
        """The rows as a frame of the cell columns, the knobs and the loss."""
        columns = [pl.Series(name, np.exp(self.x[:, k])) for k, name in enumerate(self.knobs)]
        return self.cells[self.cell.tolist()].with_columns([*columns, pl.Series(self.y, np.exp(self.z))])

    def label(self, cell: int) -> dict[str, Any]:
        """Axis and recipe values of one cell."""
        return self.cells.row(cell, named=True)


def cell_table(
    frame: pl.DataFrame, axes: Sequence[str], knobs: Sequence[str], y: str, recipes: Sequence[str] = ()
) -> CellTable:
    """The measured rows of ``frame`` as a `CellTable`. Raises InputError for a design no law can come from."""
    names = [*axes, *recipes, *knobs, y]
    check_columns(frame, names, numbers=[*axes, *knobs, y])
    if not axes:
        raise InputError("name the axes of the cells (N,D, say)", where="hyperlaw")
    keys = [*axes, *recipes]
    kept, dropped = _screen(frame, axes, knobs, keys)
    measured = pl.col(y).cast(pl.Float64).is_finite().fill_null(False) & (pl.col(y) > 0).fill_null(False)
    counts = kept.group_by(keys).agg((~measured).sum().alias("_unmeasured"), measured.sum().alias("_measured"))
    cells = counts.filter(pl.col("_measured") > 0).sort(keys).with_row_index("_cell")
    rows = kept.filter(measured).join(cells, on=keys, how="inner", nulls_equal=True).sort("_cell", maintain_order=True)
    unmeasured = kept.height - rows.height
    if unmeasured:
        dropped["no finite loss (diverged or failed)"] = unmeasured
    if rows.is_empty():
        raise InputError(f"no row has a finite {y} and all of {', '.join([*keys, *knobs])}", where="hyperlaw")
    settings = rows.select(knobs).to_numpy().astype(np.float64)
    table = CellTable(
        axes=tuple(axes),
        recipes=tuple(recipes),
        knobs=tuple(knobs),
        y=y,
        cells=cells.select(keys),
        log_axes=np.log(cells.select(axes).to_numpy().astype(np.float64)).reshape(cells.height, len(axes)),
        cell=rows["_cell"].to_numpy().astype(np.int64),
        x=np.log(settings),
        ladder=np.log(np.stack([snap(column) for column in settings.T], axis=1)),
        z=np.log(rows[y].to_numpy().astype(np.float64)),
        unmeasured=cells["_unmeasured"].to_numpy().astype(np.int64),
        rows_in=frame.height,
        dropped=dropped,
        notes=_repeats(rows, keys, knobs, y),
    )
    _check_design(table)
    return table


def _screen(
    frame: pl.DataFrame, axes: Sequence[str], knobs: Sequence[str], keys: Sequence[str]
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Rows with every key and knob known and every axis and knob a positive number; and how many were not."""
    known = frame.drop_nulls([*keys, *knobs])
    positive = known.filter(
        pl.all_horizontal(*[(pl.col(name) > 0) & (pl.col(name) < math.inf) for name in [*axes, *knobs]])
    )
    dropped = {
        "a cell or knob column is null": frame.height - known.height,
        "a knob or axis is zero, negative or infinite (it has no log)": known.height - positive.height,
    }
    return positive, {reason: count for reason, count in dropped.items() if count}


def _repeats(rows: pl.DataFrame, keys: Sequence[str], knobs: Sequence[str], y: str) -> tuple[str, ...]:
    """Says so when one setting occurs several times in a cell, and which columns tell the repeats apart."""
    groups = rows.group_by([*keys, *knobs])
    repeats = groups.len("_rows").filter(pl.col("_rows") > 1)
    if repeats.height < max(1, rows.height // 20):  # a few repeated runs are seeds
        return ()
    others = [name for name in rows.columns if name not in (*keys, *knobs, y, "_cell", "_unmeasured", "_measured")]
    plain = [name for name in others if not rows[name].dtype.is_nested()]
    distinct = groups.agg(pl.len().alias("_rows"), *[pl.col(name).n_unique() for name in plain]).filter(
        pl.col("_rows") > 1
    )
    telling = [name for name in plain if distinct.filter(pl.col(name) > 1).height > distinct.height / 2]
    few = [name for name in telling if rows[name].n_unique() <= 20]
    if not few:
        return ()
    return (
        f"{repeats.height} settings occur more than once in a cell and differ in {', '.join(few)}: "
        "if those are recipes, name them as recipe columns or put them into the cell",
    )


def _check_design(table: CellTable) -> None:
    faults = [*_cell_faults(table), *_knob_faults(table)]
    if faults:
        raise InputError(faults, where="hyperlaw")


def _cell_faults(table: CellTable) -> list[str]:
    cells = len(table.cells)
    if cells == 1:
        label = ", ".join(
            f"{name} = {value:g}" for name, value in table.label(0).items() if isinstance(value, int | float)
        )
        return [
            f"one cell only ({label}): a law over {', '.join(table.axes)} needs at least {len(table.axes) + 2} cells"
        ]
    if cells < 3:
        return [f"{cells} cells only: a law needs at least 3"]
    return []


def _knob_faults(table: CellTable) -> list[str]:
    faults = []
    within = table.x - _cell_means(table)
    for k, name in enumerate(table.knobs):
        if np.ptp(table.x[:, k]) < np.log1p(SAME_LEVEL):
            value = np.exp(table.x[0, k])
            faults.append(f"{name} has a single value, {value:.4g}: there is nothing to tune")
        elif np.abs(within[:, k]).max() < np.log1p(SAME_LEVEL):
            axes = " and ".join(table.axes)
            faults.append(
                f"{name} takes one value in each cell: it was set by {axes} and not tuned within a cell, "
                f"so {name} and {axes} cannot be told apart and its law would be the rule that set it"
            )
    if faults:
        return faults
    for i in range(len(table.knobs)):
        for j in range(i):
            if abs(np.corrcoef(within[:, i], within[:, j])[0, 1]) > TOGETHER:
                faults.append(
                    f"{table.knobs[j]} and {table.knobs[i]} moved together; their exponents cannot be told apart"
                )
    return faults


def _cell_means(table: CellTable) -> Array:
    counts = np.bincount(table.cell)
    means = np.stack([np.bincount(table.cell, weights=column) / counts for column in table.x.T], axis=1)
    return means[table.cell]
