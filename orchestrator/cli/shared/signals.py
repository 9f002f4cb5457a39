"""Signals that end a launch: at once before its trials run, by draining while they do, hard if it is asked again.

SIGTERM and SIGHUP (a terminal that was closed) let the workers write their checkpoints; SIGINT does not wait for them.
A signal that was ignored when this process started (`nohup`) stays ignored.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeplaw.orchestrator.launch.state import LaunchState

SAME_SECONDS = 0.2  # two signals this close are one request: `timeout` sends its own to the process and to its group
MARGIN_SECONDS = 60  # beyond the workers' grace period, for a launch to end by itself
_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SHOW_CURSOR = b"\x1b[?25h"  # a progress bar hides it


class StoppedBySignal(KeyboardInterrupt):
    """A signal ended the launch."""

    def __init__(self, number: int) -> None:
        name = signal.Signals(number).name
        super().__init__("interrupted" if number == signal.SIGINT else f"stopped: received {name}")
        self.exit_code = exit_code(number)


def exit_code(number: int) -> int:
    """Return the exit code of a launch that this signal ended."""
    return 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)


class Signals:
    """Handles the signals of one launch.

    ``launch_state`` is set once there is one, and ``grace_seconds`` to what its workers have for draining.
    """

    def __init__(self) -> None:
        self.launch_state: LaunchState | None = None
        self.grace_seconds = 0.0
        self._received: float | None = None  # when, by the monotonic clock
        self._deadline = math.inf  # from when on an alarm is ours
        self._cause: int = signal.SIGTERM  # the first signal
        self.stopped: StoppedBySignal | None = None  # what was raised

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Handle signals in the block."""
        numbers = [number for number in _NUMBERS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._handle) for number in (*numbers, signal.SIGALRM)}
        _handled.update(before)
        try:
            yield
        finally:
            _handled.clear()
            signal.alarm(0)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now, latest = time.monotonic(), self._received
        if number == signal.SIGALRM and now < self._deadline:
            return  # a trial of this process has set an alarm
        if latest is not None and now - latest < SAME_SECONDS:
            return
        self._received = now
        if latest is None:
            self._cause = number
        if number == signal.SIGALRM:  # it has not ended in time
            number = self._cause
        if self.stopped:
            _leave(number)
        if latest is None and number != signal.SIGINT and self._drain(number):
            self._alarm(MARGIN_SECONDS + int(self.grace_seconds))
            return
        self.stopped = StoppedBySignal(number)
        if self.launch_state is not None:
            self.launch_state.interrupt()
        self._alarm(MARGIN_SECONDS)
        raise self.stopped

    def _alarm(self, seconds: int) -> None:
        self._deadline = time.monotonic() + seconds - 1
        signal.alarm(seconds)

    def _drain(self, number: int) -> bool:
        """Let the workers write their checkpoints; return False before they run."""
        if self.launch_state is None or not self.launch_state.begun:
            return False
        from sweeplaw.orchestrator.launch.state import EarlyEnd

        self.launch_state.drain(EarlyEnd("preempted", f"received {signal.Signals(number).name}"))
        return True


_handled = set[int]()  # signals that end the launch of this process


def _end_by_default() -> None:
    """Let these signals end a process that the code of an inline trial has forked, such as one of a `multiprocessing`
    pool, which waits for its processes to end.
    """
    for number in _handled:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    _handled.clear()


os.register_at_fork(after_in_child=_end_by_default)


def _leave(number: int) -> None:
    """End this process now. What was recorded is durable, and the cleanup process ends a private Ray."""
    with contextlib.suppress(OSError):
        os.write(2, (SHOW_CURSOR if os.isatty(2) else b"") + b"\nsweeplaw: ended at once\n")
    os._exit(exit_code(number))
