"""Work that is repeated when its input has changed, for a bounded share of the time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from sweeplaw.trials.errors import InputError

Result = TypeVar("Result")
Clock = Callable[[], float]


class Paced(Generic[Result]):
    """Keeps the ``result`` of work, None before the first, and the ``key`` for which it was done.

    ``problem`` is why the latest work in the background has no result, empty if it has one.
    """

    def __init__(
        self, share: float, *, least: float = 0.0, clock: Clock = time.monotonic, spent: Clock = time.process_time
    ) -> None:
        """``share`` is the most of the time that the work may take, ``least`` the seconds between two times.

        ``spent`` measures how long work took: on a busy machine the time of the processor, not the wait for it.
        """
        self.result: Result | None = None
        self.key: object = None
        self.problem = ""
        self._share, self._least, self._clock, self._spent = share, least, clock, spent
        self._next = float("-inf")
        self._thread: threading.Thread | None = None

    def due(self, key: object) -> bool:
        """Return whether the work is to be done for this key now."""
        return (self.result is None or key != self.key) and self._clock() >= self._next

    def do(self, key: object, work: Callable[[], Result]) -> Result:
        """Do the work for this key, whether it is due or not, and return its result."""
        began = self._spent()
        try:
            result = work()
        finally:
            self._next = self._clock() + max(self._least, (self._spent() - began) / self._share)
        self.result, self.key = result, key
        return result

    def start(self, key: object, work: Callable[[], Result]) -> None:
        """Do the work in a thread if it is due and not being done already."""
        if self.due(key) and not (self._thread and self._thread.is_alive()):
            self._thread = threading.Thread(target=self._try, args=(key, work), daemon=True)
            self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait for work that is being done, at most so long."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _try(self, key: object, work: Callable[[], Result]) -> None:
        try:
            self.do(key, work)
            self.problem = ""
        except (InputError, OSError) as error:
            self.problem = error.sentence() if isinstance(error, InputError) else str(error)
        except Exception as error:  # whoever waits is told, and the thread's end is reported as every error of ours is
            self.problem = f"unexpected {type(error).__name__}: {error}"
            raise
