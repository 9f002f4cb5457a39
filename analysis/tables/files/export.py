"""Export of a table of a store to one file for other tools."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sweeplaw.analysis.tables import tables
from sweeplaw.analysis.tables.files.output_file import write_file
from sweeplaw.analysis.tables.sql.expressions import resolve_columns
from sweeplaw.trials.errors import InputError, nearest, unsupported_extension

_SINKS: Mapping[str, Callable[[pl.LazyFrame, str], object]] = {
    ".parquet": lambda frame, path: frame.sink_parquet(path),
    ".arrow": lambda frame, path: frame.sink_ipc(path),
    ".csv": lambda frame, path: frame.sink_csv(path),
    ".ndjson": lambda frame, path: frame.sink_ndjson(path),
}


@dataclass(frozen=True, slots=True)
class Exported:
    """Number of rows written, number of rows left out by reason, and the damage."""

    rows: int
    dropped: Mapping[str, int]
    faults: tuple[str, ...]


def write(store: str, file: Path, *, table: str, where: str | None, columns: Sequence[str] = ()) -> Exported:
    """Write ``table`` (trials of every state, or curves) to ``file`` atomically. Raise InputError, OSError."""
    faults = []
    if fault := unsupported_extension(str(file), tuple(_SINKS)):
        faults.append(fault)
    if table not in ("trials", "curves"):
        faults.append(f"table {table!r} is not known (accepted: trials, curves){nearest(table, ('trials', 'curves'))}")
    if faults:
        raise InputError(faults)
    return tables.unless_damaged(
        lambda verify: _write(tables.load(store, states=None, where=where, verify=verify), file, table, where, columns)
    )


def _write(loaded: tables.Tables, file: Path, table: str, where: str | None, columns: Sequence[str]) -> Exported:
    frame = loaded.trials
    if table == "curves":
        frame = (
            loaded.curves.join(loaded.trials.select("trial_id"), on="trial_id", how="semi") if where else loaded.curves
        )
    if columns:
        frame = frame.select(resolve_columns(columns, frame.collect_schema().names()))
    write_file(file, lambda path: _SINKS[file.suffix.lower()](frame, path))
    return Exported(frame.select(pl.len()).collect().item(), loaded.dropped, loaded.faults)
