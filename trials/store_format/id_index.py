"""Which merged parts may hold a trial, told without reading them: beside each lies a sorted list of its ids' hashes.

`merges/<part>.ids` is 8 bytes a trial, mapped into memory, where a search touches a few pages. It is a help and never
the answer: what it lets through is read and compared by id, and a part without a whole one is let through. On an object
store it would be fetched whole, which is no faster than the ids themselves, so there is none.
"""

from __future__ import annotations

import functools
import mmap
import os
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sweeplaw.trials.store_format.layout import Location

Hashes = NDArray[np.uint64]

_WORD = np.dtype("<u8")


def name_of(part: str) -> str:
    """The file that tells what the merged part of this name holds."""
    return f"merges/{part}.ids"


def hashes(trial_ids: Iterable[str]) -> Hashes:
    """A hash of each id: the sum of its 8-byte words, each times an odd number of its own, modulo 2^64.

    Multilinear hashing (Dietzfelbinger et al. 1997; Lemire and Kaser 2014, section 3): the zeros that fill up short ids
    change nothing, and two ids that differ in one word alone never meet.
    """
    written = np.array([trial_id.encode() for trial_id in trial_ids], dtype=np.bytes_)
    if not written.size:
        return np.empty(0, _WORD)
    width = -(-written.dtype.itemsize // _WORD.itemsize) * _WORD.itemsize
    words = written.astype(f"S{width}").view(_WORD).reshape(len(written), -1)
    factors = np.random.PCG64(0).random_raw(words.shape[1]) | np.uint64(1)  # the same in every version of numpy
    return (words * factors).sum(axis=1, dtype=np.uint64)


def encoded(trial_ids: Iterable[str]) -> bytes:
    """What the file of a part with these trials holds."""
    return np.sort(hashes(trial_ids)).astype(_WORD).tobytes()


def may_hold(location: Location, part: str, rows: int, wanted: Hashes) -> NDArray[np.bool_]:
    """Of each id, by its hash, whether the merged part of this name and number of rows may hold it."""
    held = _held(location, part)
    if held is None or len(held) != rows:
        return np.ones(len(wanted), dtype=bool)
    return held[np.minimum(held.searchsorted(wanted), rows - 1)] == wanted


def _held(location: Location, part: str) -> Hashes | None:
    if not location.local:
        return None
    path = location.path(name_of(part))
    try:
        status = os.stat(path)
        return _mapped(path, status.st_ino, status.st_size, status.st_mtime_ns)
    except (OSError, ValueError):  # an older store has none, and a torn one is no whole number of hashes
        return None


@functools.lru_cache(maxsize=1024)
def _mapped(path: str, inode: int, size: int, changed_ns: int) -> Hashes:
    with open(path, "rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), _WORD)
