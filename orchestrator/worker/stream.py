"""The rows of one job, made in a thread of their own, so that a device does not wait while rows travel."""

from __future__ import annotations

import contextlib
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from sweeplaw.trials.record import Row

Rows = Callable[[Path], Generator[Row, None, None]]  # the rows of a job, given a scratch folder


class RowStream:
    """``ended`` once the job has no more rows; ``error`` says why it could not run at all."""

    _END = object()

    def __init__(self, rows: Rows) -> None:
        self.ended = False
        self.error: str | None = None
        self._rows: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(rows,), daemon=True)
        self._thread.start()

    def _work(self, make: Rows) -> None:
        try:
            with (
                tempfile.TemporaryDirectory(prefix="sweeplaw-") as folder,
                contextlib.closing(make(Path(folder))) as rows,
            ):
                for row in rows:
                    self._rows.put(row)
                    if self._closing.is_set():
                        return
            self._rows.put(self._END)
        except Exception as error:  # noqa: BLE001 - told to the driver, which tries the pack again or gives it up
            self._rows.put(error)

    def take(self, seconds: float, most: int) -> list[Row]:
        """The rows there are after ``seconds``, or at once when they are ``most`` or the job has ended."""
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
            if isinstance(item, Exception):
                self.ended, self.error = True, f"the worker could not run it: {type(item).__name__}: {item}"
                break
            rows.append(item)
        return rows

    def close(self) -> None:
        """Stop the job at its next row; wait a moment for it."""
        self._closing.set()
        self._thread.join(timeout=10)
