"""A sink in a thread of its own behind a bounded queue: slow, broken or missing, it never holds up or hurts a sweep."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sweeplaw.orchestrator.sinks import Sink, Target
from sweeplaw.trials.record import Row

CAPACITY = 1_000  # batches of rows that may wait; about one a second comes from each worker
FAILURES = 5  # in a row, and the sink is given up
CLOSE_SECONDS = 20.0  # what a launch waits at its end for its sinks to catch up
HURRIED_SECONDS = 3.0  # and when it was interrupted


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of the rows of one sink: how many it took, how many it did not, and the first error."""

    sink: str
    sent: int
    dropped: int
    error: str | None

    def sentence(self) -> str:
        """For people."""
        return f"{self.sink}: {self.dropped} of {self.sent + self.dropped} rows did not get there" + (
            f" ({self.error})" if self.error else " (it was too slow)"
        )


class Feed:
    """A watcher of a launch that hands rows on to one sink. ``warn`` is told the first fault, once."""

    def __init__(
        self, name: str, opener: Callable[[], Sink], warn: Callable[[str], None], *, capacity: int = CAPACITY
    ) -> None:
        self.name, self._opener, self._warn = name, opener, warn
        self._waiting: queue.Queue[Sequence[Row]] = queue.Queue(capacity)
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._sent, self._offered = 0, 0
        self._error: str | None = None
        self._thread = threading.Thread(target=self._work, name=f"sink {name}", daemon=True)

    def started(self, todo: Any, already: int, cluster: Any) -> None:
        """Open the sink, in its own thread."""
        self._thread.start()

    def recorded(self, rows: Sequence[Row]) -> None:
        """Hand these rows on, or drop them when too many wait already."""
        self._offered += len(rows)
        try:
            self._waiting.put_nowait(rows)
        except queue.Full:
            self._told("it is too slow: rows are dropped")

    @property
    def dropped(self) -> int:
        """Rows it has not taken: all but those it was given and those that wait."""
        return max(0, self._offered - self._sent - sum(len(rows) for rows in list(self._waiting.queue)))

    def close(self, seconds: float = CLOSE_SECONDS) -> Delivered:
        """Wait a while for what still waits, then tell what became of everything."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        with self._lock:
            return Delivered(self.name, self._sent, self._offered - self._sent, self._error)

    def _told(self, fault: str) -> None:
        with self._lock:
            first, self._error = self._error is None, self._error or fault
        if first:
            self._warn(f"{self.name}: {fault}; the sweep goes on without it")

    def _work(self) -> None:
        try:
            sink = self._opener()
        except ImportError as error:
            self._told(f"needs a package: pip install 'sweeplaw[{self.name.partition(':')[0]}]' ({error})")
        except BaseException as error:  # noqa: BLE001 - a library may even call sys.exit
            self._told(_sentence(error))
        else:
            self._pass_on(sink)

    def _pass_on(self, sink: Sink) -> None:
        failures = 0
        while failures < FAILURES and not (self._closing.is_set() and self._waiting.empty()):
            try:
                rows = self._waiting.get(timeout=0.2)
            except queue.Empty:
                continue
            failures = 0 if self._guarded(lambda rows=rows: sink.write(rows)) else failures + 1  # type: ignore[misc]
            if failures == 0:
                self._sent += len(rows)
        self._guarded(sink.close)

    def _guarded(self, call: Callable[[], None]) -> bool:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - whatever a sink raises is told, counted and forgotten
            self._told(_sentence(error))
            return False
        return True


def _sentence(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(": ")


@contextlib.contextmanager
def feeding(targets: Iterable[Target], sweep: str, warn: Callable[[str], None]) -> Iterator[list[Feed]]:
    """A feed for each target; at the end of the block they get a little time to catch up, and what did not get
    through is told.
    """
    feeds = [Feed(target.name, target.opener(sweep), warn) for target in targets]
    patience = HURRIED_SECONDS
    try:
        yield feeds
        patience = CLOSE_SECONDS
    finally:
        until = time.monotonic() + patience
        for feed in feeds:
            delivered = feed.close(max(0.0, until - time.monotonic()))
            if delivered.dropped:
                warn(delivered.sentence())
