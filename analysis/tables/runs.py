"""Runs as analyses of knobs need them: N, D and C as columns, derived columns, the losses of completed runs only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from sweeplaw.analysis.tables.arguments import name_faults
from sweeplaw.analysis.tables.roles.budgets import TOKENS, with_planned_tokens
from sweeplaw.analysis.tables.sources import rows
from sweeplaw.analysis.tables.sql.expressions import ALIASES, parse, resolve_columns, unknown_columns
from sweeplaw.trials.errors import InputError, shown
from sweeplaw.trials.quantities import counted

TIMESCALE = "tau"  # AdamW timescale in passes over the data, B/(lr wd D) (Wang and Aitchison, arXiv 2405.13698)
TIMESCALE_PARTS = ("batch_tokens", "lr", "weight_decay", "tokens")
LARGEST = 1e50  # of a number in a fit, and 1 / LARGEST the smallest: fourth powers and products then stay finite


def read_runs(
    source: Any, columns: Mapping[str, Sequence[str]], y: str
) -> tuple[pl.DataFrame, tuple[str, ...], tuple[Mapping[str, Any], ...]]:
    """Return the runs of any source prepared, notes on rows left out and damage, and what launches recorded.

    ``columns`` are the names needed, by the argument that gives them. Raise InputError.
    """
    faults = name_faults(columns)
    if not isinstance(y, str):
        faults.append(f"y = {shown(y)} (accepted: the column of the loss)")
    if faults:
        raise InputError(faults)
    found = rows(source, states=None)
    if found.frame.is_empty():
        return found.frame, found.notes, found.launches
    names = [name for given in columns.values() for name in given]
    frame, notes = prepare(found.frame, names, y)
    return frame, (*found.notes, *notes), found.launches


def frame_of(source: Any, columns: Mapping[str, Sequence[str]], y: str) -> pl.DataFrame:
    """Return a Polars frame as it is, and the runs of any other source as `read_runs` does. Raise InputError."""
    if isinstance(source, pl.DataFrame):
        return source
    return read_runs(source, columns, y)[0]


def prepare(
    frame: pl.DataFrame, names: Sequence[str], y: str, derived: Mapping[str, str] | None = None
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return ``frame`` with ``names`` and ``y`` as columns, and notes on losses that are null from here on.

    N, D and C are taken from a store's columns if the table has none of that name, D as `roles.budgets.planned_tokens`;
    ``derived`` are SQL expressions of columns by name; ``tau`` is computed if it is among ``names``. The loss of a row
    whose `state` is not completed is null, as is one that `computable` leaves out. Raise InputError naming every column
    that is missing.
    """
    if {"D", TOKENS} & set(names):  # runs that differ by their last partial batch are of one cell
        frame = with_planned_tokens(frame)[0]
    for name, expression in (derived or {}).items():
        frame = frame.with_columns(parse(expression, frame.schema).alias(name))
    aliases = {
        name: ALIASES[name] for name in names if name not in frame.columns and ALIASES.get(name) in frame.columns
    }
    frame = frame.with_columns(**{name: pl.col(column) for name, column in aliases.items()})
    if TIMESCALE in names and TIMESCALE not in frame.columns:
        resolve_columns(TIMESCALE_PARTS, frame.columns)
        batch, lr, decay, tokens = (pl.col(name).cast(pl.Float64) for name in TIMESCALE_PARTS)
        frame = frame.with_columns((batch / (lr * decay * tokens)).alias(TIMESCALE))
    if faults := unknown_columns([*names, y], frame.columns):
        hint = "; --y names the column of the loss" if y == "val_loss" and y not in frame.columns else ""
        raise InputError([*faults[:-1], faults[-1] + hint])
    if "state" in frame.columns:
        frame = frame.with_columns(pl.when(pl.col("state").fill_null("completed") == "completed").then(pl.col(y)))
    if frame.is_empty():
        raise InputError("no completed run: the table has no rows left")
    return computable(frame, y), range_notes(frame, y)


def computable(frame: pl.DataFrame, y: str) -> pl.DataFrame:
    """Return the frame with null for the losses ``y`` that are too large or too small to calculate with."""
    if not frame.schema[y].is_float():
        return frame
    return frame.with_columns(pl.when(~_beyond(y)).then(pl.col(y)).alias(y))


def range_notes(frame: pl.DataFrame, y: str) -> tuple[str, ...]:
    """Return a note with the number of losses ``y`` that `computable` leaves out, none if it leaves all."""
    count = int(frame.select(_beyond(y).sum()).item()) if frame.schema[y].is_float() else 0
    size = f"too large or too small to calculate with (accepted: {1 / LARGEST:g} to {LARGEST:g} in size)"
    return (f"{counted(count, 'value')} of {y} left out: {size}",) if count else ()


def _beyond(y: str) -> pl.Expr:
    """Return whether a loss is too large or too small to calculate with; null of one that is null."""
    size = pl.col(y).abs()
    return ~(size.is_between(1 / LARGEST, LARGEST) | (size == 0) | size.is_infinite() | size.is_nan())
