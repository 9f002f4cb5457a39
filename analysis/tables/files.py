"""CSV, Parquet and NDJSON files of any origin as lazy frames, with actionable errors."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

from sweeplaw.trials.errors import InputError

SUFFIXES = (".csv", ".tsv", ".parquet", ".pq", ".ndjson", ".jsonl")
_FAULTS = 20  # reported per file; checking stops there


def scan(source: str | Path) -> pl.LazyFrame:
    """Return the file as a lazy frame, by its suffix. Raise InputError if it is missing, unsupported or malformed."""
    path = Path(source)
    kind = path.suffix.lower()
    if not path.is_file():
        raise InputError(f"{path} is neither a store nor a file")
    if kind not in SUFFIXES:
        raise InputError(f"{path}: files ending in {kind or 'nothing'} are not read (accepted: {', '.join(SUFFIXES)})")
    try:
        if kind in (".csv", ".tsv"):
            return _csv(path, "\t" if kind == ".tsv" else ",")
        if kind in (".ndjson", ".jsonl"):
            return _ndjson(path)
        frame = pl.scan_parquet(path, glob=False)
        frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    return frame


def _ndjson(path: Path) -> pl.LazyFrame:
    """Read the whole file, since a column may first occur in the last line.

    NaN and Infinity, as Python writes them, are accepted. Raise InputError with the first lines that are not objects.
    """
    try:
        return pl.read_ndjson(path, infer_schema_length=None).lazy()
    except pl.exceptions.PolarsError:
        return pl.from_dicts(_objects(path), infer_schema_length=None, strict=False).lazy()


def _objects(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    faults = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            row = json.loads(line) if line.strip() else {}
            if isinstance(row, dict):
                rows += [row] if row else []
            else:
                faults.append(f"line {number}: expected an object, not {type(row).__name__}")
        except json.JSONDecodeError as error:
            faults.append(f"line {number}, column {error.colno}: {error.msg}")
        except UnicodeDecodeError as error:
            faults.append(f"line {number}: byte {line[error.start]:#04x} is not UTF-8")
        if len(faults) >= _FAULTS:
            break
    if faults:
        raise InputError(faults, where=str(path))
    return rows


def _csv(path: Path, separator: str) -> pl.LazyFrame:
    """Read the whole file: one that is malformed in its last line must not be used up to there."""
    _check_csv(path, separator)
    frame = pl.read_csv(path, separator=separator, infer_schema_length=None, null_values=["", "null", "None", "NA"])
    return frame.with_columns(found for column in frame if (found := _floats(column)) is not None).lazy()


def _floats(column: pl.Series) -> pl.Series | None:
    """Return a text column of numbers as floats, or None if it is something else.

    Type inference takes some spellings of nan and infinity for text.
    """
    if column.dtype != pl.String or not column.count():
        return None
    numbers = column.cast(pl.Float64, strict=False)
    return numbers if numbers.count() == column.count() else None


def _check_csv(path: Path, separator: str) -> None:
    """Raise InputError with every fault of the header and the first rows of wrong length."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file, delimiter=separator, strict=True)
            header = next(rows, [])
            faults = [
                f"column {name!r} occurs {count} times in the header"
                for name, count in Counter(header).items()
                if count > 1
            ]
            if not any(header):
                faults.append("the file has no header")
            for number, row in enumerate(rows, start=1):
                if row and len(row) != len(header):
                    faults.append(
                        f"row {number} (line {rows.line_num}) has {len(row)} columns, the header has {len(header)}"
                    )
                if len(faults) >= _FAULTS:
                    break
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise InputError(f"{path}: near line {line}: byte {error.object[error.start]:#04x} is not UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{path}: row {rows.line_num}: {error}") from None
    if faults:
        raise InputError(faults, where=str(path))
