"""Conversion of rows to typed Arrow columns.

Declared columns have the type of their declaration. A knob or a metric has the type of its values; if these differ
(integers in one sweep and fractions in another) it has the wider type. No value is ever rounded: fractions and integers
beyond 2^53, which floats cannot hold, make a column of text.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from sweeplaw.trials.record import Column, ColumnType
from sweeplaw.trials.store_format.journal import as_read, encodable

ARROW: Mapping[ColumnType, pa.DataType] = {
    "int": pa.int64(),
    "float": pa.float64(),
    "str": pa.string(),
    "bool": pa.bool_(),
    "time": pa.timestamp("us", tz="UTC"),
}
POLARS: Mapping[pa.DataType, pl.DataType] = {
    pa.int64(): pl.Int64(),
    pa.float64(): pl.Float64(),
    pa.string(): pl.String(),
    pa.bool_(): pl.Boolean(),
    pa.timestamp("us", tz="UTC"): pl.Datetime("us", "UTC"),
}
_EPOCH, _MICROSECOND = dt.datetime.fromtimestamp(0, dt.UTC), dt.timedelta(microseconds=1)
_INT64 = range(-(2**63), 2**63)
_EXACT_IN_FLOAT = range(-(2**53), 2**53 + 1)  # integers here are floats, too


def table(rows: Sequence[Mapping[str, Any]], columns: Iterable[Column]) -> pa.Table:
    """Return ``rows`` as an Arrow table: the declared columns, then all other names in order of first use.

    Names without any value are omitted. Raise ValueError if a value does not fit a declared column (see `fitted`).
    """
    declared = {column.name: ARROW[column.type] for column in columns}
    extra = dict.fromkeys(name for row in rows for name in row if name not in declared)
    arrays: dict[str, pa.Array] = {}
    for name, kind in declared.items():
        values = [row.get(name) for row in rows]
        if pa.types.is_timestamp(kind):
            values = [dt.datetime.fromisoformat(value) if isinstance(value, str) else value for value in values]
        arrays[name] = array(values, kind)
    for name in extra:
        found = _inferred([row.get(name) for row in rows])
        if found.null_count < len(found):
            arrays[name] = found
    return pa.table(arrays)


def array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return ``values`` as an Arrow array of one of our types. Raise ValueError if one does not fit.

    Built by Polars: pyarrow's own constructor imports pandas if it is installed, which takes half a second of a query.
    """
    if pa.types.is_timestamp(kind):
        values = [None if value is None else (value - _EPOCH) // _MICROSECOND for value in values]
    try:
        made = pl.Series(values=values, dtype=POLARS[pa.int64() if pa.types.is_timestamp(kind) else kind], strict=True)
    except TypeError as error:
        raise ValueError(f"not all values are {kind}: {error}") from None
    return made.to_arrow().cast(kind)


def schema(columns: Iterable[Column]) -> pa.Schema:
    """Return the schema of the declared columns."""
    return pa.schema([(column.name, ARROW[column.type]) for column in columns])


def fitted(row: Mapping[str, Any], types: Mapping[str, ColumnType]) -> tuple[dict[str, Any], list[str]]:
    """Return the known values of ``row`` as a journal returns them, and a fault for each that its column cannot hold.

    ``types`` are the declared columns by name.
    """
    kept: dict[str, Any] = {}
    faults = []
    for name, value in row.items():
        if value is None:
            continue
        wanted, kind = types.get(name), type(value)
        # Fast path for the common case: a launcher records thousands of rows per second.
        if kind is (_EXACT[wanted] if wanted else kind) and (
            kind is float
            or kind is bool
            or (kind is int and value in _INT64)
            or (kind is str and value.isascii() and name.isascii())
        ):
            kept[name] = value
            continue
        try:
            kept[encodable(name)] = _FIT[wanted](_scalar(value)) if wanted else as_read(value)
        except (ValueError, TypeError, OverflowError):
            faults.append(f"{name} = {value!r} is not {wanted} and was kept as null")
    return kept, faults


def types_of(columns: Iterable[Column]) -> dict[str, ColumnType]:
    """Return the declared type of each column by name."""
    return {column.name: column.type for column in columns}


def wider(left: pa.DataType, right: pa.DataType, *, large: bool = False) -> pa.DataType:
    """Return the narrowest type that holds the values of both exactly; ``large`` as for `union`."""
    if left == right or pa.types.is_null(right):
        return left
    if pa.types.is_null(left):
        return right
    if {left, right} == {pa.int64(), pa.float64()} and not large:
        return pa.float64()
    return pa.string()


def union(schemas: Iterable[pa.Schema], large: Container[str] = ()) -> dict[str, pa.DataType]:
    """Return every column of ``schemas`` with its widest type, in order of first appearance.

    ``large`` are the columns with integers that a float cannot hold (`large_integers`).
    """
    merged: dict[str, pa.DataType] = {}
    for schema in schemas:
        for name, kind in zip(schema.names, schema.types, strict=True):
            merged[name] = wider(merged[name], kind, large=name in large) if name in merged else kind
    return merged


def large_integers(part: pa.Table, names: Iterable[str]) -> set[str]:
    """Return those of the columns ``names`` that hold an integer beyond 2^53, which a float may not hold exactly."""
    held = [name for name in names if name in part.column_names and part.schema.field(name).type == pa.int64()]
    ranges = {name: pc.min_max(part[name]).as_py() for name in held}
    return {name for name, found in ranges.items() if is_large(found["min"]) or is_large(found["max"])}


def is_large(value: int | None) -> bool:
    """Return whether an integer is beyond 2^53."""
    return value is not None and value not in _EXACT_IN_FLOAT


def conform(part: pa.Table, types: Mapping[str, pa.DataType]) -> pa.Table:
    """Return ``part`` with exactly the columns of ``types``: cast to their type, null if it lacks them."""
    arrays = {
        name: _cast(part[name], kind) if name in part.column_names else pa.nulls(part.num_rows, kind)
        for name, kind in types.items()
    }
    return pa.table(arrays)


def joined(parts: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of all ``parts`` (at least one), in order, with the union of their columns."""
    exact = union(part.schema for part in parts)
    fractions = [name for name, kind in exact.items() if kind == pa.float64()]
    large = set[str]().union(*(large_integers(part, fractions) for part in parts))
    types = union((part.schema for part in parts), large) if large else exact
    return pa.concat_tables(conform(part, types) for part in parts)


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Return the column as ``kind``; text as Polars writes it, which readers of several parts see."""
    if column.type == kind or kind != pa.string():
        return column.cast(kind)
    return pa.chunked_array([pl.Series(pl.from_arrow(column)).cast(pl.String).to_arrow().cast(kind)])


def _scalar(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _inferred(values: list[Any]) -> pa.Array:
    values = [_scalar(value) for value in values]
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int} and all(value is None or value in _INT64 for value in values):
        return array(values, pa.int64())
    if kinds and kinds <= {int, float} and not any(type(value) is int and is_large(value) for value in values):
        return array([None if value is None else float(value) for value in values], pa.float64())
    if kinds == {bool}:
        return array(values, pa.bool_())
    return array([_text(value) for value in values], pa.string())


def _text(value: Any) -> str | None:
    """Return the text of a value in a column of mixed types, as Polars' cast to text writes it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float):
        return str(pl.Series([value]).cast(pl.String).item())
    return json.dumps(value, default=str)


def _integer(value: Any) -> int:
    if isinstance(value, bool | str) or value != math.floor(value) or int(value) not in _INT64:
        raise ValueError
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool | str):
        raise ValueError
    return float(value)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return encodable(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _time(value: Any) -> dt.datetime:
    moment = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(moment, dt.datetime):
        raise ValueError
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


_EXACT: Mapping[ColumnType, type | None] = {"int": int, "float": float, "str": str, "bool": bool, "time": None}
_FIT = {"int": _integer, "float": _number, "str": _string, "bool": _boolean, "time": _time}
