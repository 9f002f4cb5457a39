"""A file that another process creates, appends to, or writes anew."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Self


class GrowingFile:
    """Reads what is added to the file at ``path``, each line once, also when it is replaced by a longer version of
    itself; then its first line comes again if it is a ``header``."""

    def __init__(self, path: Path, *, header: bool) -> None:
        self._path, self._header = path, header
        self._file: BinaryIO | None = None
        self._lines = 0  # read so far
        self._skip = 0  # lines of a new version that were read in an earlier one

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def read(self, size: int) -> bytes:
        """Return up to ``size`` new bytes; none if there are none yet."""
        try:
            file = self._current()
        except OSError:  # not written yet, or being replaced
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

    def _current(self) -> BinaryIO:
        if self._file is not None:
            opened, now = os.fstat(self._file.fileno()), os.stat(self._path)
            if opened.st_ino == now.st_ino and now.st_size >= self._file.tell():
                return self._file
            self._file.close()
            self._file, self._skip = None, self._lines
        self._file = open(self._path, "rb")  # noqa: SIM115 - closed with this object
        return self._file
