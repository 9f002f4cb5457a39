"""Index of the trial ids in merged parts: a sorted list of hashes, which rules out parts without reading them.

`merges/<part>.ids` has 8 bytes per trial, then 8 with a checksum. It is memory-mapped and verified once per process (5
million trials: 15 ms). It only excludes parts: a part that it admits is read and compared by id, and a part without a
complete, verified index (an older version wrote no checksum) is admitted. On an object store the index would have to be
fetched completely, which is no faster than fetching the ids, so no index is written there.
"""

from __future__ import annotations

import functools
import mmap
import os
import struct
import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sweeplaw.trials.store_format.location import Location

Hashes = NDArray[np.uint64]

_WORD = np.dtype("<u8")
_CHECKSUM = struct.Struct("<4sI")  # the last word: a tag, and the CRC-32 of all words before
_TAG = b"crc\0"


def name_of(part: str) -> str:
    """Return the path of the index of this merged part."""
    return f"merges/{part}.ids"


def hashes(trial_ids: Iterable[str]) -> Hashes:
    """Return a hash of each id: the sum of its 8-byte words, each times its own odd factor, modulo 2^64.

    Multilinear hashing (Dietzfelbinger et al. 1997; Lemire and Kaser 2014, section 3): padding short ids with zeros
    changes nothing, and two ids that differ in a single word never collide.
    """
    encoded_ids = np.array([trial_id.encode() for trial_id in trial_ids], dtype=np.bytes_)
    if not encoded_ids.size:
        return np.empty(0, _WORD)
    width = -(-encoded_ids.dtype.itemsize // _WORD.itemsize) * _WORD.itemsize
    words = encoded_ids.astype(f"S{width}").view(_WORD).reshape(len(encoded_ids), -1)
    factors = np.random.PCG64(0).random_raw(words.shape[1]) | np.uint64(1)  # the same in every version of numpy
    summed: Hashes = (words * factors).sum(axis=1, dtype=np.uint64)
    return summed


def encoded(trial_ids: Iterable[str]) -> bytes:
    """Return the bytes of the index of a part with these trials."""
    words = np.sort(hashes(trial_ids)).astype(_WORD).tobytes()
    return words + _CHECKSUM.pack(_TAG, zlib.crc32(words))


def is_sound(location: Location, part: str, rows: int) -> bool:
    """Return whether the merged part of this name and number of rows has a complete, verified index."""
    held = _held(location, part)
    return held is not None and len(held) == rows


def may_hold(location: Location, part: str, rows: int, wanted: Hashes) -> NDArray[np.bool_]:
    """Return, for each hash of an id, whether the merged part of this name and number of rows may hold it."""
    held = _held(location, part)
    if held is None or len(held) != rows or not rows:
        return np.ones(len(wanted), dtype=bool)
    found: NDArray[np.bool_] = held[np.minimum(held.searchsorted(wanted), rows - 1)] == wanted
    return found


def _held(location: Location, part: str) -> Hashes | None:
    if not location.local:
        return None
    try:
        path = location.readable(name_of(part))
        status = os.stat(path)
        return _mapped(path, status.st_ino, status.st_size, status.st_ctime_ns)
    except (OSError, ValueError):  # missing, of an older version, torn or damaged
        return None


@functools.lru_cache(maxsize=1024)
def _mapped(path: str, inode: int, size: int, changed_ns: int) -> Hashes:
    """Return the index without its checksum. Raise OSError; ValueError if the checksum is missing or differs."""
    with open(path, "rb") as file:
        words: Hashes = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), _WORD)
    if words[-1:].tobytes() != _CHECKSUM.pack(_TAG, zlib.crc32(words[:-1].data)):
        raise ValueError(f"{path} differs from its checksum")
    return words[:-1]
