"""Work that is repeated when its input has changed, for a bounded share of the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Paced(Generic[Result]):
    """Keeps the ``result`` of work, None before the first, and for which ``key`` it was done."""

    def __init__(self, share: float, clock: Callable[[], float] = time.monotonic) -> None:
        """``share`` is the most of the time that the work may take."""
        self.result: Result | None = None
        self.key: object = None
        self._share, self._clock = share, clock
        self._next = float("-inf")

    def due(self, key: object) -> bool:
        """Return whether the work is to be done for this key now."""
        return (self.result is None or key != self.key) and self._clock() >= self._next

    def do(self, key: object, work: Callable[[], Result]) -> Result:
        """Do the work for this key, whether it is due or not, and return its result."""
        began = self._clock()
        self.result, self.key = work(), key
        ended = self._clock()
        self._next = ended + (ended - began) / self._share
        return self.result
