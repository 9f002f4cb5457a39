"""A user's function in a thread of its own. Unless its reports are to be in step with the reader, it may run a limited
number of them ahead.

Whatever the function raises ends its thread only, an interrupt or an exit included: signals of the process reach the
main thread, so here such an exception is the function's own. What Python keeps for each thread (tracer, context
variables, event loop, gradient mode) ends with it.

Closing the iterator stops the function: its next report raises.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Generator

from sweeplaw.trials.record import CurvePoint
from sweeplaw.trials.workloads.user_code.isolation import isolated

UNREAD_REPORTS = 64  # after which the function waits for the reader
STOP_SECONDS = 5.0  # how long closing waits for a function that computes between two reports

Put = Callable[[CurvePoint, bool], None]  # with True, the reader has asked for the next point when this returns

_log = logging.getLogger(__name__)


def reported_points(body: Callable[[Put], None], trial_id: str) -> Generator[CurvePoint, None, BaseException | None]:
    """Yield the points that ``body`` passes to its argument; return what it raised, or None."""
    channel = _Channel()
    thread = threading.Thread(target=_contained, args=(body, channel, trial_id), name=f"trial-{trial_id}", daemon=True)
    thread.start()
    try:
        while (point := channel.get()) is not None:
            yield point
        return channel.error
    finally:
        channel.close()
        thread.join(STOP_SECONDS)
        if thread.is_alive():
            _log.warning("trial %s is still computing: it has not reported since it was stopped", trial_id)


def _contained(body: Callable[[Put], None], channel: _Channel, trial_id: str) -> None:
    process, error = os.getpid(), None
    channel.thread = threading.get_ident()
    try:
        with isolated(trial_id):
            body(channel.put)
    except BaseException as raised:  # noqa: BLE001  passed to the reader
        error = raised
    if os.getpid() != process:  # a copy of this process that the function has forked, and that has returned from it
        os._exit(0)
    channel.end(error)


class ReaderClosed(BaseException):
    """Raised by a report once the reader has closed; not an `Exception`, which user code may catch."""


class _Channel:
    """Queue of at most UNREAD_REPORTS curve points from the function's thread to the reader's."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.thread: int | None = None  # the function's own; it may start more, which may outlive it
        self._points: deque[CurvePoint] = deque()
        self._asked = self._put = 0
        self._ended = self._closed = False
        self._changed = threading.Condition()

    def put(self, point: CurvePoint, in_step: bool) -> None:
        with self._changed:
            self._wait(lambda: len(self._points) < UNREAD_REPORTS)
            self._points.append(point)
            self._put += 1
            self._changed.notify_all()
            if in_step:
                self._wait(lambda: self._asked > self._put)

    def _wait(self, ready: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: ready() or self._closed)
        if self._closed and threading.get_ident() != self.thread:
            raise SystemExit  # which ends a thread without a word
        if self._closed:
            raise ReaderClosed

    def get(self) -> CurvePoint | None:
        """Return the next point, or None once the function has ended and all its points are read."""
        with self._changed:
            self._asked += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._points or self._ended)
            return self._points.popleft() if self._points else None

    def end(self, error: BaseException | None) -> None:
        with self._changed:
            self.error, self._ended = error, True
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
