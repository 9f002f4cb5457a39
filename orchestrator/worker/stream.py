"""The rows of one job, produced in a thread of its own, so that the device does not wait while rows travel."""

from __future__ import annotations

import contextlib
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from sweeplaw.clusters.connect.private import scratch_folder
from sweeplaw.trials.errors import describe
from sweeplaw.trials.record import Row

CLOSE_SECONDS = 10.0
UNREAD_ROWS = 2_000  # after which the job waits for the driver: 1 MB, or 200 MB of rows with a thousand metrics

Rows = Callable[[Path], Generator[Row, None, None]]  # the rows of a job, given a scratch folder


class RowStream:
    """Runs a job in a thread, at most UNREAD_ROWS rows ahead of the reader.

    ``ended`` is set once there are no more rows, however the thread ended; ``error`` says why the job could not run,
    and ``cause`` is what was raised then.
    """

    _END = object()

    def __init__(self, rows: Rows) -> None:
        self.ended = False
        self.error: str | None = None
        self.cause: BaseException | None = None
        self._rows: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._room = threading.Semaphore(UNREAD_ROWS)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(rows,), daemon=True)
        self._thread.start()

    def _work(self, start: Rows) -> None:
        try:
            place = scratch_folder()
            with (
                tempfile.TemporaryDirectory(prefix="sweeplaw-", dir=place, ignore_cleanup_errors=True) as folder,
                contextlib.closing(start(Path(folder))) as rows,
            ):
                for row in rows:
                    self._rows.put(row)
                    self._room.acquire()
                    if self._closing.is_set():
                        return
            self._rows.put(self._END)
        except BaseException as error:  # noqa: BLE001 - returned to the driver, which retries the pack or gives it up
            self._rows.put(error)

    def take(self, seconds: float, most: int) -> list[Row]:
        """Return the rows that arrive within ``seconds``; return early with ``most`` rows or when the job has ended."""
        rows: list[Row] = []
        until = time.monotonic() + seconds
        while len(rows) < most and (left := until - time.monotonic()) > 0:
            try:
                item = self._rows.get(timeout=left)
            except queue.Empty:
                break
            if item is self._END:
                self.ended = True
                break
            if isinstance(item, BaseException):
                self.ended, self.cause = True, item
                self.error = f"the worker could not run it: {describe(item)}"
                break
            self._room.release()
            rows.append(item)
        return rows

    def close(self) -> None:
        """Stop the job at its next row; wait at most `CLOSE_SECONDS` for it."""
        self._closing.set()
        self._room.release()
        self._thread.join(timeout=CLOSE_SECONDS)
