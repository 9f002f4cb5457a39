"""Garbage collection: remove the files of a store that no longer count.

Files replaced by a merge are kept for a while because a reader may have listed them, and so are incomplete files whose
writer may still be active. What a merge replaced is removed only if every file of the merged part has been verified,
and a merged part without a merges/ file only if nothing would be lost with it.
"""

from __future__ import annotations

import datetime as dt
import re

import pyarrow as pa
import pyarrow.parquet as pq

from sweeplaw.orchestrator.store import atomic, claims, clocks
from sweeplaw.trials.store_format import confined
from sweeplaw.trials.store_format.layout import FOLDERS, LATER_FOLDERS, PART_FOLDERS, merged, replaced_by
from sweeplaw.trials.store_format.location import Location
from sweeplaw.trials.store_format.parts.id_index import name_of
from sweeplaw.trials.store_format.parts.merged_parts import holds_its_rows
from sweeplaw.trials.store_format.parts.snapshot import holding, snapshot

GRACE = dt.timedelta(hours=1)
# As `atomic_file` and `clocks` name them. Other hidden files belong to the user or to the file system (NFS).
_TEMPORARY = re.compile(
    rf"\.{{1,2}}{confined.BARE}\.(json|jsonl|ndjson|parquet|ids|safetensors|time)\.[0-9a-f]{{8}}|\.[0-9a-f]{{8}}\.time"
)


def collect(location: Location, grace: dt.timedelta) -> int:
    """Remove the files replaced more than ``grace`` ago, and the incomplete ones of dead writers (merged parts, ids of
    claims, temporary files). Return the number of removed files. Raise OSError, DamagedFileError.
    """
    now, removed = clocks.store_time(location), 0
    for merge in location.names("merges", ".json"):
        if location.exists(f"merges/{merge}.json") and age(location, f"merges/{merge}.json", now) >= grace:
            removed += _remove_replaced(location, merge)
    for name in _uncommitted(location, now):
        removed += _remove(location, name) if _is_redundant(location, name) else 0
    for ids in claims.unreferenced(location):
        if age(location, ids, now) >= GRACE:
            atomic.remove(location, ids)
            removed += 1
    if location.local:
        for name in _temporary(location):
            if age(location, name, now) >= GRACE:
                atomic.remove(location, name)
                removed += 1
    return removed


def _remove_replaced(location: Location, merge: str) -> int:
    """Remove what the merged part replaced, unless it is damaged: it may be all that is left of these rows."""
    names = replaced_by(location, merge)
    if not any(_files(location, name) for name in names) or not holds_its_rows(location, merge):
        return 0
    return sum(_remove(location, name) for name in names)


def orphans(location: Location) -> list[str]:
    """Return a sentence for each merged part that does not count, has trials that nothing else has, and is kept."""
    kept = _uncommitted(location, clocks.store_time(location))
    return [f"merges/{name}.json is missing; trials/{name}.parquet has trials that no other part has" for name in kept]


def _uncommitted(location: Location, now: dt.datetime) -> list[str]:
    """Return the merged parts, older than the grace period, without a merge record (a file in merges/).

    The writer died first, or the merge record was lost. A damaged merge record counts as present.
    """
    parts = [name for name in location.names("trials", ".parquet") if merged(name)]
    free = [name for name in parts if location.is_free(f"merges/{name}.json")]
    return [name for name in free if age(location, f"trials/{name}.parquet", now) >= GRACE]


def _is_redundant(location: Location, part: str) -> bool:
    """Return whether every trial of a part that does not count is in one that does, or in a journal."""
    now = snapshot(location)
    try:
        ids = _ids(location, f"trials/{part}.parquet")
        for other in holding(location, now.trials, ids):
            ids -= _ids(location, other.path)
    except (pa.ArrowException, OSError):
        return False
    return ids <= {row["trial_id"] for row in now.journal.trials}


def _ids(location: Location, name: str) -> set[str]:
    column = pq.read_table(location.readable(name), columns=["trial_id"], filesystem=location.filesystem)["trial_id"]
    return set(column.to_pylist())


def _temporary(location: Location) -> list[str]:
    """Return the temporary files that writers have in the folders of the store, those of dead writers included."""
    return [
        f"{folder}/{name}"
        for folder in (*FOLDERS, *LATER_FOLDERS)
        for name in confined.files(location.root, folder, _TEMPORARY)
    ]


def _remove(location: Location, name: str) -> int:
    """Remove every file of a replaced name."""
    present = _files(location, name)
    for file in present:
        atomic.remove(location, file)
    return len(present)


def _files(location: Location, name: str) -> list[str]:
    """Return the files of a replaced name that are there, in the order in which to remove them.

    The sealed/ file is first, because it requires the others to be there, and the merges/ file last, because it hides
    the files that it replaced.
    """
    files = [f"journal/{name}"] if name.endswith(".jsonl") else [f"{f}/{name}.parquet" for f in PART_FOLDERS]
    every = [f"sealed/{name}.json", *files, name_of(name), f"merges/{name}.json"]
    return [file for file in every if location.exists(file)]


def age(location: Location, name: str, now: dt.datetime) -> dt.timedelta:
    """Return the age of the file at ``now`` (store time); zero if it is gone."""
    try:
        return now - clocks.modified_at(location, name)
    except FileNotFoundError:
        return dt.timedelta(0)
