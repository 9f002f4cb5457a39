"""Records (nested dicts) as one flat frame whose columns have our types: numbers, text, booleans."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from sweeplaw.trials.store_format.columns import table
from sweeplaw.trials.store_format.journal import encodable

_INT64 = range(-(2**63), 2**63)


def flat_record(record: Mapping[str, Any], separator: str = "/") -> dict[str, Any]:
    """Return ``record`` with nested records as names joined by ``separator``, and lists as JSON.

    Raise ValueError if two values then have one name.
    """
    flat: dict[str, Any] = {}
    _flatten(record, "", separator, flat)
    return flat


def frame_of(records: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Return records with any names as one frame. A column of mixed types becomes text; no value is lost."""
    rows = [{encodable(name): _simple(value) for name, value in record.items()} for record in records]
    made = table(rows, ())
    return pl.DataFrame({name: pl.from_arrow(made[name]) for name in made.column_names})


def _flatten(record: Mapping[str, Any], prefix: str, separator: str, flat: dict[str, Any]) -> None:
    for name, value in record.items():
        full = f"{prefix}{name}"
        if isinstance(value, Mapping):
            _flatten(value, f"{full}{separator}", separator, flat)
        elif full in flat:
            raise ValueError(f"{full!r} occurs twice once nested records are flattened")
        else:
            flat[full] = json.dumps(value, default=str) if isinstance(value, list | tuple) else value


def _simple(value: Any) -> Any:
    """Return ``value`` in one of our types: whole numbers beyond 64 bits as floats, anything else as text."""
    if isinstance(value, int) and not isinstance(value, bool) and value not in _INT64:
        try:
            return float(value)
        except OverflowError:
            return f"{value:#x}"
    if value is None or isinstance(value, bool | int | float):
        return value
    return encodable(str(value))
