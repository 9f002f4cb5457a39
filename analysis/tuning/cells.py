"""Settings of a sweep as arrays, by cell: the input of every law for an optimum.

A cell is one combination of the axes (N and D, say) and of the recipe columns; its rows are settings of the knobs,
seeds averaged (`settings`). Designs that cannot determine a law are rejected (`design`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweeplaw.analysis.tables.levels import snap
from sweeplaw.analysis.tables.runs import LARGEST
from sweeplaw.analysis.tables.sql.expressions import check_columns
from sweeplaw.analysis.tuning.cell_settings import DIVERGED
from sweeplaw.analysis.tuning.design import check_design
from sweeplaw.analysis.tuning.repeats import SEEDS
from sweeplaw.analysis.tuning.repeats import settings as settings_of
from sweeplaw.analysis.tuning.settings import (
    Launches,
    Split,
    at_their_best,
    is_group,
    keyed,
    other_differences,
    split_columns,
)
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CellTable:
    """Measured settings, sorted by cell.

    ``axes``: numeric columns of the laws; ``recipes``: columns that split cells without being an axis; ``held``: other
    tuned knobs, each at its best value in the cell. ``cells`` (one row per cell, ascending): axes and recipes;
    ``log_axes`` (cells, axes); ``cell`` (rows,): index of a row's cell; ``x`` (rows, knobs): natural logs; ``levels``:
    the same, with values that differ only by rounding made equal; ``z`` (rows,): natural log of the mean loss over
    ``runs`` (rows,) repeats. ``zeros`` (cells, knobs): whether zero of the knob was measured there too, which has no
    log. ``bounded`` (cells, knobs, 2): whether a run diverged below the lowest, and above the highest, value measured
    there. ``rows_in``: runs given; ``dropped``: number of runs left out, by reason. ``notes``:
    sentences on the roles of columns and warnings about the design.
    """

    axes: tuple[str, ...]
    recipes: tuple[str, ...]
    held: tuple[str, ...]
    knobs: tuple[str, ...]
    y: str
    cells: pl.DataFrame
    log_axes: Array
    cell: NDArray[np.int64]
    x: Array
    levels: Array
    z: Array
    runs: NDArray[np.int64]
    zeros: NDArray[np.bool_]
    bounded: NDArray[np.bool_]
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
    def recipe(self) -> NDArray[np.int64]:
        """Number of each cell's recipe (cells,), from 0 on; 0 throughout without recipe columns."""
        if not self.recipes:
            return np.zeros(self.cells.height, dtype=np.int64)
        ranks = self.cells.select(pl.struct(self.recipes).rank("dense")).to_series()
        return np.asarray(ranks.to_numpy(), dtype=np.int64) - 1

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
    frame: pl.DataFrame,
    axes: Sequence[str],
    knobs: Sequence[str],
    y: str,
    recipes: Sequence[str] = (),
    launches: Launches = (),
    held: Sequence[str] = (),
) -> CellTable:
    """Return the settings of ``frame`` by cell. Raise InputError if the design cannot determine a law.

    ``axes`` of text or booleans are recipes. ``launches`` are the facts that a store recorded on its sweeps: which
    columns are knobs, and which split runs into recipes; without them both are inferred. ``held`` are further knobs
    outside the law.
    """
    groups = [name for name in axes if name in frame.columns and is_group(frame[name])]
    check_columns(frame, [*axes, *recipes, *knobs, y], numbers=[*(n for n in axes if n not in groups), *knobs, y])
    if not set(axes) - set(groups):
        why = f": {', '.join(groups)} holds groups" if groups else ""
        raise InputError(f"name the numeric axes of the cells (N,D, say){why}")
    if not knobs:
        raise InputError("name at least one knob that was tuned in the cells (lr, say)")
    split = split_columns(frame, axes, knobs, y, recipes, launches, held)
    keys = [*split.axes, *split.recipes]
    measured, dropped = _measured(keyed(frame, split.recipes), split.axes, knobs, keys, y)
    settings = settings_of(measured, [*keys, *split.held], knobs, y, rounded=True)
    rows = at_their_best(settings, keys, split.held, y)
    behind = int(settings[SEEDS].to_numpy().sum() - rows[SEEDS].to_numpy().sum())
    dropped[f"not at the best {' and '.join(split.held)} of the cell"] = behind
    rows, dropped["alone in its cell: one setting does not say which is best"] = _compared(rows, keys)
    differing = other_differences(measured, [*keys, *split.held], knobs, y)
    notes = (*split.notes, *_averages(rows, split.held), *differing)
    table = _table(rows, split, knobs, y, (frame.height, dropped, notes))
    every = keyed(frame, split.recipes)
    table = replace(table, zeros=_zeros(every, table.cells, knobs, y), bounded=_bounded(every, table))
    check_design(table, _levels(settings, keys, [*knobs, *split.held]))
    return table


def _compared(rows: pl.DataFrame, keys: Sequence[str]) -> tuple[pl.DataFrame, int]:
    """Return the settings of cells that have several, and the number of other runs; all settings if no cell has two."""
    several = pl.len().over(keys) > 1
    kept = rows.filter(several)
    return (rows, 0) if kept.is_empty() else (kept, int(rows[SEEDS].sum()) - int(kept[SEEDS].sum()))


def _table(
    rows: pl.DataFrame, split: Split, knobs: Sequence[str], y: str, rest: tuple[int, Mapping[str, int], tuple[str, ...]]
) -> CellTable:
    """Return the settings ``rows`` sorted by cell, as arrays; ``rest``: the runs given, those left out, and notes."""
    keys = [*split.axes, *split.recipes]
    cells = rows.select(keys).unique().sort(keys).with_row_index("_cell")
    rows = rows.join(cells, on=keys, how="inner", nulls_equal=True, maintain_order="left")
    rows = rows.sort("_cell", maintain_order=True)
    values = rows.select(knobs).to_numpy().astype(np.float64)
    rows_in, dropped, notes = rest
    return CellTable(
        axes=split.axes,
        recipes=split.recipes,
        held=split.held,
        knobs=tuple(knobs),
        y=y,
        cells=cells.select(keys),
        log_axes=np.log(cells.select(split.axes).to_numpy().astype(np.float64)),
        cell=rows["_cell"].to_numpy().astype(np.int64),
        x=np.log(values),
        levels=np.log(np.stack([snap(column) for column in values.T], axis=1)),
        z=np.log(rows[y].to_numpy().astype(np.float64)),
        runs=rows[SEEDS].to_numpy().astype(np.int64),
        zeros=np.zeros((cells.height, len(knobs)), dtype=bool),
        bounded=np.zeros((cells.height, len(knobs), 2), dtype=bool),
        rows_in=rows_in,
        dropped={reason: count for reason, count in dropped.items() if count},
        notes=notes,
    )


def _zeros(frame: pl.DataFrame, cells: pl.DataFrame, knobs: Sequence[str], y: str) -> NDArray[np.bool_]:
    """Return in which cells a knob has a finite loss at zero (cells, knobs)."""
    measured = frame.filter(pl.col(y).cast(pl.Float64).is_finite() & (pl.col(y) > 0))
    at_zero = measured.group_by(cells.columns).agg((pl.col(knobs) == 0).any())
    found = cells.join(at_zero, on=cells.columns, how="left", nulls_equal=True, maintain_order="left")
    return np.asarray(found.select(pl.col(knobs).fill_null(False)).to_numpy(), dtype=bool)


def _bounded(frame: pl.DataFrame, table: CellTable) -> NDArray[np.bool_]:
    """Return at which ends of the values of a knob measured in a cell runs diverged (cells, knobs, 2)."""
    if "state" not in frame.columns:
        return table.bounded
    ends = [pl.col(name).cast(pl.Float64).min().alias(f"{name}:low") for name in table.knobs]
    ends += [pl.col(name).cast(pl.Float64).max().alias(f"{name}:high") for name in table.knobs]
    lost = frame.filter(pl.col("state") == DIVERGED).group_by(table.cells.columns).agg(ends)
    tried = table.frame().group_by(table.cells.columns).agg(ends)
    found = table.cells.join(tried, on=table.cells.columns, how="left", nulls_equal=True, maintain_order="left")
    found = found.join(
        lost, on=table.cells.columns, how="left", nulls_equal=True, maintain_order="left", suffix=":lost"
    )
    below = found.select(pl.col(f"{name}:low:lost") < pl.col(f"{name}:low") for name in table.knobs)
    above = found.select(pl.col(f"{name}:high:lost") > pl.col(f"{name}:high") for name in table.knobs)
    return np.stack([side.fill_null(False).to_numpy().astype(bool) for side in (below, above)], axis=2)


def _averages(rows: pl.DataFrame, held: Sequence[str]) -> tuple[str, ...]:
    """Return sentences on the knobs held at their best, and on the repeats that were averaged."""
    notes = []
    if held:
        names, verb = " and ".join(held), "varies too and is" if len(held) == 1 else "vary too and are"
        notes.append(f"{names} {verb} held at the best value of each cell (--knob or --cell makes it part of the law)")
    if (runs := int(rows[SEEDS].sum())) > rows.height:
        notes.append(f"{runs} runs are {rows.height} settings: the losses of repeats (seeds) are averaged")
    return tuple(notes)


def _levels(settings: pl.DataFrame, keys: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """Return the largest number of values of each column in a cell, other knobs at any value."""
    return settings.group_by(keys).agg(pl.col(names).n_unique()).select(pl.col(names).max()).row(0, named=True)


def _measured(
    frame: pl.DataFrame, axes: Sequence[str], knobs: Sequence[str], keys: Sequence[str], y: str
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return the rows with all keys known, positive axes and knobs and a finite loss, and the others' number by reason.

    Raise InputError if no cell is left.
    """
    kept, dropped = frame, dict[str, int]()
    for name in dict.fromkeys([*keys, *knobs]):
        known = kept.drop_nulls(name)
        dropped[f"{name} is null"] = kept.height - known.height
        kept = known
    for name in [*axes, *knobs]:
        positive = kept.filter((pl.col(name) > 0) & (pl.col(name) < math.inf))
        dropped[f"{name} is zero, negative or infinite (it has no log)"] = kept.height - positive.height
        kept = positive
    measured = kept.filter(pl.col(y).cast(pl.Float64).is_finite().fill_null(False) & (pl.col(y) > 0).fill_null(False))
    if measured.is_empty():
        reasons = {**dropped, f"{y} is not positive, or above {LARGEST:g}": kept.height}
        seen = "; ".join(f"{counted(count, 'row')}: {reason}" for reason, count in reasons.items() if count)
        wanted = f"a positive {y} up to {LARGEST:g} and all of {', '.join([*keys, *knobs])}"
        raise InputError(f"no row has {wanted} ({seen or 'no rows'})")
    return measured, {**dropped, "no finite loss (diverged, failed or out of range)": kept.height - measured.height}
