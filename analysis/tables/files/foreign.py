"""The columns of a foreign file in types that every command takes, whatever the file's own types are."""

from __future__ import annotations

import datetime as dt

import polars as pl
from polars import selectors

from sweeplaw.analysis.tables.sql.expressions import first_line
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import TRIAL_COLUMNS

_TEXTS = frozenset(column.name for column in TRIAL_COLUMNS if column.type == "str")
_FIRST, _LAST = dt.date(1, 1, 1), dt.date(9999, 12, 31)  # of Python and ISO 8601
_EPOCH = dt.date(1970, 1, 1).toordinal()
_TICKS = {"ms": 10**3, "us": 10**6, "ns": 10**9}  # a second


def plain(frame: pl.LazyFrame, source: str) -> pl.LazyFrame:
    """Return ``frame`` with decimals and durations (seconds) as floats, categories and times of day as text.

    Columns that are text in our own tables are text, and columns without a value floats. Raise InputError for a column
    named like a text column of ours that holds lists, structs or bytes, and for dates outside the years 1 to 9999.
    """
    schema = frame.collect_schema()
    faults = [
        f"column {name!r} holds {kind}; expected text"
        for name, kind in schema.items()
        if name in _TEXTS and (kind.is_nested() or kind == pl.Binary)
    ]
    faults += _beyond_dates(frame, schema)
    if faults:
        raise InputError(faults, where=source)
    changed = [one for name, kind in schema.items() if (one := _converted(name, kind)) is not None]
    return frame.with_columns(changed) if changed else frame


def _converted(name: str, kind: pl.DataType) -> pl.Expr | None:
    """Return a column in the type that commands take, or None if no conversion is needed."""
    column = pl.col(name)
    if isinstance(kind, pl.Duration):
        return column.dt.total_microseconds() / 1e6
    if kind == pl.Null or kind.is_decimal():
        return column.cast(pl.String if name in _TEXTS else pl.Float64)
    texts = name in _TEXTS and kind != pl.String
    return column.cast(pl.String) if texts or kind in (pl.Categorical, pl.Enum, pl.Time) else None


def _beyond_dates(frame: pl.LazyFrame, schema: pl.Schema) -> list[str]:
    """Return a fault for each column of dates or times that no calendar has; others than these are not read."""
    kinds = {name: kind for name, kind in schema.items() if kind == pl.Date or isinstance(kind, pl.Datetime)}
    if not kinds:
        return []
    numbers = frame.select(selectors.by_name(*kinds).to_physical())
    try:
        odd = numbers.select([_beyond(name, kind) for name, kind in kinds.items()]).collect().row(0, named=True)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"the dates cannot be read: {first_line(error)}") from None
    return [f"column {name!r}: {rows} rows hold no date of the years 1 to 9999" for name, rows in odd.items() if rows]


def _beyond(name: str, kind: pl.DataType) -> pl.Expr:
    day = 86400 * _TICKS[kind.time_unit] if isinstance(kind, pl.Datetime) else 1
    least, most = ((date.toordinal() - _EPOCH) * day for date in (_FIRST, _LAST))
    # A day in from both ends, for time zones; nanoseconds reach neither.
    low, high = max(least + day, -(2**63)), min(most, 2**63 - 1)
    return (~pl.col(name).is_between(low, high)).sum()
