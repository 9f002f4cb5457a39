"""Readers of files: one flat frame of runs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sweeplaw.orchestrator.importing.plain import plain
from sweeplaw.orchestrator.importing.records import flat_record, frame_of
from sweeplaw.trials import table_file
from sweeplaw.trials.errors import InputError

DECIMAL_COMMA = r"^(\s*[-+]?\d*),(\d+(?:[eE][-+]?\d+)?\s*)$"
_SQLITE = b"SQLite format 3\0"
_ERRORS = (pa.ArrowException, OSError, ValueError, ArithmeticError, MemoryError)  # what damaged Parquet raises


@dataclass(frozen=True, slots=True)
class ImportSource:
    """One row per run. ``curves`` has columns run (the identity of the run joined by "/"), step and metrics.

    ``tracker`` names the tracker whose ids of runs are unique, whichever file they are read from. ``cells`` are the
    cells as text if the file has decimal commas.
    """

    frame: pl.DataFrame
    name: str
    digest: str | None = None
    curves: pl.DataFrame | None = None
    tracker: str | None = None
    cells: pl.DataFrame | None = None


def file(source: str) -> ImportSource:
    """Read a CSV, Parquet or NDJSON file; nested records become dotted columns. Raise InputError."""
    path = Path(source)
    table_file.check(path)
    kind = path.suffix.lower()
    try:
        if kind in (".parquet", ".pq"):
            frame = plain(_parquet(path))
        elif kind in (".ndjson", ".jsonl"):
            frame = frame_of(table_file.objects(path, flat=lambda record: flat_record(record, ".")))
        else:
            frame = table_file.scan(path).collect().cast({pl.Null: pl.String})  # a formula may take them for either
    except InputError as error:
        raise error if str(path) in str(error) else InputError(error.faults, where=str(path)) from None
    if not frame.width or not frame.height:
        raise InputError(f"{path} has no rows")
    frame = frame.rename({"": _free_name(frame.columns)} if "" in frame.columns else {})
    cells = _decimal_cells(path, frame.columns)
    frame = frame if cells is None else frame.with_columns(_points_for_commas(column) for column in frame)
    with path.open("rb") as content:
        return ImportSource(frame, path.name, hashlib.file_digest(content, "sha256").hexdigest(), cells=cells)


def is_sqlite(path: Path) -> bool:
    """Return whether ``path`` is an SQLite database."""
    if not path.is_file():
        return False
    with path.open("rb") as opened:
        return opened.read(len(_SQLITE)) == _SQLITE


def without_prefixes(frame: pl.DataFrame, *prefixes: str) -> pl.DataFrame:
    """Return ``frame`` without these prefixes of column names, except where the shorter name is taken."""
    names: dict[str, str] = {}
    for name in frame.columns:
        short = next((name.removeprefix(prefix) for prefix in prefixes if name.startswith(prefix)), name)
        taken = not short or short in names.values() or (short != name and short in frame.columns)
        names[name] = name if taken else short
    return frame.rename(names)


def number_where_possible(series: pl.Series) -> pl.Series:
    """Return a column of text as numbers if all of it is numbers, whole ones as integers."""
    numbers = series.cast(pl.Float64, strict=False)
    if series.dtype != pl.String or numbers.null_count() > series.null_count():
        return series
    known = numbers.drop_nulls()
    whole = known.len() and known.is_finite().all() and (known == known.round()).all() and (known.abs() < 2**53).all()
    return numbers.cast(pl.Int64) if whole else numbers


def _decimal_cells(path: Path, names: Sequence[str]) -> pl.DataFrame | None:
    """Return the cells of the file as text, in columns of these names, if one of them is a number with a comma."""
    cells = table_file.semicolon_cells(path)
    if cells is None or not any(column.str.contains(DECIMAL_COMMA).any() for column in cells):
        return None
    return cells.rename(dict(zip(cells.columns, names, strict=True)))


def _points_for_commas(column: pl.Series) -> pl.Series:
    """Return ``column``; text of which most values are numbers, some with a comma, has points for the commas."""
    if column.dtype != pl.String:
        return column
    pointed = column.str.replace(DECIMAL_COMMA, "${1}.${2}")
    mostly = 2 * pointed.cast(pl.Float64, strict=False).count() > column.count()
    return pointed if mostly else column


def _free_name(names: Sequence[str]) -> str:
    """Return a name for the column without one, such as the index of a pandas frame."""
    return next(name for count in range(len(names) + 1) if (name := f"unnamed_{count}") not in names)


def _parquet(path: Path) -> pl.DataFrame:
    """Read a Parquet file, every page against its checksum if it has one. Raise InputError."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as opened:
            table = opened.read()
    except _ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be read: {reason}") from None
    if twice := [name for name, count in Counter(table.column_names).items() if count > 1]:
        raise InputError([f"column {name!r} occurs twice" for name in twice], where=str(path))
    return pl.DataFrame({name: _series(name, table[name]) for name in table.column_names})


def _series(name: str, column: pa.ChunkedArray) -> pl.Series:
    """Return a column as Polars has it; one of a type that Polars lacks as text."""
    try:
        if pa.types.is_decimal(column.type):
            column = pc.cast(column, pa.float64())
        return pl.Series(name, pl.from_arrow(column))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, TypeError, *_ERRORS):
        pass
    try:
        return pl.Series(name, [None if value is None else str(value) for value in column.to_pylist()], pl.String)
    except _ERRORS as error:
        raise InputError(f"column {name!r} ({column.type}) cannot be read: {str(error).splitlines()[0]}") from None
