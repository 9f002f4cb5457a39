"""Any source of runs as one frame: a store or file by its path, an open store, loaded tables, a frame, or columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from sweeplaw.analysis.tables.tables import Tables, read
from sweeplaw.analysis.tables.units import units
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted
from sweeplaw.trials.store_format.location import Location

ACCEPTED = (
    "a path to a store or a file, a Store, loaded tables, a Polars, pandas or Arrow table, or a mapping of columns"
)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a source, the number left out before by reason, the faults of damaged files, known units, and launch
    records."""

    frame: pl.DataFrame
    dropped: Mapping[str, int] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    launches: tuple[Mapping[str, Any], ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about rows left out and about damage."""
        left_out = (f"{counted(count, 'row')} left out: {reason}" for reason, count in self.dropped.items() if count)
        return (*left_out, *(f"damaged: {fault}" for fault in self.faults))


def rows(source: Any, states: Sequence[str] | None = ("completed",)) -> Rows:
    """Return the rows of ``source``, of a path or a store those in one of ``states`` (None: all).

    Raise InputError if it cannot be read, or is none of what `ACCEPTED` says.
    """
    if isinstance(source, Tables):
        return _loaded(source)
    if isinstance(source, str | Path) or isinstance(getattr(source, "location", None), Location):
        return _loaded(read(source, states=states))
    frame = _frame(source)
    return Rows(frame, units=_units(frame, ()) if "spec" in frame.columns else {})


def _loaded(tables: Tables) -> Rows:
    frame = _collected(tables.trials)
    known = _units(frame, tables.launches) if "spec" in frame.columns else {}
    return Rows(frame, tables.dropped, tables.faults, known, tables.launches)


def _units(frame: pl.DataFrame, launches: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the units of the columns of our own trials."""
    workloads = frame["workload"].unique().to_list() if "workload" in frame.columns else []
    return units(frame.columns, launches, workloads)


def _frame(source: Any) -> pl.DataFrame:
    kind = type(source).__module__.partition(".")[0]
    if isinstance(source, pl.LazyFrame):
        return _collected(source)
    if isinstance(source, pl.DataFrame):
        return source
    if isinstance(source, Mapping):
        return _from_columns(source)
    if (kind == "pandas" and type(source).__name__ == "DataFrame") or isinstance(source, pa.Table):
        try:
            return pl.DataFrame(pl.from_pandas(source) if kind == "pandas" else pl.from_arrow(source))
        except (pl.exceptions.PolarsError, pa.ArrowException, ImportError, TypeError, ValueError) as error:
            raise InputError(f"the table cannot be read: {_first_line(error)}") from None
    raise InputError(f"a table is {ACCEPTED}; {type(source).__name__} given")


def _collected(frame: pl.LazyFrame) -> pl.DataFrame:
    try:
        return frame.collect()
    except pl.exceptions.PolarsError as error:
        raise InputError(f"the table cannot be read: {_first_line(error)}") from None


def _from_columns(source: Mapping[str, Any]) -> pl.DataFrame:
    if odd := [repr(name) for name in source if not isinstance(name, str)]:
        raise InputError(f"columns are named by text; {', '.join(odd)} given")
    try:
        columns = {name: np.atleast_1d(np.asarray(column)) for name, column in source.items()}
        lengths = {name: column.size for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            sizes = ", ".join(f"{name} {size}" for name, size in lengths.items())
            raise InputError(f"columns differ in length: {sizes}")
        return pl.DataFrame({name: _series(name, column) for name, column in columns.items()})
    except InputError:
        raise
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the columns are no table: {_first_line(error)}") from None


def _series(name: str, column: np.ndarray[Any, Any]) -> pl.Series:
    """Return a column; what NumPy has no type for (None, times) in the type that Polars finds."""
    return pl.Series(name, column.tolist() if column.dtype == object else column)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
