"""Values of a source column as numbers, times or simple types; what cannot be read as one is null."""

from __future__ import annotations

import contextlib
import datetime as dt

import polars as pl

from sweeplaw.orchestrator.importing.plain import simple
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import FACTORS

_NUMBER = r"^\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([kKMBGT]?)\s*$"
_FIRST, _LAST = -62_135_596_800e6, 253_402_300_799e6  # microseconds: the years 1 to 9999
_FAILURES = (pl.exceptions.PolarsError, pl.exceptions.PanicException)


def mostly_numbers(series: pl.Series) -> bool:
    """Return whether this is a column of text of which most values are numbers."""
    if series.dtype != pl.String:
        return False
    return 2 * numbers_of(series).count() > series.count()


def simple_of(series: pl.Series) -> pl.Series:
    """Return the values of a formula in a simple type: 0.1 in it is a decimal, a difference of times a duration."""
    try:
        return simple(series)
    except (*_FAILURES, ValueError, OverflowError) as error:
        raise InputError(f"{series.name}: {series.dtype} is not read: {str(error).splitlines()[0]}") from None


def numbers_of(series: pl.Series) -> pl.Series:
    """Return numbers, and text such as 150M, as floats; null for anything else, such as true or a time."""
    if series.dtype.is_numeric() or series.dtype == pl.Null:
        return series.cast(pl.Float64, strict=False)
    if series.dtype != pl.String:
        return pl.Series(series.name, [None], pl.Float64).new_from_index(0, series.len())
    plain = series.cast(pl.Float64, strict=False)
    parts = series.str.extract_groups(_NUMBER)
    factor = parts.struct.field("2").replace_strict({"": 1.0, **FACTORS}, default=None, return_dtype=pl.Float64)
    return plain.fill_null(parts.struct.field("1").cast(pl.Float64, strict=False) * factor)


def times_of(series: pl.Series) -> pl.Series:
    """Convert ISO 8601 text, epoch seconds or milliseconds, or times; times without a zone are UTC."""
    if series.dtype == pl.String:
        parsed = pl.Series(series.name, [_time(text) for text in series], pl.Datetime("us", "UTC"))
        if parsed.null_count() > series.null_count():
            with contextlib.suppress(pl.exceptions.PolarsError):  # none of the formats that Polars guesses
                other = series.str.to_datetime(time_unit="us", strict=False)
                parsed = parsed.fill_null(other.dt.replace_time_zone("UTC"))
        return parsed
    if series.dtype.is_numeric():
        seconds = series.cast(pl.Float64)
        scale = pl.Series([1e6 if value is not None and value < 1e11 else 1e3 for value in seconds], dtype=pl.Float64)
        microseconds = seconds * scale
        representable = microseconds.is_between(_FIRST, _LAST)
        return microseconds.set(~representable, None).cast(pl.Int64).cast(pl.Datetime("us", "UTC"))
    if isinstance(series.dtype, pl.Datetime) and series.dtype.time_zone is None:
        return series.dt.replace_time_zone("UTC").cast(pl.Datetime("us", "UTC"))
    if series.dtype in (pl.Datetime, pl.Date):
        return series.cast(pl.Datetime("us", "UTC"), strict=False)
    return pl.Series(series.name, [None] * series.len(), pl.Datetime("us", "UTC"))


def _time(text: str | None) -> dt.datetime | None:
    """Return ISO 8601 text as a time, in UTC if it names no zone; None for anything else."""
    try:
        moment = dt.datetime.fromisoformat(text.strip()) if text else None
        return moment and (moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC))
    except (ValueError, OverflowError):
        return None
