"""Histories: several rows of one run in a file, which are the run over time. Together they are one result."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import polars as pl

from sweeplaw.trials.quantities import counted
from sweeplaw.trials.record import CURVE_COLUMNS, TRIAL_COLUMNS

STEP_COLUMNS = ("Step", "_step", "trainer/global_step", "global_step", "step")
_STEP, _OF = "\0step", "\0of"  # no column of a source has these names
_CURVES = {column.name for column in CURVE_COLUMNS}
_OTHERS = {column.name for column in TRIAL_COLUMNS} - _CURVES


@dataclass(frozen=True, slots=True)
class Histories:
    """``frame`` has one row per run, at the place of the run's last row. ``points`` are the curve points: column `row`,
    the number of that row, step and metrics. ``merged`` is the number of rows that are in no row of their own."""

    frame: pl.DataFrame
    points: pl.DataFrame
    merged: int = 0
    sentence: str | None = None


def merge(
    frame: pl.DataFrame, row: str, run: Sequence[str], step: pl.Series | None, rejected: Collection[int]
) -> Histories:
    """Make one row of the rows of ``frame`` that have the same ``run`` (columns) and differ in another column.

    A value is the last one of its column, in the order of ``step``, or else of the file. Rows that are ``rejected`` or
    name no run are left as they are, and so are runs whose rows are all equal. ``row`` is the column of row numbers.
    """
    known = pl.any_horizontal(pl.col(run).is_not_null()) & ~pl.col(row).is_in(list(rejected))
    several = pl.struct(pl.exclude(row)).n_unique().over(run) > 1
    found = frame.select((known & several).alias("found"))["found"] if run else pl.Series([False])
    if not found.any():
        return Histories(frame, pl.DataFrame())
    steps = pl.lit(None, pl.Int64) if step is None else step
    rows = frame.with_columns(steps.alias(_STEP)).filter(found).sort(_STEP, row, nulls_last=False)
    rows = rows.with_columns(pl.col(row).last().over(run).alias(_OF))
    last = rows.group_by(run, maintain_order=True).agg(pl.exclude(row, *run).drop_nulls().last())
    last = last.with_columns(pl.col(_OF).alias(row))
    if step is not None and "last_step" not in frame.columns:
        last, frame = last.with_columns(last_step=_STEP), frame.with_columns(last_step=pl.lit(None, pl.Int64))
    merged = pl.concat([frame.filter(~found), last.select(frame.columns)]).sort(row)
    order = "by order, without curves (no step column; --map step=COLUMN)" if step is None else "by step"
    sentence = (
        f"{counted(rows.height, 'row')} are the histories of {counted(last.height, 'run')}, {order}: "
        "the last value of each column is the result"
    )
    points = pl.DataFrame() if step is None else _points(rows, run)
    return Histories(merged, points, rows.height - last.height, sentence)


def _points(rows: pl.DataFrame, run: Sequence[str]) -> pl.DataFrame:
    """Return the numbers that change in a run, and those that curves always have, by step."""
    varies = rows.select(pl.exclude(*run).n_unique().over(run).max() > 1).row(0, named=True)
    names = [
        column.name
        for column in rows
        if column.dtype.is_numeric()
        and column.name not in _OTHERS | {"step"}
        and not column.name.startswith("\0")
        and (column.name in _CURVES or varies[column.name])
    ]
    points = rows.select(pl.col(_OF).alias("row"), pl.col(_STEP).alias("step"), *names)
    floats = [pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in names]
    given = pl.any_horizontal(pl.col(names).is_not_null()) if names else pl.lit(False)
    points = points.with_columns(floats).filter(pl.col("step").is_not_null() & given)
    return points.unique(["row", "step"], keep="last", maintain_order=True)
