"""Rows of a sweep as arrays, by cell: the input of every law for an optimum.

A cell is one combination of the axes (N and D, say) and of the recipe columns; its rows are settings of the knobs.
Designs that cannot determine a law are rejected here: a single cell, a knob that never varied, a knob set by a rule,
two knobs that moved together.
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

from sweeplaw.analysis.tables.levels import SAME_LEVEL, snap
from sweeplaw.analysis.tables.sql.expressions import check_columns
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import RESERVED_COLUMNS

Array = NDArray[np.float64]

TOGETHER = 0.999  # correlation of logs above which two columns count as one
LEAST_SPAN = 1.05  # an axis whose largest value is within 5 % of its smallest has no exponent
_FACTS_OF_A_RUN = RESERVED_COLUMNS - {"workload", "source"}  # filled by the run itself, so none is a recipe


@dataclass(frozen=True)
class CellTable:
    """Measured rows, sorted by cell.

    ``axes``: numeric columns of the laws; ``recipes``: columns that split cells without being an axis. ``cells`` (one
    row per cell, ascending): axes and recipes; ``log_axes`` (cells, axes); ``cell`` (rows,): index of a row's cell;
    ``x`` (rows, knobs): natural logs; ``levels``: the same, with values that differ only by rounding made equal;
    ``z`` (rows,): natural log of the loss; ``unmeasured`` (cells,): number of rows without a finite loss. ``dropped``:
    number of rows left out, by reason. ``notes``: warnings about the design.
    """

    axes: tuple[str, ...]
    recipes: tuple[str, ...]
    knobs: tuple[str, ...]
    y: str
    cells: pl.DataFrame
    log_axes: Array
    cell: NDArray[np.int64]
    x: Array
    levels: Array
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
        """Return the rows of one cell."""
        first, last = np.searchsorted(self.cell, [cell, cell + 1])
        return slice(int(first), int(last))

    def frame(self) -> pl.DataFrame:
        """Return the rows as a frame of the cell columns, the knobs and the loss."""
        columns = [pl.Series(name, np.exp(self.x[:, k])) for k, name in enumerate(self.knobs)]
        cells: pl.DataFrame = self.cells[self.cell.tolist()]
        return cells.with_columns([*columns, pl.Series(self.y, np.exp(self.z))])

    def label(self, cell: int) -> dict[str, Any]:
        """Return the axis and recipe values of one cell."""
        return self.cells.row(cell, named=True)


def cell_table(
    frame: pl.DataFrame, axes: Sequence[str], knobs: Sequence[str], y: str, recipes: Sequence[str] = ()
) -> CellTable:
    """Return the measured rows of ``frame`` by cell. Raise InputError if the design cannot determine a law."""
    names = [*axes, *recipes, *knobs, y]
    check_columns(frame, names, numbers=[*axes, *knobs, y])
    if not axes:
        raise InputError("name the axes of the cells (N,D, say)")
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
        raise InputError(f"no row has a finite {y} and all of {', '.join([*keys, *knobs])}")
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
        levels=np.log(np.stack([snap(column) for column in settings.T], axis=1)),
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
    """Return the rows with all keys and knobs known and positive axes and knobs, and the number of others by reason."""
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
    """Return a note if settings occur several times in a cell, with the columns that differ and may be a recipe."""
    groups = rows.group_by([*keys, *knobs])
    repeats = groups.len("_rows").filter(pl.col("_rows") > 1)
    if repeats.height < max(1, rows.height // 20):  # a few repeated runs are seeds
        return ()
    known = {*keys, *knobs, y, "seed", "_cell", "_unmeasured", "_measured", *_FACTS_OF_A_RUN}
    others = [name for name in rows.columns if name not in known]
    plain = [name for name in others if not rows[name].dtype.is_nested()]
    distinct = groups.agg(pl.len().alias("_rows"), *[pl.col(name).n_unique() for name in plain]).filter(
        pl.col("_rows") > 1
    )
    differing = [name for name in plain if distinct.filter(pl.col(name) > 1).height > distinct.height / 2]
    few = [name for name in differing if rows[name].n_unique() <= min(20, rows.height // 2)]
    if not few:
        return ()
    return (
        f"{repeats.height} settings occur more than once in a cell and differ in {', '.join(few)}: "
        "if those are recipes, name them as recipe columns or put them into the cell",
    )


def _check_design(table: CellTable) -> None:
    faults = [*_cell_faults(table), *_knob_faults(table)]
    if faults:
        raise InputError(faults)


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
                f"so {name} and {axes} cannot be distinguished and its law would be the rule that set it"
            )
    if faults:
        return faults
    for i in range(len(table.knobs)):
        for j in range(i):
            if abs(np.corrcoef(within[:, i], within[:, j])[0, 1]) > TOGETHER:
                faults.append(
                    f"{table.knobs[j]} and {table.knobs[i]} moved together; their exponents cannot be distinguished"
                )
    return faults


def _cell_means(table: CellTable) -> Array:
    counts = np.bincount(table.cell)
    means = np.stack([np.bincount(table.cell, weights=column) / counts for column in table.x.T], axis=1)
    return means[table.cell]
