"""Device time: how much was useful, and how much was wasted, by reason.

A device-second is one second of one device of the cluster's hardware (a quarter of a GPU for a second is a quarter of
one). Useful is the time of trials that ended in a usable row; wasted is the time of work that has to be repeated or led
to nothing.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from sweeplaw.trials.quantities import percent

Reason = Literal[
    "worker died",
    "node died",
    "hung",
    "preempted",
    "out of memory",
    "failed",
    "budget",
    "interrupted",
    "launcher died",
]
REMEMBERED = 100  # latest losses kept one by one; the sums include all


@dataclass(frozen=True, slots=True)
class WastedWork:
    """Lost work: the trials of a pack, their device time, the reason (None: not known yet) and the time.

    ``saved`` is whether a checkpoint written meanwhile holds a part of the work; ``step`` is the last one reported.
    """

    pack_id: str
    trials: tuple[str, ...]
    device_seconds: float
    reason: Reason | None
    at: dt.datetime
    saved: bool = False
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Useful device-seconds, and wasted device-seconds and number of losses by reason."""

    useful: float = 0.0
    wasted: Mapping[str, float] = field(default_factory=dict)
    losses: Mapping[str, int] = field(default_factory=dict)

    @property
    def wasted_seconds(self) -> float:
        """Device-seconds lost in all."""
        return sum(self.wasted.values())

    @property
    def device_seconds(self) -> float:
        """Device-seconds used in all."""
        return self.useful + self.wasted_seconds

    def sentence(self) -> str:
        """Return one line for people."""
        if not self.wasted:
            return f"{_hours(self.useful)} of device time, none of it wasted"
        share = self.wasted_seconds / self.device_seconds if self.device_seconds else 0.0
        by_reason = sorted(self.wasted.items(), key=lambda item: -item[1])
        reasons = ", ".join(f"{_hours(seconds)} {reason} ({self.losses[reason]}x)" for reason, seconds in by_reason)
        return f"{_hours(self.device_seconds)} of device time, {percent(share, '.1f')} of it wasted: {reasons}"


def _hours(seconds: float) -> str:
    return (
        f"{seconds:.1f} s"
        if seconds < 120
        else f"{seconds / 60:.1f} min"
        if seconds < 7200
        else f"{seconds / 3600:.2f} h"
    )


def total(usages: Iterable[Usage]) -> Usage:
    """Return the sum."""
    useful, wasted, losses = 0.0, dict[str, float](), Counter[str]()
    for usage in usages:
        useful += usage.useful
        losses.update(usage.losses)
        for reason, seconds in usage.wasted.items():
            wasted[reason] = wasted.get(reason, 0.0) + seconds
    return Usage(useful, wasted, dict(losses))


class Meter:
    """Count the device time of one launch; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._useful = 0.0
        self._wasted: dict[str, float] = {}
        self._losses: Counter[str] = Counter()
        self._latest: deque[WastedWork] = deque(maxlen=REMEMBERED)
        self._open: list[WastedWork] = []

    def used(self, device_seconds: float) -> None:
        """Count device time that became a row."""
        with self._lock:
            self._useful += device_seconds

    def lost(self, loss: WastedWork) -> None:
        """Count lost work; without a reason it is kept until `settle` gives one."""
        with self._lock:
            self._open.append(loss) if loss.reason is None else self._book(loss, loss.reason)

    def settle(self, loss: WastedWork, reason: Reason) -> None:
        """Give a loss its reason. Until then it is in no sum by reason, because those sums never fall."""
        with self._lock:
            self._open.remove(loss)
            self._book(replace(loss, reason=reason), reason)

    def _book(self, loss: WastedWork, reason: Reason) -> None:
        self._wasted[reason] = self._wasted.get(reason, 0.0) + loss.device_seconds
        self._losses[reason] += 1
        self._latest.append(loss)

    @property
    def device_seconds(self) -> float:
        """Device-seconds used so far, with the losses whose reason is not known yet."""
        with self._lock:
            return self._useful + sum(self._wasted.values()) + sum(loss.device_seconds for loss in self._open)

    def usage(self) -> Usage:
        """Return the usage so far."""
        with self._lock:
            return Usage(self._useful, dict(self._wasted), dict(self._losses))

    def latest(self) -> Sequence[WastedWork]:
        """Return the latest losses, oldest first."""
        with self._lock:
            return tuple(self._latest)
