"""The table behind a replay: a store, or a CSV, Parquet or NDJSON file, read whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl
import pyarrow.parquet as pq

from sweeplaw.trials import table_file
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.store_format.exclusions import exclusions
from sweeplaw.trials.store_format.layout import RECENCY, identify, is_store
from sweeplaw.trials.store_format.location import Location, locate
from sweeplaw.trials.store_format.parts.snapshot import Snapshot, snapshot


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """The runs of a table, and of a store the points of their curves."""

    runs: pl.DataFrame
    curves: pl.DataFrame | None = None


def read(address: str) -> Source:
    """Return the runs at a path or URI: of a store each trial once, by its latest attempt, without those excluded.

    Raise InputError if there is none, or if a part of the store is damaged.
    """
    if is_store(address):
        return _store(address)
    try:
        return Source(table_file.scan(address).collect())
    except InputError as error:
        raise InputError(error.faults, where=error.where or "workload.table") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"table {address} cannot be read: {str(error).splitlines()[0]}") from None


def _store(address: str) -> Source:
    location = locate(address)
    identify(location)
    now = snapshot(location)
    if now.faults:
        raise InputError([f"damaged: {fault}" for fault in now.faults], where=f"table {address}")
    runs = _rows(location, now, "trials")
    if not runs.height:
        raise InputError(f"table {address}: the store has no trials")
    latest = runs.sort(RECENCY, nulls_last=False, maintain_order=True).unique("trial_id", keep="last")
    excluded = list(exclusions(location).reasons)
    curves = _rows(location, now, "curves")
    if curves.height:
        curves = curves.filter(pl.col("attempt") == pl.col("attempt").max().over("trial_id"))
    return Source(latest.filter(~pl.col("trial_id").is_in(excluded)).sort("trial_id"), curves)


def _rows(location: Location, now: Snapshot, name: str) -> pl.DataFrame:
    """Return all rows of a table of the store."""
    parts: Iterable[pl.DataFrame | pl.Series] = (
        pl.from_arrow(pq.read_table(location.path(part.path), filesystem=location.filesystem))
        for part in now.parts(name)
    )
    journal = pl.from_arrow(now.journal_table(name))
    frames = [frame for frame in (*parts, journal) if isinstance(frame, pl.DataFrame)]
    return pl.concat(frames, how="diagonal_relaxed")
