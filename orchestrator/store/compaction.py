"""Merge small parts into large ones, while writers write and readers read, so that a million trials are a dozen files.

A merged part holds every trial once, by its latest attempt, sorted by id (so one trial is one row group away); the
attempts before it move to earlier/. The merge counts from the moment its merges/ file exists; the files it replaces
stay for an hour, because a reader may have listed them. A death at any point leaves a store that reads the same.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sweeplaw.orchestrator.store import atomic, claims, clocks, writer
from sweeplaw.orchestrator.store.compare_and_swap import Content, swap
from sweeplaw.orchestrator.store.garbage import GRACE, LOCK, age, sweep
from sweeplaw.orchestrator.store.journal import lock
from sweeplaw.trials.record import CURVE_COLUMNS, TRIAL_COLUMNS
from sweeplaw.trials.store_format import columns
from sweeplaw.trials.store_format.id_index import encoded, name_of
from sweeplaw.trials.store_format.journal import decode
from sweeplaw.trials.store_format.layout import MERGED, RECENCY, Location, catalog, identify, locate, segment_of
from sweeplaw.trials.store_format.snapshot import StorePart, holding, snapshot

TARGET_ROWS = 500_000  # a merge of this size takes about 1 GB and ten seconds
_LEASE = dt.timedelta(minutes=15)
_DAMAGE = (pa.ArrowInvalid, OSError)


@dataclass(slots=True)
class Compacted:
    """What a compaction did, and what it found damaged (now in quarantine/)."""

    merged: list[str] = field(default_factory=list)
    replaced: int = 0
    rows: int = 0
    removed: int = 0
    quarantined: list[str] = field(default_factory=list)
    busy: bool = False


def compact(location: Location, *, grace: dt.timedelta = GRACE, target_rows: int = TARGET_ROWS) -> Compacted:
    """Merge what is small, quarantine what is damaged, remove what was replaced longer than ``grace`` ago.

    One compaction at a time: a second one finds it busy and does nothing. Raises OSError (a full disk changes nothing).
    """
    done = Compacted()
    with _alone(location) as alone:
        if not alone:
            return Compacted(busy=True)
        writer.recover(location)
        _quarantine(location, done)
        for batch in _batches(location, target_rows):
            _merge(location, batch, done)
        done.removed += sweep(location, grace)
    return done


def _batches(location: Location, target_rows: int) -> list[list[str]]:
    """Names to merge together: all that is not merged yet, and merged parts of less than half the target."""
    now = snapshot(location)
    rows = {part.name: part.rows for part in now.trials if not part.merged or part.rows < target_rows // 2}
    batches: list[list[str]] = [[]]
    size = 0
    for name in sorted(rows, key=lambda name: rows[name]):
        if batches[-1] and size + rows[name] > target_rows:
            batches.append([])
            size = 0
        batches[-1].append(name)
        size += rows[name]
    batches[-1].extend(f"{name}.jsonl" for name in _abandoned(location))
    return [batch for batch in batches if len(batch) > 1 or (batch and not batch[0].startswith(MERGED))]


def _abandoned(location: Location) -> list[str]:
    """Journal objects of launches without a living lease, silent for an hour (a local journal has its lock instead)."""
    if location.local:
        return []
    now = clocks.of_store(location)
    living = claims.living(location, now)
    names = [name for name in catalog(location).journal if segment_of(name).rpartition("-")[0] not in living]
    return [name for name in names if age(location, f"journal/{name}.jsonl", now) > GRACE]


def _merge(location: Location, batch: Sequence[str], done: Compacted) -> None:
    """Merge ``batch`` and every merged part that holds one of its trials, so that merged parts stay without repeats."""
    batch = [*batch, *_holding(location, batch)]
    trials, failed = _tables(location, "trials", batch)
    curves, _ = _tables(location, "curves", batch)
    earlier, _ = _tables(location, "earlier", batch)
    if failed:  # damaged inside, behind a good footer: set aside now, merged without it the next time
        for name in failed:
            _set_aside(location, name, done)
        return
    latest, superseded = _latest(_concatenated(trials))
    name = f"{MERGED}{secrets.token_hex(8)}"
    left = _concatenated([*earlier, superseded])
    if curves:
        points = _concatenated(curves)
        order = [("trial_id", "ascending"), ("attempt", "ascending"), ("step", "ascending")]
        atomic.publish_table(location, f"curves/{name}.parquet", points.sort_by(order))
    if left.num_rows:
        atomic.publish_table(location, f"earlier/{name}.parquet", left)
    atomic.publish_table(location, f"trials/{name}.parquet", latest)
    if location.local:
        atomic.publish(location, name_of(name), encoded(latest["trial_id"].to_pylist()))
    replaces = sorted({*batch, *_replaced_by(location, batch)})
    atomic.publish_json(location, f"merges/{name}.json", {"replaces": replaces, "rows": latest.num_rows})
    done.merged.append(name)
    done.replaced += len(batch)
    done.rows += latest.num_rows


def _holding(location: Location, batch: Sequence[str]) -> list[str]:
    """Merged parts outside the batch that share a trial with it."""
    now = snapshot(location)
    inside = [part for part in now.trials if part.name in batch]
    outside = [part for part in now.trials if part.merged and part.name not in batch]
    if not outside:
        return []
    rows = [row["trial_id"] for name in batch if name.endswith(".jsonl") for row in _lines(location, name).trials]
    ids = pa.chunked_array([pa.array(rows, pa.string()), *(_ids(location, part).combine_chunks() for part in inside)])
    near = holding(location, outside, ids.to_pylist())
    return [part.name for part in near if pc.any(pc.is_in(_ids(location, part), ids)).as_py()]


def _ids(location: Location, part: StorePart) -> pa.ChunkedArray:
    return pq.read_table(location.path(part.path), columns=["trial_id"], filesystem=location.filesystem)["trial_id"]


def _tables(location: Location, folder: str, batch: Sequence[str]) -> tuple[list[pa.Table], list[str]]:
    """The tables of a batch in one folder, and the names of those that are damaged inside."""
    present = {*location.names(folder, ".parquet")}
    found, failed = [], []
    for name in batch:
        if name.endswith(".jsonl") and folder != "earlier":
            rows = _lines(location, name)
            found.append(
                columns.table(rows.trials, TRIAL_COLUMNS)
                if folder == "trials"
                else columns.table(rows.curves, CURVE_COLUMNS)
            )
        elif name in present:
            try:
                found.append(_verified(location, f"{folder}/{name}.parquet"))
            except _DAMAGE:
                failed.append(name)
    return [table for table in found if table.num_rows], failed


def _lines(location: Location, name: str) -> Any:
    return decode(location.read(f"journal/{name}"))


def _verified(location: Location, name: str) -> pa.Table:
    """The table, every page checked against its checksum."""
    return pq.read_table(
        location.path(name), filesystem=location.filesystem, page_checksum_verification=True, partitioning=None
    )


def _concatenated(tables: Sequence[pa.Table]) -> pa.Table:
    return columns.joined(tables) if tables else columns.table([], TRIAL_COLUMNS)


def _latest(trials: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The latest attempt of each trial, sorted by id, and all the others."""
    keys = {"trial_id": trials["trial_id"], **{name: _sortable(trials[name]) for name in RECENCY}}
    order = pc.sort_indices(pa.table(keys), sort_keys=[(name, "ascending") for name in keys])
    ids = trials["trial_id"].take(order).combine_chunks()
    last = np.ones(len(ids), dtype=bool)
    last[:-1] = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
    positions = order.to_numpy()
    return trials.take(pa.array(positions[last])), trials.take(pa.array(positions[~last]))


def _sortable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text, or as whole numbers; unknown before all."""
    if pa.types.is_dictionary(column.type) or pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return pc.fill_null(column.cast(pa.string()), "")
    return pc.fill_null(column.cast(pa.int64()), -(2**62))


def _replaced_by(location: Location, batch: Sequence[str]) -> set[str]:
    """What the merged parts in ``batch`` replaced and whose files linger: the new part has to hide them too."""
    replaced: set[str] = set()
    for name in batch:
        if name.startswith(MERGED):
            replaced.update(location.read_json(f"merges/{name}.json")["replaces"])
    lingering = {*location.names("trials", ".parquet"), *(f"{n}.jsonl" for n in location.names("journal", ".jsonl"))}
    return replaced & lingering


def _quarantine(location: Location, done: Compacted) -> None:
    for file in snapshot(location).damaged:
        folder, _, name = file.partition("/")
        _set_aside(location, name.removesuffix(".parquet"), done, (folder,))


def _set_aside(location: Location, name: str, done: Compacted, folders: Sequence[str] = ("trials", "curves")) -> None:
    """Move damaged files where nothing reads them; a person may still repair them."""
    for folder in folders:
        if location.exists(f"{folder}/{name}.parquet"):
            aside = f"quarantine/{folder}-{name}.parquet"
            location.filesystem.move(location.path(f"{folder}/{name}.parquet"), location.path(aside))
            done.quarantined.append(f"{folder}/{name}.parquet is damaged and lies in {aside} now")


@contextlib.contextmanager
def _alone(location: Location) -> Iterator[bool]:
    """Whether this is the only compaction: by a lock, or on an object store by a lease."""
    if location.local:
        descriptor = os.open(location.path(f"merges/{LOCK}"), os.O_RDWR | os.O_CREAT, 0o666)
        try:
            yield lock(descriptor, wait=False)
        finally:
            os.close(descriptor)
        return
    own = secrets.token_hex(8)
    try:
        yield _lease(location, own)
    finally:
        swap(location, "claims/compaction.json", lambda held: {} if held.get("holder") == own else held)


def _lease(location: Location, own: str) -> bool:
    def take(held: Content) -> Content:
        now = clocks.of_store(location)
        if held and dt.datetime.fromisoformat(held["expires"]) > now:
            return held
        return {"holder": own, "expires": (now + _LEASE).isoformat()}

    return swap(location, "claims/compaction.json", take).get("holder") == own


def main(uri: str) -> None:
    """Compact the store at ``uri``: what a writer starts as a process of its own."""
    if hasattr(os, "nice"):
        os.nice(10)
    location = locate(uri)
    identify(location)
    compact(location)


if __name__ == "__main__":
    main(sys.argv[1])
