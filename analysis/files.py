"""Other people's tables: CSV, Parquet and NDJSON files as lazy frames, with faults a person can act on."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import polars as pl

from trials.errors import InputError

SUFFIXES = (".csv", ".tsv", ".parquet", ".pq", ".ndjson", ".jsonl")
_INFER_ROWS = 10_000


def scan(source: str | Path) -> pl.LazyFrame:
    """The file as a lazy frame, by its suffix. Raises InputError: missing, unknown kind, malformed (row named)."""
    path = Path(source)
    kind = path.suffix.lower()
    if not path.is_file():
        raise InputError(f"{path} is neither a store nor a file")
    if kind not in SUFFIXES:
        raise InputError(f"{path}: files ending in {kind or 'nothing'} are not read (accepted: {', '.join(SUFFIXES)})")
    try:
        if kind in (".csv", ".tsv"):
            return _csv(path, "\t" if kind == ".tsv" else ",")
        if kind in (".parquet", ".pq"):
            frame = pl.scan_parquet(path, glob=False)
        else:
            frame = pl.scan_ndjson(path, infer_schema_length=_INFER_ROWS)
        frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    return frame


def _csv(path: Path, separator: str) -> pl.LazyFrame:
    """Read whole: a CSV file that is wrong in its last line must not answer for the lines before it."""
    _check_csv(path, separator)
    frame = pl.read_csv(path, separator=separator, infer_schema_length=None, null_values=["", "null", "None", "NA"])
    return frame.lazy()


def _check_csv(path: Path, separator: str) -> None:
    """Raises InputError with every fault of the header, and the first rows of wrong length."""
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
                if len(faults) >= 20:
                    break
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise InputError(f"{path}: near line {line}: byte {error.object[error.start]:#04x} is not UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{path}: row {rows.line_num}: {error}") from None
    if faults:
        raise InputError(faults, where=str(path))
