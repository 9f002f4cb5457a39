"""Merge small parts into large ones during writes and reads, so that a million trials are a dozen files.

A merged part has the latest attempt of each trial, sorted by id (so a trial is in one row group); earlier attempts move
to earlier/. The merge counts as soon as its merges/ file exists; the files it replaces stay for an hour, because a
reader may have listed them. A crash at any point leaves a store with the same rows.
"""

from __future__ import annotations

import datetime as dt
import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sweeplaw.orchestrator.store import atomic, claims, clocks, garbage, repair, writer
from sweeplaw.orchestrator.store.exclusive import exclusive
from sweeplaw.orchestrator.store.garbage import GRACE
from sweeplaw.trials.record import CURVE_COLUMNS, TRIAL_COLUMNS
from sweeplaw.trials.store_format import columns
from sweeplaw.trials.store_format.damage import DamagedFileError
from sweeplaw.trials.store_format.journal import decode
from sweeplaw.trials.store_format.layout import (
    MERGED,
    PART_FOLDERS,
    RECENCY,
    catalog,
    counts_of,
    identify,
    merged,
    replaced_by,
    segment_of,
)
from sweeplaw.trials.store_format.location import Location, locate
from sweeplaw.trials.store_format.parts.id_index import encoded, is_sound, name_of
from sweeplaw.trials.store_format.parts.merged_parts import is_replaceable, stands_in
from sweeplaw.trials.store_format.parts.snapshot import StorePart, holding, snapshot

TARGET_ROWS = 500_000  # a merge of this size takes about 1 GB and ten seconds
_DAMAGE = (pa.ArrowInvalid, OSError)


@dataclass(slots=True)
class Compacted:
    """Result of a compaction; ``quarantined`` are sentences about damaged files, ``faults`` about others that were left
    where they are, ``undone`` about damaged merged parts of which what they were merged from was merged anew.
    ``indexed`` are the merged parts whose index was missing, damaged or of an older version.
    """

    merged: list[str] = field(default_factory=list)
    replaced: int = 0
    rows: int = 0
    removed: int = 0
    quarantined: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)
    indexed: list[str] = field(default_factory=list)
    busy: bool = False


def compact(location: Location, *, grace: dt.timedelta = GRACE, target_rows: int = TARGET_ROWS) -> Compacted:
    """Merge small parts, quarantine damaged ones, and remove files replaced more than ``grace`` ago.

    A damaged merged part is undone first if what it was merged from is still there: that is merged anew. If only some
    of that is there, or a merges/ file is damaged, nothing is merged or removed. A part that lacks a file is not
    merged. Only one compaction runs at a time: a second one returns ``busy``. Raise OSError (a full disk changes
    nothing).
    """
    done = Compacted()
    with exclusive(location) as alone:
        if not alone:
            return Compacted(busy=True)
        writer.recover(location)
        _quarantine(location, done)
        now = snapshot(location)
        done.faults = list(now.faults)
        if catalog(location).faults or now.unmerged:  # what may be merged or removed is unknown: nothing is
            return done
        for batch in _batches(location, target_rows):
            _merge(location, batch, done)
        _index(location, done)
        done.removed += garbage.collect(location, grace)
        done.faults += garbage.orphans(location)
    return done


def _batches(location: Location, target_rows: int) -> list[list[str]]:
    """Return the names to merge together: all unmerged parts, and merged parts of less than half the target.

    A part that lacks a file is left out, so that the loss is named until the file is restored.
    """
    now = snapshot(location)
    lacking = {PurePath(file).stem for file in now.damaged}
    small = [part for part in now.trials if not part.merged or part.rows < target_rows // 2]
    rows = {part.name: part.rows for part in small if part.name not in lacking}
    batches: list[list[str]] = [[]]
    size = 0
    for name in sorted(rows, key=lambda name: rows[name]):
        if batches[-1] and size + rows[name] > target_rows:
            batches.append([])
            size = 0
        batches[-1].append(name)
        size += rows[name]
    batches[-1].extend(f"{name}.jsonl" for name in _abandoned_objects(location))
    return [batch for batch in batches if len(batch) > 1 or (batch and not batch[0].startswith(MERGED))]


def _abandoned_objects(location: Location) -> list[str]:
    """Return journal objects of dead launches, unchanged for an hour (`writer.recover` handles local journals).

    One with damaged lines is left out: a person should inspect it.
    """
    if location.local:
        return []
    now = clocks.store_time(location)
    alive = claims.live_launches(location, now)
    names = [name for name in catalog(location).journal if segment_of(name).rpartition("-")[0] not in alive]
    old = [name for name in names if garbage.age(location, f"journal/{name}.jsonl", now) > GRACE]
    return [name for name in old if not _lines(location, f"{name}.jsonl").damaged]


def _merge(location: Location, batch: Sequence[str], done: Compacted) -> None:
    """Merge ``batch`` with every merged part that shares a trial with it, so that merged parts stay disjoint."""
    batch = [*batch, *_overlapping(location, batch)]
    tables, damaged = {}, list[str]()
    for folder in PART_FOLDERS:
        tables[folder], broken = _tables(location, folder, batch)
        damaged += broken
    if damaged:  # since the snapshot: merge without them next time
        for file in damaged:
            _set_aside(location, file, done)
        return
    latest, superseded = _latest(_concatenated(tables["trials"]))
    name = f"{MERGED}{secrets.token_hex(8)}"
    superseded = _concatenated([*tables["earlier"], superseded])
    points = columns.joined(tables["curves"]) if tables["curves"] else columns.table([], CURVE_COLUMNS)
    if points.num_rows:
        order = [("trial_id", "ascending"), ("attempt", "ascending"), ("step", "ascending")]
        atomic.publish_table(location, f"curves/{name}.parquet", points.sort_by(order))
    if superseded.num_rows:
        atomic.publish_table(location, f"earlier/{name}.parquet", superseded)
    atomic.publish_table(location, f"trials/{name}.parquet", latest)
    if location.local:
        atomic.publish(location, name_of(name), encoded(latest["trial_id"].to_pylist()))
    replaces = sorted({*batch, *_replaced_by(location, batch)})
    atomic.publish_json(location, f"merges/{name}.json", {"replaces": replaces, "rows": latest.num_rows})
    counts = {"trials": latest.num_rows, "curves": points.num_rows, "earlier": superseded.num_rows}
    writer.count(location, name, **counts)
    done.merged.append(name)
    done.replaced += len(batch)
    done.rows += latest.num_rows


def _index(location: Location, done: Compacted) -> None:
    """Write the index of each merged part that has none, or one that is damaged or of an older version."""
    if not location.local:
        return
    for part in snapshot(location).trials:
        if part.merged and not is_sound(location, part.name, part.rows):
            atomic.publish(location, name_of(part.name), encoded(_ids(location, part).to_pylist()))
            done.indexed.append(part.name)


def _overlapping(location: Location, batch: Sequence[str]) -> list[str]:
    """Return the merged parts outside the batch that share a trial with it."""
    now = snapshot(location)
    inside = [part for part in now.trials if part.name in batch]
    outside = [part for part in now.trials if part.merged and part.name not in batch]
    if not outside:
        return []
    rows = [row["trial_id"] for name in batch if name.endswith(".jsonl") for row in _lines(location, name).trials]
    held = [_ids(location, part).combine_chunks() for part in inside]
    ids = pa.chunked_array([columns.array(rows, pa.string()), *held])
    candidates = holding(location, outside, ids.to_pylist())
    return [part.name for part in candidates if pc.any(pc.is_in(_ids(location, part), ids)).as_py()]


def _ids(location: Location, part: StorePart) -> pa.ChunkedArray:
    return pq.read_table(location.path(part.path), columns=["trial_id"], filesystem=location.filesystem)["trial_id"]


def _tables(location: Location, folder: str, batch: Sequence[str]) -> tuple[list[pa.Table], list[str]]:
    """Return the non-empty tables of a batch in one folder, and the files that are damaged or missing."""
    present = {*location.names(folder, ".parquet")}
    tables, damaged = [], []
    for name in batch:
        if name.endswith(".jsonl") and folder != "earlier":
            rows = _lines(location, name)
            tables.append(
                columns.table(rows.trials, TRIAL_COLUMNS)
                if folder == "trials"
                else columns.table(rows.curves, CURVE_COLUMNS)
            )
        elif name in present or _counted(location, name, folder):
            try:
                tables.append(_verified(location, folder, name))
            except _DAMAGE:
                damaged.append(f"{folder}/{name}.parquet")
    return [table for table in tables if table.num_rows], damaged


def _lines(location: Location, name: str) -> Any:
    return decode(location.read(f"journal/{name}"))


def _counted(location: Location, part: str, folder: str) -> int | None:
    """Return the number of rows of a sealed part in one folder; None if it is unknown, or has none there."""
    try:
        return counts_of(location, part).get(folder)
    except (FileNotFoundError, DamagedFileError):
        return None


def _verified(location: Location, folder: str, part: str) -> pa.Table:
    """Return the table of a part, every page verified against its checksum. Raise what `_DAMAGE` lists."""
    path = location.path(f"{folder}/{part}.parquet")
    table = pq.read_table(path, filesystem=location.filesystem, page_checksum_verification=True, partitioning=None)
    if _counted(location, part, folder) not in (None, table.num_rows):
        raise pa.ArrowInvalid(f"{folder}/{part}.parquet has another number of rows than were sealed")
    return table


def _concatenated(tables: Sequence[pa.Table]) -> pa.Table:
    return columns.joined(tables) if tables else columns.table([], TRIAL_COLUMNS)


def _latest(trials: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return the latest attempt of each trial, sorted by id, and all other rows."""
    keys = {"trial_id": trials["trial_id"], **{name: _sortable(trials[name]) for name in RECENCY}}
    order = pc.sort_indices(pa.table(keys), sort_keys=[(name, "ascending") for name in keys])
    ids = trials["trial_id"].take(order).combine_chunks()
    last = np.ones(len(ids), dtype=bool)
    last[:-1] = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
    positions = order.to_numpy()
    latest, rest = (columns.array(positions[chosen], pa.int64()) for chosen in (last, ~last))
    return trials.take(latest), trials.take(rest)


def _sortable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the column as text or integers, nulls smallest."""
    if pa.types.is_dictionary(column.type) or pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return pc.fill_null(column.cast(pa.string()), "")
    return pc.fill_null(column.cast(pa.int64()), -(2**62))


def _replaced_by(location: Location, batch: Sequence[str]) -> set[str]:
    """Return files that merged parts in ``batch`` replaced and that still exist: the new part must hide them, too."""
    replaced: set[str] = set()
    for name in batch:
        if name.startswith(MERGED):
            replaced.update(replaced_by(location, name))
    journals = (f"{name}.jsonl" for name in location.names("journal", ".jsonl"))
    existing = {*location.names("trials", ".parquet"), *location.names("sealed", ".json"), *journals}
    return replaced & existing


def _quarantine(location: Location, done: Compacted) -> None:
    for file in snapshot(location).damaged:
        _set_aside(location, file, done)


def _set_aside(location: Location, file: str, done: Compacted) -> None:
    """Quarantine a damaged file. A merged part is undone instead if what it replaced is there, and left alone if only
    some of that is.
    """
    name = PurePath(file).stem
    if merged(name) and is_replaceable(location, name):
        repair.undo(location, name)
        done.undone.append(f"{file} was missing or damaged: what it was merged from counts again, and nothing is lost")
    elif location.exists(file) and not (merged(name) and stands_in(location, name, [file])):
        done.quarantined.append(f"{file} is damaged and was moved to {repair.quarantine(location, file)}")


def main(uri: str) -> None:
    """Compact the store at ``uri``; the entry point of the process that a writer starts."""
    if hasattr(os, "nice"):
        os.nice(10)
    location = locate(uri)
    identify(location)
    compact(location)


if __name__ == "__main__":
    main(sys.argv[1])
