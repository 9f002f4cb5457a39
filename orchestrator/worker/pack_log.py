"""The log of a pack while it runs: a file that every print reaches at once, so that it survives the worker.

In the store's own folder where that is on a file system; otherwise a scratch file, which is uploaded every
UPLOAD_SECONDS and at the end. A log that cannot be written costs no trial: its output is then dropped.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from sweeplaw.trials.errors import InputError
from sweeplaw.trials.store_format import attempt_log, confined
from sweeplaw.trials.store_format.attempt_log import HEAD_BYTES, TAIL_BYTES
from sweeplaw.trials.store_format.location import Location, locate

CHECK_SECONDS = 1.0  # between two looks at the size
SLACK_BYTES = 1 << 20  # that a section may exceed its bound by while it runs, besides what comes in CHECK_SECONDS
UPLOAD_SECONDS = 30.0
_PIECE = 1 << 20  # bytes read at once
_TRACEBACK = b"Traceback (most recent call last):"


@contextlib.contextmanager
def opened(folder: str | None, name: str, scratch: Path) -> Iterator[PackLog]:
    """Yield the log of this name in ``folder``, a path or URI; with None, one that is not kept.

    A log in which nothing was printed is removed.
    """
    location = _located(folder)
    if location is not None and location.local and os.path.isdir(location.root):
        log = PackLog(location.root, name)
    else:
        log = PackLog(str(scratch), name, location if location and not location.local else None)
    watcher = threading.Thread(target=log.watch, name="pack-log", daemon=True)
    watcher.start()
    try:
        yield log
    finally:
        log.close()
        watcher.join()


def _located(folder: str | None) -> Location | None:
    try:
        return locate(folder) if folder else None
    except InputError:  # this node cannot reach it
        return None


class PackLog:
    """A file of sections (`trials.store_format.attempt_log`). Safe for any number of threads.

    ``upload`` is where the file is copied to, if it is not in the store itself.
    """

    def __init__(self, folder: str, name: str, upload: Location | None = None) -> None:
        self._folder, self._name, self._upload = folder, name, upload
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._start = self._left_out = 0
        self._printed, self._uploaded, self._uploaded_at = False, 0, time.monotonic()
        self._file, self._status = self._open()
        self._start = self._size()
        self._printed = self._start > 0

    @property
    def descriptor(self) -> int:
        """Descriptor of the file, opened again if the code of a trial has closed it: its number may be reused."""
        if not confined.is_open(self._file, self._status):
            self._file, self._status = self._open()
        return self._file

    def _open(self) -> tuple[int, os.stat_result]:
        try:
            found = confined.open_file(self._folder, self._name, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        except (OSError, ValueError):  # no permission, a full disk, a name that no file of a store may have
            self._upload = None
            found = os.open(os.devnull, os.O_RDWR)
        return found, os.fstat(found)

    def begin(self, attempts: Mapping[str, int]) -> None:
        """Begin the section of these trials (trial id -> attempt)."""
        with self._lock:
            self._end_section()
            self._append(attempt_log.header(attempts))
            self._start, self._left_out = self._size(), 0

    def write(self, data: bytes) -> None:
        """Append to the section, except a traceback that it ends with: code may print what it raises."""
        if data:
            with self._lock:
                if not (data.startswith(_TRACEBACK) and self._ends_with(data)):
                    self._append(data)

    def watch(self) -> None:
        """Keep the section within its bound, and the copy up to date, until the log is closed."""
        while not self._closing.wait(CHECK_SECONDS):
            with self._lock:
                self._trim(SLACK_BYTES)
            if time.monotonic() - self._uploaded_at > UPLOAD_SECONDS:
                self._copy()

    def close(self) -> None:
        """End the last section and the file; copy it, or remove it if nothing was printed."""
        self._closing.set()
        with self._lock:
            self._end_section()
            if self._printed and (checksum := self._checksum()) is not None:
                self._append(attempt_log.trailer(checksum))
        self._copy()
        if confined.is_open(self._file, self._status):
            os.close(self._file)
        if not self._printed:
            with contextlib.suppress(OSError, ValueError):
                confined.remove(self._folder, self._name)

    def _size(self) -> int:
        return os.fstat(self.descriptor).st_size

    def _checksum(self) -> int | None:
        """Return the CRC-32 of the file; None if it grows: a process that outlives its trial still prints."""
        found, at, size = 0, 0, self._size()
        while piece := os.pread(self.descriptor, _PIECE, at):
            found, at = zlib.crc32(piece, found), at + len(piece)
        return found if at == size == self._size() else None

    def _ends_with(self, data: bytes) -> bool:
        begin = self._size() - len(data)
        return begin >= self._start and os.pread(self.descriptor, len(data), begin) == data

    def _append(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self.descriptor, data)

    def _end_section(self) -> None:
        self._printed = self._printed or self._size() > self._start
        self._trim(0)

    def _trim(self, slack: int) -> None:
        """Cut the middle out of a section that exceeds its bound by more than ``slack``."""
        marker = attempt_log.left_out(self._left_out) if self._left_out else b""
        size = self._size() - self._start - len(marker)
        if size <= HEAD_BYTES + TAIL_BYTES + slack:
            return
        with contextlib.suppress(OSError):
            tail = os.pread(self.descriptor, TAIL_BYTES, self._start + size + len(marker) - TAIL_BYTES)
            self._left_out += size - HEAD_BYTES - TAIL_BYTES
            os.ftruncate(self.descriptor, self._start + HEAD_BYTES)
            self._append(attempt_log.left_out(self._left_out) + tail)

    def _copy(self) -> None:
        size = self._size()
        if self._upload is None or size == self._uploaded or not (self._printed or size > self._start):
            return
        with contextlib.suppress(OSError):
            content = os.pread(self.descriptor, size, 0)
            with self._upload.filesystem.open_output_stream(self._upload.path(self._name)) as stream:
                stream.write(content)
            self._uploaded, self._uploaded_at = size, time.monotonic()
