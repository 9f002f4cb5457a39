"""Run each sink in its own thread behind a bounded queue, so that a slow or broken sink never affects a sweep."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sweeplaw.orchestrator.sinks.sink import Sink, SinkTarget
from sweeplaw.trials.record import Row

CAPACITY = 1_000  # batches of rows in the queue; each worker sends about one per second
FAILURES = 5  # consecutive failures after which the sink is closed
CLOSE_SECONDS = 20.0  # wait for the queues at the end of a launch
INTERRUPTED_SECONDS = 3.0  # the same after an interrupt


@dataclass(frozen=True, slots=True)
class Delivered:
    """Delivery to one sink: the number of rows sent and dropped, and the first error."""

    sink: str
    sent: int
    dropped: int
    error: str | None

    def sentence(self) -> str:
        """Return a summary for the user."""
        return f"{self.sink}: {self.dropped} of {self.sent + self.dropped} rows were not delivered" + (
            f" ({self.error})" if self.error else " (it was too slow)"
        )


class Feed:
    """A `LaunchObserver` that forwards rows to one sink. ``warn`` receives the first fault only."""

    def __init__(
        self, name: str, opener: Callable[[], Sink], warn: Callable[[str], None], *, capacity: int = CAPACITY
    ) -> None:
        self.name, self._opener, self._warn = name, opener, warn
        self._queue: queue.Queue[Sequence[Row]] = queue.Queue(capacity)
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._sent, self._offered = 0, 0
        self._error: str | None = None
        self._thread = threading.Thread(target=self._work, name=f"sink {name}", daemon=True)

    def started(self, todo: Any, already: int, cluster: Any) -> None:
        """Start the thread, which opens the sink."""
        self._thread.start()

    def recorded(self, rows: Sequence[Row]) -> None:
        """Queue these rows, or drop them if the queue is full."""
        self._offered += len(rows)
        try:
            self._queue.put_nowait(rows)
        except queue.Full:
            self._report("it is too slow: rows are dropped")

    @property
    def dropped(self) -> int:
        """Number of rows that were neither sent nor are queued."""
        return max(0, self._offered - self._sent - sum(len(rows) for rows in list(self._queue.queue)))

    def close(self, seconds: float = CLOSE_SECONDS) -> Delivered:
        """Wait at most ``seconds`` for the queue to empty, then return the totals."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        with self._lock:
            return Delivered(self.name, self._sent, self._offered - self._sent, self._error)

    def _report(self, fault: str) -> None:
        with self._lock:
            first, self._error = self._error is None, self._error or fault
        if first:
            self._warn(f"{self.name}: {fault}; the sweep continues without it")

    def _work(self) -> None:
        try:
            sink = self._opener()
        except ImportError as error:
            self._report(f"needs a package: pip install 'sweeplaw[{self.name.partition(':')[0]}]' ({error})")
        except BaseException as error:  # noqa: BLE001 - a library may even call sys.exit
            self._report(_sentence(error))
        else:
            self._forward(sink)

    def _forward(self, sink: Sink) -> None:
        failures = 0
        while failures < FAILURES and not (self._closing.is_set() and self._queue.empty()):
            try:
                rows = self._queue.get(timeout=0.2)
            except queue.Empty:
                continue
            failures = 0 if self._attempt(partial(sink.write, rows)) else failures + 1
            if failures == 0:
                self._sent += len(rows)
        self._attempt(sink.close)

    def _attempt(self, call: Callable[[], None]) -> bool:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - any exception of a sink is reported and counted
            self._report(_sentence(error))
            return False
        return True


def _sentence(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(": ")


@contextlib.contextmanager
def open_feeds(targets: Iterable[SinkTarget], sweep: str, warn: Callable[[str], None]) -> Iterator[list[Feed]]:
    """Yield a feed per target. At the end wait briefly for their queues and warn about rows that were not delivered."""
    feeds = [Feed(target.name, target.opener(sweep), warn) for target in targets]
    patience = INTERRUPTED_SECONDS
    try:
        yield feeds
        patience = CLOSE_SECONDS
    finally:
        deadline = time.monotonic() + patience
        for feed in feeds:
            delivered = feed.close(max(0.0, deadline - time.monotonic()))
            if delivered.dropped:
                warn(delivered.sentence())
