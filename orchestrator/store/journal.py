"""The files a writer appends to: one local file, fsynced at each write, or one small object a write.

A local journal file is locked for as long as its writer lives. Whoever can lock it knows that the writer is dead.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from typing import Protocol

from sweeplaw.orchestrator.store import atomic
from sweeplaw.trials.store_format.atomic_file import sync
from sweeplaw.trials.store_format.layout import Location

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class Journal(Protocol):
    """Where the lines of one segment go."""

    segment: str

    def append(self, line: bytes) -> None:
        """``line`` is durable when this returns. Raises OSError; then use a new journal."""
        ...

    def remove(self) -> None:
        """Delete the segment's files; its part holds the rows now."""
        ...

    def close(self) -> None:
        """Let go of the segment; its files stay."""
        ...


def new(location: Location, launch_id: str) -> Journal:
    """A fresh segment of this launch, under a name that never was used. Raises OSError."""
    segment = f"{launch_id}-{secrets.token_hex(5)}"
    return LocalJournal(location, segment) if location.local else ObjectJournal(location, segment)


class LocalJournal:
    """One appended file."""

    def __init__(self, location: Location, segment: str) -> None:
        self.segment = segment
        self._path = location.path(f"journal/{segment}.jsonl")
        self._folder = location.path("journal")
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
        self._size = 0
        lock(self._file, wait=True)
        if not still_there(self._file, self._path):  # a recovery saw the empty file before we locked it
            raise FileNotFoundError(self._path)
        sync(self._folder)

    def append(self, line: bytes) -> None:
        """Write and fsync. When that fails, the file is cut back to the last acknowledged line."""
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(line)

    def remove(self) -> None:
        """Unlink before unlocking, so that nobody takes it for a dead writer's."""
        os.unlink(self._path)
        self.close()

    def close(self) -> None:
        os.close(self._file)


class ObjectJournal:
    """One immutable object a write."""

    def __init__(self, location: Location, segment: str) -> None:
        self.segment = segment
        self._location = location
        self._count = 0

    def append(self, line: bytes) -> None:
        self._count += 1  # first: a PUT that fails for us may still have arrived, and `remove` must find it
        atomic.publish(self._location, self._name(self._count), line)

    def remove(self) -> None:
        for number in range(1, self._count + 1):
            atomic.remove(self._location, self._name(number))

    def close(self) -> None:
        """Nothing is held open."""

    def _name(self, number: int) -> str:
        return f"journal/{self.segment}.{number:08d}.jsonl"


def lock(descriptor: int, *, wait: bool) -> bool:
    """Lock an open file for this process; False when another holds it, or the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise
    return True


def still_there(descriptor: int, path: str) -> bool:
    """Whether ``path`` still names the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
