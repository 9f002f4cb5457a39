"""Garbage collection: remove the files of a store that no longer count.

Files replaced by a merge are kept for a while because a reader may have listed them, and so are incomplete files whose
writer may still be active.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from sweeplaw.orchestrator.store import atomic, claims, clocks
from sweeplaw.trials.store_format.id_index import name_of
from sweeplaw.trials.store_format.layout import MERGED, Location

GRACE = dt.timedelta(hours=1)
LOCK = ".lock"  # the one hidden file that is not garbage


def collect(location: Location, grace: dt.timedelta) -> int:
    """Remove the files replaced more than ``grace`` ago, and the incomplete ones of dead writers (merged parts, ids of
    claims, temporary files). Return the number of removed files. Raise OSError.
    """
    now, removed = clocks.store_time(location), 0
    merges = location.names("merges", ".json")
    for merge in merges:
        if location.exists(f"merges/{merge}.json") and age(location, f"merges/{merge}.json", now) >= grace:
            for name in location.read_json(f"merges/{merge}.json")["replaces"]:
                removed += _remove(location, name)
    for name in location.names("trials", ".parquet"):
        if name.startswith(MERGED) and name not in merges and age(location, f"trials/{name}.parquet", now) >= GRACE:
            removed += _remove(location, name)
    for ids in claims.unreferenced(location):
        if age(location, ids, now) >= GRACE:
            atomic.remove(location, ids)
            removed += 1
    if location.local:
        removed += _remove_temporary(Path(location.root), now - GRACE)
    return removed


def _remove_temporary(root: Path, before: dt.datetime) -> int:
    """Remove the temporary files of writers that died before their rename."""
    temporary = [path for path in root.glob("*/.*") if path.is_file() and path.name != LOCK]
    stale = [path for path in temporary if dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC) < before]
    for path in stale:
        path.unlink(missing_ok=True)
    return len(stale)


def _remove(location: Location, name: str) -> int:
    """Remove every file of a replaced name; its merges/ file last, because it hides the files it replaced."""
    files = (
        [f"journal/{name}"]
        if name.endswith(".jsonl")
        else [f"{f}/{name}.parquet" for f in ("trials", "curves", "earlier")]
    )
    present = [file for file in [*files, name_of(name), f"merges/{name}.json"] if location.exists(file)]
    for file in present:
        atomic.remove(location, file)
    return len(present)


def age(location: Location, name: str, now: dt.datetime) -> dt.timedelta:
    """Return the age of the file at ``now`` (store time); zero if it is gone."""
    try:
        return now - clocks.modified_at(location, name)
    except FileNotFoundError:
        return dt.timedelta(0)
