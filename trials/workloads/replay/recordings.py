"""What a recorded table says of a setting: the loss, the cost and the curve of a trial that is not run."""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sweeplaw.trials.store_format.layout import is_store
from sweeplaw.trials.store_format.location import locate
from sweeplaw.trials.workloads.replay.curves import Curve
from sweeplaw.trials.workloads.replay.lookup import Lookup
from sweeplaw.trials.workloads.replay.recorded import RecordedColumns, RecordedTable
from sweeplaw.trials.workloads.replay.source import Source, read
from sweeplaw.trials.workloads.replay.surface import Surface, smooth

CACHED = 8  # tables


@dataclass(frozen=True, slots=True)
class Recording:
    """What is recorded at the setting nearest to one: the ``row`` of the table (index), its ``distance`` in octaves,
    the ``loss`` (inf if it diverged), ``flops``, ``curve`` and ``steps`` (0 where unknown).
    """

    row: int
    distance: float
    loss: float
    flops: float
    curve: Curve
    steps: int


class Recordings:
    """A recorded table that answers for any setting. ``size`` is that of `Lookup`."""

    def __init__(self, table: RecordedTable, size: Collection[str]) -> None:
        self.table, self._lookup = table, Lookup(table, size)
        self._surfaces: dict[int, Surface] = {}  # by the first row that it goes through

    def nearest(self, values: Mapping[str, Any], seed: int = 0) -> Recording | None:
        """Return the recorded run nearest to these values; of several at one setting the one that ``seed`` selects.
        None if no run has these texts.
        """
        found = self._lookup.nearest(values)
        if found is None:
            return None
        row, table = found.rows[seed % len(found.rows)], self.table
        curve = table.curves[row] if table.curves else ()
        return Recording(
            row, found.distance, float(table.loss[row]), float(table.flops[row]), curve, int(table.steps[row])
        )

    def interpolated(self, values: Mapping[str, Any], near: Recording) -> float:
        """Return the loss at these values by the smooth surface of the runs that have the size of ``near``."""
        rows = self._lookup.neighbours(near.row)
        rows = rows[np.isfinite(self.table.loss[rows]) & (self.table.loss[rows] > 0)]
        first = int(rows[0])
        if first not in self._surfaces:
            self._surfaces[first] = smooth(self._lookup.coordinates(rows), self.table.loss[rows])
        return float(self._surfaces[first](self._lookup.place(values)[None, :])[0])


def source(address: str) -> Source:
    """Return the runs at a path or URI, read once as long as they do not change. Raise InputError."""
    return _source(address, _stamp(address))


def recordings(address: str, meaning: RecordedColumns, size: Collection[str]) -> Recordings:
    """Return the recordings in a table, prepared once as long as it does not change. Raise InputError."""
    knobs = tuple(meaning.knobs.items())
    return _recordings(address, _stamp(address), knobs, meaning.loss, meaning.cost, meaning.curve, tuple(size))


@functools.lru_cache(CACHED)
def _source(address: str, stamp: object) -> Source:
    return read(address)


@functools.lru_cache(CACHED)
def _recordings(
    address: str,
    stamp: object,
    knobs: tuple[tuple[str, str], ...],
    loss: str,
    cost: str,
    curve: str | None,
    size: tuple[str, ...],
) -> Recordings:
    found = _source(address, stamp)
    return Recordings(RecordedTable.of(found.runs, RecordedColumns(dict(knobs), loss, cost, curve), found.curves), size)


def _stamp(address: str) -> object:
    """Return what changes with the content: time and size of a file, names and sizes of the files of a store."""
    if not is_store(address):
        path = Path(address)
        return (path.stat().st_mtime_ns, path.stat().st_size) if path.is_file() else math.nan
    location = locate(address)
    names = [
        f"{folder}/{name}{suffix}"
        for folder, suffix in (
            ("trials", ".parquet"),
            ("curves", ".parquet"),
            ("journal", ".jsonl"),
            ("exclusions", ".json"),
        )
        for name in location.names(folder, suffix)
    ]
    return tuple((name, Path(location.path(name)).stat().st_size if location.local else 0) for name in names)
