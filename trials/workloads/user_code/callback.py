"""Iteration over the reports of a function with a callback, which runs in a thread a limited number of reports ahead.

Closing the iterator stops the function: its next `report` raises.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Generator, Mapping
from typing import Any

from sweeplaw.trials.record import CurvePoint
from sweeplaw.trials.workloads.user_code.reports import Reports

UNREAD_REPORTS = 64  # after which the function waits for the reader
STOP_SECONDS = 5.0  # how long closing waits for a function that computes between two reports

_log = logging.getLogger(__name__)


def reported_points(call: Callable[..., Any], reports: Reports) -> Generator[CurvePoint, None, Any]:
    """Yield what ``call(report=...)`` reports; return its result and raise what it raises."""
    channel = _Channel()

    def report(metrics: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        channel.put(reports.add({**(metrics or {}), **named}))

    def body() -> None:
        try:
            channel.end(call(report=report), None)
        except BaseException as error:  # noqa: BLE001  passed to the reader, which raises it
            channel.end(None, error)

    thread = threading.Thread(target=body, name=f"trial-{reports.spec.trial_id}", daemon=True)
    thread.start()
    try:
        while (point := channel.get()) is not None:
            yield point
        if channel.error is not None:
            raise channel.error
        return channel.result
    finally:
        channel.close()
        thread.join(STOP_SECONDS)
        if thread.is_alive():
            _log.warning("trial %s is still computing: it has not reported since it was stopped", reports.spec.trial_id)


class _Stopped(BaseException):
    """Raised by `report` once the reader has closed. Not an `Exception`, so that the user's handlers let it through."""


class _Channel:
    """Queue of at most UNREAD_REPORTS curve points from the function's thread to the reader's."""

    def __init__(self) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self._points: deque[CurvePoint] = deque()
        self._ended = self._closed = False
        self._changed = threading.Condition()

    def put(self, point: CurvePoint) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self._points) < UNREAD_REPORTS or self._closed)
            if self._closed:
                raise _Stopped
            self._points.append(point)
            self._changed.notify_all()

    def get(self) -> CurvePoint | None:
        """Return the next point, or None once the function has ended and all its points are read."""
        with self._changed:
            self._changed.wait_for(lambda: self._points or self._ended)
            point = self._points.popleft() if self._points else None
            self._changed.notify_all()
            return point

    def end(self, result: Any, error: BaseException | None) -> None:
        with self._changed:
            self.result, self.error, self._ended = result, error, True
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
