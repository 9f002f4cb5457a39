"""Journals that a writer appends to: one local file, fsynced at each write, or one small object per write.

A local journal is locked while its writer is alive, so a process that acquires the lock knows that the writer is dead.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import secrets
import time
from typing import Protocol

from sweeplaw.orchestrator.store import atomic
from sweeplaw.trials.store_format import confined
from sweeplaw.trials.store_format.atomic_file import sync
from sweeplaw.trials.store_format.journal import count_file
from sweeplaw.trials.store_format.location import Location

COUNT_SECONDS = 10.0  # a count takes two fsyncs
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class Journal(Protocol):
    """Destination of the lines of one segment."""

    segment: str

    def append(self, line: bytes) -> None:
        """Append ``line`` durably. Raise OSError; continue with a new journal then."""
        ...

    def remove(self) -> None:
        """Delete the segment's files; its part has the rows."""
        ...

    def close(self) -> None:
        """Close the segment and keep its files."""
        ...


def new(location: Location, launch_id: str) -> Journal:
    """Return a new segment of this launch with a unique name. Raise OSError."""
    segment = f"{launch_id}-{secrets.token_hex(5)}"
    return LocalJournal(location, segment) if location.local else ObjectJournal(location, segment)


class LocalJournal:
    """A journal in one append-only file, with the count of its lines beside it."""

    def __init__(self, location: Location, segment: str) -> None:
        self.segment = segment
        self._location, self._name = location, f"journal/{segment}.jsonl"
        self._size = self._lines = 0
        self._counted_at = -math.inf
        self._open(os.O_CREAT | os.O_EXCL)
        sync(location.path("journal"))

    def _open(self, flags: int) -> None:
        self._file = confined.open_file(self._location.root, self._name, os.O_WRONLY | os.O_APPEND | flags, 0o644)
        self._status = os.fstat(self._file)
        lock(self._file, wait=True)
        if not still_there(self._file, self._location, self._name):  # recovery removed the file before it was locked
            raise FileNotFoundError(self._location.path(self._name))

    def append(self, line: bytes) -> None:
        """Write and fsync. On failure the file is truncated to the last acknowledged line.

        The lines are counted at the first one, and then every `COUNT_SECONDS`.
        """
        if not confined.is_open(self._file, self._status):
            self._open(0)
            if os.fstat(self._file).st_size != self._size:
                raise OSError(errno.EBADF, f"{self._name} was closed, and others have written to it")
        try:
            remaining = memoryview(line)
            while remaining:
                remaining = remaining[os.write(self._file, remaining) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(line)
        self._lines += 1
        if time.monotonic() - self._counted_at >= COUNT_SECONDS:
            with contextlib.suppress(OSError):  # the line is safe, and misses its count at worst
                atomic.publish_json(self._location, count_file(self.segment), {"lines": self._lines})
            self._counted_at = time.monotonic()

    def remove(self) -> None:
        """Unlink before unlocking, so that no recovery mistakes the file for a dead writer's."""
        discard(self._location, self.segment)
        self.close()

    def close(self) -> None:
        if confined.is_open(self._file, self._status):
            os.close(self._file)


class ObjectJournal:
    """A journal of immutable objects, one per write."""

    def __init__(self, location: Location, segment: str) -> None:
        self.segment = segment
        self._location = location
        self._count = 0

    def append(self, line: bytes) -> None:
        self._count += 1  # before the PUT: one that fails may still have succeeded remotely, and `remove` must find it
        atomic.publish(self._location, self._name(self._count), line)

    def remove(self) -> None:
        for number in range(1, self._count + 1):
            atomic.remove(self._location, self._name(number))

    def close(self) -> None:
        """Do nothing; no file is open."""

    def _name(self, number: int) -> str:
        return f"journal/{self.segment}.{number:08d}.jsonl"


def discard(location: Location, segment: str) -> None:
    """Remove a local journal whose rows are sealed: its count first, without which it is not missed. Raise OSError."""
    for name in (count_file(segment), f"journal/{segment}.jsonl"):
        atomic.remove(location, name)


def lock(descriptor: int, *, wait: bool) -> bool:
    """Lock an open file. Return False if another process has the lock, or the file system does not support locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise
    return True


def still_there(descriptor: int, location: Location, name: str) -> bool:
    """Return whether ``name`` still refers to the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), confined.status(location.root, name))
    except (FileNotFoundError, confined.IrregularError):
        return False
