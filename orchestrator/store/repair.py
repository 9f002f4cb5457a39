"""What a compaction does with damaged parts: set a file aside, or undo a merge of which nothing is lost."""

from __future__ import annotations

import contextlib

from sweeplaw.orchestrator.store import atomic, writer
from sweeplaw.trials.store_format.damage import DamagedFileError
from sweeplaw.trials.store_format.layout import PART_FOLDERS, counts_of
from sweeplaw.trials.store_format.location import Location
from sweeplaw.trials.store_format.parts.id_index import name_of


def quarantine(location: Location, file: str) -> str:
    """Move a damaged file to quarantine/, where nothing reads it and a person may repair it; return its new name.

    Its loss is then known: the file is no longer expected to be there. Raise OSError.
    """
    folder, _, name = file.removesuffix(".parquet").partition("/")
    if location.exists(f"sealed/{name}.json"):
        with contextlib.suppress(DamagedFileError):
            counts = counts_of(location, name)
            counts.pop(folder, None)
            writer.count(location, name, **counts)
    aside = f"quarantine/{folder}-{name}.parquet"
    atomic.move(location, file, aside)
    return aside


def undo(location: Location, merge: str) -> None:
    """Remove a damaged merged part, so that what it replaced counts. Raise OSError.

    Its trials/ file goes first, because it does not count without it whatever else is left, and its merges/ file last.
    """
    files = [f"{folder}/{merge}.parquet" for folder in PART_FOLDERS]
    for file in (*files, f"sealed/{merge}.json", name_of(merge), f"merges/{merge}.json"):
        atomic.remove(location, file)
