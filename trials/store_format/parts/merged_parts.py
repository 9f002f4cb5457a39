"""Merged parts and the files that they replaced: which of the two hold the rows, and which may be removed.

Replaced files are kept for a while. As long as they are there, they stand in for a merged part that is missing or
damaged; and they are removed only once every file of the merged part has been verified.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pyarrow as pa

from sweeplaw.trials.store_format.damage import DamagedFileError
from sweeplaw.trials.store_format.journal import decode
from sweeplaw.trials.store_format.layout import PART_FOLDERS, counts_of, merged, replaced_by
from sweeplaw.trials.store_format.location import Location
from sweeplaw.trials.store_format.parts.part_files import opened
from sweeplaw.trials.store_format.parts.verification import verifier


def holds_its_rows(location: Location, merge: str) -> bool:
    """Return whether the merged part has all rows of the files that it replaced, so that these may be removed.

    Each of its files is verified; and if a replaced file in a folder is still there, it must have one there, too.
    """
    replaced = _replaced(location, merge)
    folders = [f for f in PART_FOLDERS if any(location.exists(f"{f}/{name}.parquet") for name in replaced)]
    return _is_whole(location, merge, folders, everything=True)


def is_replaceable(location: Location, merge: str) -> bool:
    """Return whether the files that the merged part replaced are all there, verified: they have all of its rows."""
    replaced = _replaced(location, merge)
    whole = {name for name in replaced if _stands(location, name)}
    return bool(whole) and replaced <= whole.union(*(_replaced(location, name) for name in whole if merged(name)))


def stands_in(location: Location, merge: str, damaged: Collection[str]) -> bool:
    """Return whether the replaced files count instead of the merged part, of which the files ``damaged`` cannot be
    read: they have all of its rows, or, where its trials cannot be read, at least some.
    """
    replaced = _replaced(location, merge)
    files = (f"journal/{name}" if name.endswith(".jsonl") else f"trials/{name}.parquet" for name in replaced)
    if not any(map(location.exists, files)):
        return False
    return f"trials/{merge}.parquet" in damaged or is_replaceable(location, merge)


def _replaced(location: Location, merge: str) -> frozenset[str]:
    """Return what the merged part replaces besides itself; nothing if its merges/ file is gone or damaged."""
    try:
        return replaced_by(location, merge) - {merge}
    except (FileNotFoundError, DamagedFileError):
        return frozenset()


def _stands(location: Location, name: str) -> bool:
    """Return whether a replaced part, or journal with its suffix, is there as it was written."""
    if name.endswith(".jsonl"):
        try:
            return not decode(location.read(f"journal/{name}")).damaged
        except OSError:
            return False
    return (not merged(name) or bool(_replaced(location, name))) and _is_whole(location, name, ["trials"])


def _is_whole(location: Location, part: str, folders: Iterable[str], *, everything: bool = False) -> bool:
    """Return whether the part has a file in each of ``folders`` and wherever its rows were counted, and all of its
    files are verified (``everything``: as by `verifier`).
    """
    present = (folder for folder in PART_FOLDERS if location.exists(f"{folder}/{part}.parquet"))
    try:
        counts = counts_of(location, part) if location.exists(f"sealed/{part}.json") else {}
        with verifier(location, everything=everything) as checked:
            for folder in {*folders, *counts, *present}:
                opened(location, checked, folder, part, counts.get(folder))
    except (pa.ArrowException, OSError, ValueError, DamagedFileError):
        return False
    return True
