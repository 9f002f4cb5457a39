"""Files that a script may write, replace or remove while they are used here. None is waited for, such as a FIFO."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

PIECE = 1 << 16  # bytes read at once


def created(path: Path) -> BinaryIO:
    """Return a new empty file, open for writing and reading, in place of one that an earlier attempt left at ``path``.

    Raise OSError.
    """
    path.unlink(missing_ok=True)
    return open(path, "x+b", buffering=0)


def regular(path: Path) -> BinaryIO:
    """Open a file to read it. Raise OSError if there is none, or something else, such as a FIFO."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


class GrowingFile:
    """Reads what is added to the file at ``path``, each line once, also when it is replaced by a longer version of
    itself; then its first line comes again if it is a ``header``. Of a file that is removed the rest is read."""

    def __init__(self, path: Path, *, header: bool) -> None:
        self._path, self._header = path, header
        self._file: BinaryIO | None = None
        self._lines = 0  # read so far
        self._skip = 0  # lines of a new version that were read in an earlier one

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError):  # it is not written yet
            self._current()
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def read(self, size: int) -> bytes:
        """Return up to ``size`` new bytes; none if there are none yet."""
        try:
            file = self._current()
        except OSError:  # not written yet, or no regular file
            return b""
        while self._skip:
            at, line = file.tell(), file.readline()
            if not line.endswith(b"\n"):
                file.seek(at)
                return b""
            self._skip -= 1
            if at == 0 and self._header:
                return b"\n" + line
        data = file.read(size)
        self._lines += data.count(b"\n")
        return data

    def pieces(self, limit: int) -> Iterator[bytes]:
        """Yield new bytes in pieces until there are none, or more than ``limit`` of them."""
        while limit >= 0 and (piece := self.read(PIECE)):
            limit -= len(piece)
            yield piece

    def size(self) -> int:
        """Return the size of the file now, or of its newest version; 0 if it is not written yet."""
        try:
            return os.fstat(self._current().fileno()).st_size
        except OSError:
            return 0

    def _current(self) -> BinaryIO:
        if self._file is None:
            self._file = regular(self._path)
            return self._file
        opened = os.fstat(self._file.fileno())
        with contextlib.suppress(OSError):  # it is gone, being replaced, or no regular file now
            now = os.stat(self._path)
            if opened.st_ino != now.st_ino or now.st_size < self._file.tell():
                new = regular(self._path)
                self._file.close()
                self._file, self._skip = new, self._lines
        return self._file
