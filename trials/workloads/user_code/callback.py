"""A function that calls back, read as an iterator: it runs in a thread of its own, at most a few reports ahead.

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

UNREAD_REPORTS = 64  # a function this far ahead of the reader waits for it
STOP_SECONDS = 5.0  # how long closing waits for a function that computes between two reports

_log = logging.getLogger(__name__)


def points(call: Callable[..., Any], reports: Reports) -> Generator[CurvePoint, None, Any]:
    """What ``call(report=...)`` reports, point by point; returns its result and raises what it raises."""
    channel = _Channel()

    def report(metrics: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        channel.put(reports.add({**(metrics or {}), **named}))

    def body() -> None:
        try:
            channel.end(call(report=report), None)
        except BaseException as error:  # noqa: BLE001  handed to the reader, which raises it
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
            _log.warning("trial %s computes on: it has not reported since it was stopped", reports.spec.trial_id)


class _Stopped(BaseException):
    """Raised out of `report` once nobody reads. No `Exception`, so that the user's own handlers let it through."""


class _Channel:
    """Curve points from the function's thread to the reader's, at most UNREAD_REPORTS at a time."""

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
        """The next point, or None when the function has ended and all its points are read."""
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
