"""What lies in a store and counts no more: how old it is, and when it goes.

Files that a merge replaced stay for a while, because a reader may have listed them; so do the files of a maker that may
still be at work.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from sweeplaw.orchestrator.store import atomic, claims, clocks
from sweeplaw.trials.store_format.id_index import name_of
from sweeplaw.trials.store_format.layout import MERGED, Location

GRACE = dt.timedelta(hours=1)
LOCK = ".lock"  # the one hidden file that is nobody's leftover


def sweep(location: Location, grace: dt.timedelta) -> int:
    """Remove what was replaced longer than ``grace`` ago, and what never came to count because its maker died: merged
    parts, ids of claims, files without their name. How many files went. Raises OSError.
    """
    now, removed = clocks.of_store(location), 0
    merges = location.names("merges", ".json")
    for merge in merges:
        if location.exists(f"merges/{merge}.json") and age(location, f"merges/{merge}.json", now) >= grace:
            for name in location.read_json(f"merges/{merge}.json")["replaces"]:
                removed += _remove(location, name)
    for name in location.names("trials", ".parquet"):
        if name.startswith(MERGED) and name not in merges and age(location, f"trials/{name}.parquet", now) >= GRACE:
            removed += _remove(location, name)
    for ids in claims.unnamed(location):
        if age(location, ids, now) >= GRACE:
            atomic.remove(location, ids)
            removed += 1
    if location.local:
        removed += _sweep_unfinished(Path(location.root), now - GRACE)
    return removed


def _sweep_unfinished(root: Path, old: dt.datetime) -> int:
    """Remove the temporary files of writers that died before their rename."""
    left = [path for path in root.glob("*/.*") if path.is_file() and path.name != LOCK]
    dead = [path for path in left if dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC) < old]
    for path in dead:
        path.unlink(missing_ok=True)
    return len(dead)


def _remove(location: Location, name: str) -> int:
    """Every file of a replaced name; its merges/ file last, for it is what hides the files before it."""
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
    """How old the file is, by the clock of the store; nothing for one that is gone."""
    try:
        return now - clocks.written(location, name)
    except FileNotFoundError:
        return dt.timedelta(0)
