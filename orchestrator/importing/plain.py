"""Columns of any type as columns of numbers, text, booleans or times. What has no such form becomes text."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import polars as pl

from sweeplaw.trials.errors import InputError

_EPOCH, _SECOND = dt.datetime(1970, 1, 1), dt.timedelta(seconds=1)
_FIRST, _LAST = ((moment - _EPOCH) // _SECOND for moment in (dt.datetime.min, dt.datetime.max))
_PER_SECOND = {"ns": 10**9, "us": 10**6, "ms": 10**3}


def plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Return ``frame`` with nested records as dotted columns and every column in a simple type.

    Raise InputError that names the column.
    """
    columns: dict[str, pl.Series] = {}
    for column in _flat(frame):
        try:
            columns[column.name] = simple(column)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, OverflowError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"column {column.name!r} ({column.dtype}) cannot be read: {reason}") from None
    return pl.DataFrame(columns)


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    try:
        while nested := [name for name, kind in frame.schema.items() if isinstance(kind, pl.Struct)]:
            frame = frame.with_columns(pl.col(name).name.prefix_fields(f"{name}.") for name in nested).unnest(*nested)
    except pl.exceptions.DuplicateError as error:
        raise InputError(f"nested records cannot become columns: {str(error).splitlines()[0]}") from None
    return frame


def simple(column: pl.Series) -> pl.Series:
    """Return ``column``, which holds no records, in a simple type. Raise PolarsError, PanicException, ValueError."""
    kind = column.dtype
    if kind in (pl.Boolean, pl.String, pl.Null):
        return column
    if kind.is_integer():
        whole = column.cast(pl.Int64, strict=False)
        return whole if whole.null_count() == column.null_count() else column.cast(pl.Float64)
    if kind.is_float() or kind.is_decimal():
        return column.cast(pl.Float64)
    if kind in (pl.Date, pl.Datetime):
        return _time(column)
    if kind == pl.Duration:
        return column.cast(pl.Duration("us")).cast(pl.Int64) / 1e6  # seconds
    if kind in (pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    return pl.Series(column.name, [None if value is None else _text(value) for value in column.to_list()], pl.String)


def _time(column: pl.Series) -> pl.Series:
    """Return the times, or, if Python has no form for one of them, all of them as text."""
    if column.dtype == pl.Date:
        seconds = column.cast(pl.Int32).cast(pl.Int64) * 86_400
    else:
        seconds = column.cast(pl.Int64) // _PER_SECOND[column.dtype.time_unit]  # type: ignore[attr-defined]
    edge = 86_400 if getattr(column.dtype, "time_zone", None) else 0  # no zone is further from UTC
    representable = seconds.is_between(_FIRST + edge, _LAST - edge) | seconds.is_null()
    if representable.all():
        return column
    known = column.set(~representable, None).to_list()
    odd = zip(known, seconds.to_list(), strict=True)
    texts = [value.isoformat() if value else None if at is None else f"{at:g} s since 1970" for value, at in odd]
    return pl.Series(column.name, texts, pl.String)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode() if _is_text(value) else f"0x{value.hex()}"
    if isinstance(value, dt.time):
        return value.isoformat()
    return json.dumps(value, default=lambda item: _text(item) if isinstance(item, bytes) else str(item))


def _is_text(value: bytes) -> bool:
    try:
        return value.decode().isprintable()
    except UnicodeDecodeError:
        return False
