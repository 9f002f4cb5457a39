"""Garbage collection: remove the files of a store that no longer count.

Files replaced by a merge are kept for a while because a reader may have listed them, and so are incomplete files whose
writer may still be active.
"""

from __future__ import annotations

import datetime as dt
import re

from sweeplaw.orchestrator.store import atomic, claims, clocks
from sweeplaw.trials.store_format import confined
from sweeplaw.trials.store_format.id_index import name_of
from sweeplaw.trials.store_format.layout import FOLDERS, LATER_FOLDERS, MERGED, PART_FOLDERS, replaced_by
from sweeplaw.trials.store_format.location import Location

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
    merges = location.names("merges", ".json")
    for merge in merges:
        if location.exists(f"merges/{merge}.json") and age(location, f"merges/{merge}.json", now) >= grace:
            for name in replaced_by(location, merge):
                removed += _remove(location, name)
    for name in location.names("trials", ".parquet"):
        if _is_uncommitted(location, name) and age(location, f"trials/{name}.parquet", now) >= GRACE:
            removed += _remove(location, name)
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


def _is_uncommitted(location: Location, part: str) -> bool:
    """Return whether this is a merged part whose writer died before it wrote the merges/ file. Anything under the name
    of that file, a damaged one too, may stand for it.
    """
    return part.startswith(MERGED) and location.is_free(f"merges/{part}.json")


def _temporary(location: Location) -> list[str]:
    """Return the temporary files that writers have in the folders of the store, those of dead writers included."""
    return [
        f"{folder}/{name}"
        for folder in (*FOLDERS, *LATER_FOLDERS)
        for name in confined.files(location.root, folder, _TEMPORARY)
    ]


def _remove(location: Location, name: str) -> int:
    """Remove every file of a replaced name.

    Its sealed/ file first, because it tells that the others must be there, and its merges/ file last, because it hides
    the files it replaced.
    """
    files = [f"journal/{name}"] if name.endswith(".jsonl") else [f"{f}/{name}.parquet" for f in PART_FOLDERS]
    every = [f"sealed/{name}.json", *files, name_of(name), f"merges/{name}.json"]
    present = [file for file in every if location.exists(file)]
    for file in present:
        atomic.remove(location, file)
    return len(present)


def age(location: Location, name: str, now: dt.datetime) -> dt.timedelta:
    """Return the age of the file at ``now`` (store time); zero if it is gone."""
    try:
        return now - clocks.modified_at(location, name)
    except FileNotFoundError:
        return dt.timedelta(0)
