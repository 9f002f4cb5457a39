"""Verification of the Parquet files of a store against their checksums, once per file and state.

A file is read completely (1 to 3 GB/s) when it is first seen, and again when its inode, size or time of change differs.
What was verified is remembered in this process, and for larger files in the user's cache folder
(``$XDG_CACHE_HOME/sweeplaw``), because a reader may have no permission to write into the store. A file without a
checksum of its own, from an older version, is verified by the checksums of its pages, which decodes all of it.

An object is downloaded for it, also once per state (bytes and time) and user. Larger ones than `DOWNLOADED_BYTES` are
verified only before what they were merged from is removed, because whoever asks for a few columns may be far away.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow.parquet as pq

from sweeplaw.trials.store_format.checksum import check_parquet
from sweeplaw.trials.store_format.location import Location

REMEMBERED_BYTES = 1 << 20  # smaller files are verified by every process: that takes less than a millisecond
DOWNLOADED_BYTES = 64 << 20  # about a million trials
_BUFFER_BYTES = 8 << 20  # of one request to an object store
State = tuple[int, int, int]  # inode, bytes, time of change in nanoseconds

_verified: dict[str, State] = {}  # by path; in this process


@contextlib.contextmanager
def verifier(location: Location, *, everything: bool = False) -> Iterator[Verifier]:
    """Yield a verifier of the files at ``location``; afterwards remember what it has verified.

    ``everything``: objects of any size, and anew.
    """
    made = Verifier(location, everything=everything)
    yield made
    made.remember()


class Verifier:
    """Verifies files of one store. Safe for several threads."""

    def __init__(self, location: Location, *, everything: bool) -> None:
        self._location, self._everything = location, everything
        self._objects: dict[str, dict[str, State]] = {}
        self._lock = threading.Lock()
        self._remembered: dict[str, State] | None = None
        self._fresh: dict[str, State] = {}

    def verify(self, name: str) -> None:
        """Return if the checksums of the Parquet file ``name`` match its content.

        Raise ChecksumError, pa.ArrowInvalid, FileNotFoundError, OSError.
        """
        if not self._location.local:
            self._verify_object(name)
            return
        path = self._location.readable(name)
        state = _state(path)
        if _verified.get(path) == state:
            return
        if state[1] < REMEMBERED_BYTES:
            _verify(path)
        elif self._known().get(name) != state:
            _verify(path)
            self._fresh[name] = state
        _verified[path] = state

    def _verify_object(self, name: str) -> None:
        state, uri = self._object(name), f"{self._location.uri}/{name}"
        if state is None:
            raise FileNotFoundError(name)
        known = state in (_verified.get(uri), self._known().get(name))
        if not self._everything and (known or state[1] > DOWNLOADED_BYTES):
            return
        source: Any = self._location.open(name)
        with io.BufferedReader(source, _BUFFER_BYTES) as file:
            _verify_content(file, file)
        self._fresh[name] = _verified[uri] = state

    def _object(self, name: str) -> State | None:
        """Return the state of an object, None if there is none; a folder is listed once."""
        folder = name.partition("/")[0]
        with self._lock:
            if folder not in self._objects:
                self._objects[folder] = self._location.states(folder)
        return self._objects[folder].get(name)

    def remember(self) -> None:
        """Add what was verified to the user's cache folder. Nothing is remembered where that cannot be written."""
        if not self._fresh:
            return
        there = self._location.exists if self._location.local else self._object
        kept = {name: state for name, state in _load(self._location).items() if there(name)}
        _save(self._location, {**kept, **self._fresh})

    def _known(self) -> dict[str, State]:
        if self._remembered is None:
            self._remembered = _load(self._location)
        return self._remembered


def _verify(path: str) -> None:
    with open(path, "rb") as file:
        _verify_content(file, path)


def _verify_content(file: BinaryIO, source: Any) -> None:
    """Verify an open Parquet file; ``source`` is the same for Arrow."""
    if check_parquet(file):
        return
    file.seek(0)
    with pq.ParquetFile(source, page_checksum_verification=True) as pages:
        for _ in pages.iter_batches():
            pass


def _state(path: str) -> State:
    status = os.stat(path)
    return status.st_ino, status.st_size, status.st_ctime_ns


def _memory(location: Location) -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(folder) / "sweeplaw" / "verified" / f"{hashlib.sha256(location.root.encode()).hexdigest()[:24]}.json"


def _load(location: Location) -> dict[str, State]:
    """Return what is remembered; nothing if there is no such file, or it is damaged."""
    try:
        content = json.loads(_memory(location).read_bytes())
        return {str(name): (int(inode), int(size), int(changed)) for name, (inode, size, changed) in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _save(location: Location, states: dict[str, State]) -> None:
    path = _memory(location)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(states), encoding="utf-8")
        os.replace(temporary, path)
