"""The virtual clock: events in the order of their times, and at equal times in the order in which they were planned."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(order=True, slots=True)
class Event:
    """A call at a time, in seconds; nothing happens once it is ``cancelled``. No two events have the same number."""

    at: float
    number: int
    call: Callable[[], None]
    cancelled: bool = False


class Timeline:
    """Events to come; ``now`` is the time of the latest one, in seconds from 0."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[Event] = []
        self._numbers = itertools.count()

    def clock(self) -> float:
        """Return the time, for what takes a clock."""
        return self.now

    def after(self, seconds: float, call: Callable[[], None]) -> Event:
        """Plan a call ``seconds`` from now."""
        event = Event(self.now + seconds, next(self._numbers), call)
        heapq.heappush(self._events, event)
        return event

    def step(self) -> bool:
        """Move to the next event and make its call; return False if there is none."""
        while self._events:
            event = heapq.heappop(self._events)
            if not event.cancelled:
                self.now = event.at
                event.call()
                return True
        return False
