"""CSV, Parquet and NDJSON files of any origin as lazy frames, with actionable errors."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from sweeplaw.trials.errors import InputError

SUFFIXES = (".csv", ".tsv", ".parquet", ".pq", ".ndjson", ".jsonl")
_SEPARATORS = (",", ";", "\t")
_NULLS = ["", "null", "None", "NA"]
_FAULTS = 20  # reported per file; checking stops there


def scan(source: str | Path) -> pl.LazyFrame:
    """Return the file as a lazy frame, by its suffix. Raise InputError if it is missing, unsupported or malformed."""
    path = Path(source)
    check(path)
    kind = path.suffix.lower()
    try:
        if kind in (".csv", ".tsv"):
            return _csv(path)
        if kind in (".ndjson", ".jsonl"):
            return _ndjson(path)
        frame = pl.scan_parquet(path, glob=False)
        frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    return frame


def check(path: Path) -> None:
    """Raise InputError unless ``path`` is a file of a kind that is read."""
    kind = path.suffix.lower()
    if not path.is_file():
        raise InputError(f"{path} is neither a store nor a file")
    if kind not in SUFFIXES:
        raise InputError(f"{path}: files ending in {kind or 'nothing'} are not read (accepted: {', '.join(SUFFIXES)})")


def objects(
    path: Path, flat: Callable[[dict[str, Any]], dict[str, Any]] = lambda record: record
) -> list[dict[str, Any]]:
    """Return ``flat`` of each line of an NDJSON file; NaN and Infinity, as Python writes them, are accepted.

    Raise InputError with the first lines that are not objects, name a key twice, or that ``flat`` refuses (ValueError).
    """
    rows: list[dict[str, Any]] = []
    faults = []
    for number, line in enumerate(_utf8(path).splitlines(), start=1):
        try:
            row = json.loads(line, object_pairs_hook=_once) if line.strip() else {}
            if isinstance(row, dict):
                rows += [flat(row)] if row else []
            else:
                faults.append(f"line {number}: expected an object, not {type(row).__name__}")
        except json.JSONDecodeError as error:
            faults.append(f"line {number}, column {error.colno}: {error.msg}")
        except UnicodeDecodeError as error:
            faults.append(f"line {number}: byte {line[error.start]:#04x} is not UTF-8")
        except RecursionError:
            faults.append(f"line {number}: nested too deeply")
        except ValueError as error:
            faults.append(f"line {number}: {str(error).split(';')[0]}")
        if len(faults) >= _FAULTS:
            break
    if faults:
        raise InputError(faults, where=str(path))
    return rows


def semicolon_cells(path: Path) -> pl.DataFrame | None:
    """Return the cells of a CSV file as text if semicolons separate them, else None. Raise InputError."""
    if path.suffix.lower() not in (".csv", ".tsv"):
        return None
    content = _utf8(path)
    if _separator(path, content) != ";":
        return None
    return pl.read_csv(content, separator=";", infer_schema=False, null_values=_NULLS)


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError(f"key {Counter(name for name, _ in pairs).most_common(1)[0][0]!r} occurs twice")
    return record


def _ndjson(path: Path) -> pl.LazyFrame:
    """Read the whole file, since a column may first occur in the last line."""
    try:
        return pl.read_ndjson(path, infer_schema_length=None).lazy()
    except pl.exceptions.PolarsError:
        return pl.from_dicts(objects(path), infer_schema_length=None, strict=False).lazy()


def _csv(path: Path) -> pl.LazyFrame:
    """Read the whole file: one that is malformed in its last line must not be used up to there."""
    content = _utf8(path)
    separator = _check_csv(path, content)
    frame = pl.read_csv(content, separator=separator, infer_schema_length=None, null_values=_NULLS)
    comma = separator == ";"
    return frame.with_columns(found for column in frame if (found := _typed(column, comma)) is not None).lazy()


def _typed(column: pl.Series, comma: bool) -> pl.Series | None:
    """Return a text column of numbers as floats and one without any value as nulls, or None if it is something else.

    Type inference takes some spellings of nan and infinity for text. ``comma``: the decimal point may be a comma.
    """
    if column.dtype != pl.String or column.is_empty():
        return None
    if not column.count():
        return pl.repeat(None, column.len(), dtype=pl.Null, eager=True).alias(column.name)
    texts = column.str.replace(r"^(\s*[-+]?\d*),(\d+(?:[eE][-+]?\d+)?\s*)$", "${1}.${2}") if comma else column
    numbers = texts.cast(pl.Float64, strict=False)
    return numbers if numbers.count() == column.count() else None


def _utf8(path: Path) -> bytes:
    """Return the file in UTF-8 without a byte-order mark, with lines that end in a newline. Raise InputError."""
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            content = content.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: byte {error.start} on is not UTF-16, as its first bytes say") from None
        except UnicodeEncodeError:
            raise InputError(f"{path}: its UTF-16 has half of a character") from None
    content = content.removeprefix(codecs.BOM_UTF8)
    return content if b"\n" in content else content.replace(b"\r", b"\n")


def _check_csv(path: Path, content: bytes) -> str:
    """Return the separator. Raise InputError with every fault of the header and the first rows of wrong length."""
    try:
        separator = _separator(path, content)
        rows = csv.reader(io.TextIOWrapper(io.BytesIO(content), "utf-8", newline=""), delimiter=separator, strict=True)
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
    except UnicodeDecodeError:
        raise InputError(_not_utf8(path, content)) from None
    except csv.Error as error:
        raise InputError(f"{path}: row {rows.line_num}: {error}") from None
    if faults:
        raise InputError(faults, where=str(path))
    return separator


def _separator(path: Path, content: bytes) -> str:
    """Return the first separator by which the header has several columns: a comma, semicolon or tab."""
    preferred = "\t" if path.suffix.lower() == ".tsv" else ","
    header = content[: content.find(b"\n") + 1 or len(content)].decode()
    for separator in (preferred, *_SEPARATORS):
        with contextlib.suppress(csv.Error):  # reported when the file is checked
            if len(next(csv.reader([header], delimiter=separator), [])) > 1:
                return separator
    return preferred


def _not_utf8(path: Path, content: bytes) -> str:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        return f"{path}: near line {line}: byte {content[error.start]:#04x} is not UTF-8"
    return f"{path} is not UTF-8"
