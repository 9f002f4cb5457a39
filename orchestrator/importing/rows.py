"""Conversion of mapped columns to rows of the trials table, with reasons for each rejected row.

A row's identity is its content: the run it names or, if it names none, all its values. So importing a file twice adds
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from sweeplaw.orchestrator.importing.mapping import STATES, ColumnMapping, expression, resolve
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import FACTORS
from sweeplaw.trials.record import TRIAL_COLUMNS
from sweeplaw.trials.spec import TrialSpec

WORKLOAD = "imported"
_CHUNK = 10_000  # rows converted to objects at a time
_NUMBER = r"^\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([kKMBGT]?)\s*$"
_FORMULA = re.compile(r"[-+*/%<=>]")
_TYPES = {column.name: column.type for column in TRIAL_COLUMNS}
_COUNTS = tuple(c.name for c in TRIAL_COLUMNS if c.unit in ("parameters", "tokens", "steps", "sequences", "FLOPs", "s"))


@dataclass(frozen=True, slots=True)
class Mapped:
    """``frame`` has our columns and `row` (1 is the first of the file). ``reasons`` maps a row to why it is rejected,
    ``used`` our columns to their source; ``left_out`` is the number of rows excluded by the mapping's condition."""

    frame: pl.DataFrame
    reasons: Mapping[int, list[str]]
    used: Mapping[str, str]
    left_out: int


def map_rows(theirs: pl.DataFrame, mapping: ColumnMapping) -> Mapped:
    """Return the source rows under our names and types. Raise InputError for missing columns."""
    used = resolve(mapping, theirs.columns)
    reasons: dict[int, list[str]] = {}
    height, numeric = theirs.height, frozenset(column.name for column in theirs if _mostly_numbers(column))
    number = pl.int_range(1, height + 1, dtype=pl.Int64, eager=True).alias("row")
    if mapping.where:
        holds = _evaluated("where", mapping.where, theirs, numeric, number, reasons)
        if holds.dtype != pl.Boolean:
            raise InputError(f"where: {mapping.where!r} is not a condition; its type is {holds.dtype}")
        included = holds.fill_null(False) | number.is_in(list(reasons))
        theirs, number = theirs.filter(included), number.filter(included)
    columns = [
        _typed(_evaluated(name, text, theirs, numeric, number, reasons), number, reasons) for name, text in used.items()
    ]
    run = [theirs[name].cast(pl.String).alias(f"__run{index}") for index, name in enumerate(mapping.run)]
    frame = pl.DataFrame([number, *columns, *run])
    _check(frame, reasons)
    return Mapped(frame, reasons, used, height - frame.height)


def rows(
    mapped: Mapped, mapping: ColumnMapping, source: str, numbers: pl.Series | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row number, row of the trials table) for every row that is not rejected, or for those of ``numbers``.

    Rows are converted to objects in chunks.
    """
    run = [name for name in mapped.frame.columns if name.startswith("__run")]
    every = mapped.frame["row"]  # ascending
    wanted = every if numbers is None else numbers
    for start in range(0, wanted.len(), _CHUNK):
        chunk = mapped.frame[every.search_sorted(wanted[start : start + _CHUNK])]
        for values in _plain(chunk).iter_rows(named=True):
            number = values.pop("row")
            if number not in mapped.reasons:
                identity = [values.pop(name) for name in run]
                yield number, _row(values, identity if run else None, source)


def _row(values: dict[str, Any], run: list[Any] | None, source: str) -> dict[str, Any]:
    known = {name: value for name, value in values.items() if value is not None}
    state = STATES[str(known.pop("state", "completed")).lower()]
    content = known | {"state": state} if run is None else {"source": source, "run": "/".join(map(str, run))}
    spec = TrialSpec(WORKLOAD, content)
    unique, tokens = known.get("unique_tokens"), known.get("tokens")
    if unique and tokens and "epochs" not in known:
        known["epochs"] = tokens / unique
    fixed = {"trial_id": spec.trial_id, "workload": WORKLOAD, "sweep": source, "state": state, "attempt": 1}
    return known | fixed | {"source": source, "spec": spec.canonical()}


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Return ``frame`` with times and dates as ISO 8601 text and null for non-finite numbers."""
    return frame.with_columns(
        pl.Series(column.name, [None if value is None else value.isoformat() for value in column], pl.String)
        if column.dtype in (pl.Datetime, pl.Date)
        else column.set(~column.is_finite(), None)
        for column in frame
        if column.dtype in (pl.Datetime, pl.Date) or column.dtype.is_float()
    )


def _evaluated(
    name: str,
    text: str,
    theirs: pl.DataFrame,
    numeric: Collection[str],
    rows: pl.Series,
    reasons: dict[int, list[str]],
) -> pl.Series:
    """Evaluate the column or expression ``text``. In a formula the ``numeric`` columns, text that is mostly numbers,
    are converted to numbers, and rows with other values in them are rejected. Raise InputError if the types of the
    columns do not permit the formula.
    """
    wanted = expression(text, theirs.schema).alias(name)
    roots = wanted.meta.root_names() if text not in theirs.columns and _FORMULA.search(text) else ()
    numbers = {root: _numbers(theirs[root]) for root in roots if root in numeric}
    try:
        try:
            values = theirs.with_columns(numbers.values()).with_columns(wanted)[name]
        except pl.exceptions.PolarsError:  # for example a comparison as text
            return theirs.with_columns(wanted)[name]
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{name}: {text!r}: {error}") from None
    for root, found in numbers.items():
        _reject(theirs[root], rows, theirs[root].is_not_null() & found.is_null(), "is not a number", reasons)
    return values


def _mostly_numbers(series: pl.Series) -> bool:
    """Return whether this is a column of text of which most values are numbers."""
    if series.dtype != pl.String:
        return False
    return 2 * _numbers(series).count() > series.count()


def _typed(series: pl.Series, rows: pl.Series, reasons: dict[int, list[str]]) -> pl.Series:
    """Convert ``series`` to the type of our column of its name. Text such as 150M is accepted as a number."""
    kind = _TYPES.get(series.name)
    if kind in ("int", "float"):
        numbers = _numbers(series)
        _reject(series, rows, series.is_not_null() & numbers.is_null(), "is not a number", reasons)
        if kind == "float":
            return numbers
        _reject(series, rows, numbers.is_not_null() & ~numbers.is_finite(), "is not finite", reasons)
        _reject(series, rows, (numbers > 0) & (numbers < 0.5), "is less than one (is a unit missing?)", reasons)
        _reject(series, rows, numbers < 0, "is negative", reasons)
        return numbers.round().cast(pl.Int64, strict=False)
    if kind == "time":
        times = _times(series)
        _reject(series, rows, series.is_not_null() & times.is_null(), "is not a time", reasons)
        return times
    if series.dtype.is_decimal():  # 0.1 in an expression
        return series.cast(pl.Float64)
    if kind == "str" or isinstance(series.dtype, pl.List | pl.Struct | pl.Array | pl.Object):
        return series.cast(pl.String) if not series.dtype.is_nested() else _json(series)
    return series


def _numbers(series: pl.Series) -> pl.Series:
    if series.dtype != pl.String:
        return series.cast(pl.Float64, strict=False)
    plain = series.cast(pl.Float64, strict=False)
    parts = series.str.extract_groups(_NUMBER)
    factor = parts.struct.field("2").replace_strict({"": 1.0, **FACTORS}, default=None, return_dtype=pl.Float64)
    return plain.fill_null(parts.struct.field("1").cast(pl.Float64, strict=False) * factor)


def _times(series: pl.Series) -> pl.Series:
    """Convert ISO 8601 text, epoch seconds or milliseconds, or times; times without a zone are UTC."""
    if series.dtype == pl.String:
        parsed = series.str.replace("Z$", "+00:00").str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
        if parsed.null_count() > series.null_count():
            bare = series.str.to_datetime(time_unit="us", strict=False).dt.replace_time_zone("UTC")
            parsed = parsed.fill_null(bare)
        return parsed
    if series.dtype.is_numeric():
        seconds = series.cast(pl.Float64)
        scale = pl.Series([1e6 if value is not None and value < 1e11 else 1e3 for value in seconds], dtype=pl.Float64)
        return (seconds * scale).cast(pl.Int64, strict=False).cast(pl.Datetime("us", "UTC"))
    if isinstance(series.dtype, pl.Datetime) and series.dtype.time_zone is None:
        return series.dt.replace_time_zone("UTC").cast(pl.Datetime("us", "UTC"))
    return series.cast(pl.Datetime("us", "UTC"), strict=False)


def _json(series: pl.Series) -> pl.Series:
    import json

    return pl.Series(
        series.name, [None if v is None else json.dumps(v, default=str) for v in series.to_list()], pl.String
    )


def _check(frame: pl.DataFrame, reasons: dict[int, list[str]]) -> None:
    rows = frame["row"]
    finished = pl.Series([True]).new_from_index(0, frame.height) if frame.height else pl.Series([], dtype=pl.Boolean)
    if "state" in frame.columns:
        states = frame["state"].str.to_lowercase()
        known = states.is_in(list(STATES)) | states.is_null()
        _reject(frame["state"], rows, ~known, f"is not a state (accepted: {', '.join(STATES)})", reasons)
        waiting = states.is_in([name for name, state in STATES.items() if state is None])
        _reject(frame["state"], rows, waiting, "is not a result yet", reasons)
        finished = states.is_null() | states.is_in([name for name, state in STATES.items() if state == "completed"])
    if "val_loss" in frame.columns:
        loss = frame["val_loss"]
        _reject(loss, rows, finished & loss.is_null(), "is missing", reasons)
        _reject(loss, rows, finished & loss.is_not_null() & ~loss.is_finite().fill_null(True), "is not finite", reasons)
    for name in {name for name in _COUNTS if name in frame.columns and frame[name].dtype == pl.Float64}:
        _reject(frame[name], rows, (frame[name] < 0).fill_null(False), "is negative", reasons)
        _reject(frame[name], rows, frame[name].is_infinite().fill_null(False), "is not finite", reasons)


def _reject(series: pl.Series, rows: pl.Series, bad: pl.Series, fault: str, reasons: dict[int, list[str]]) -> None:
    bad = bad.fill_null(False)
    for row, value in zip(rows.filter(bad), series.filter(bad), strict=True):
        shown = "" if value is None else f" = {value!r}"
        reason = f"{series.name}{shown} {fault}"
        if reason not in reasons.setdefault(row, []):  # two formulas may read one column
            reasons[row].append(reason)
