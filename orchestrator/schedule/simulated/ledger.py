"""The device time of a simulated launch: what each slot did from when to when, and which nodes were away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.schedule.device_time import Reason

Kind = Literal["useful", "starting"] | Reason


@dataclass(frozen=True, slots=True)
class SlotSpan:
    """What one trial did with ``devices`` of a slot between two times in seconds, or how long its worker was starting.

    ``useful`` work ended in a row; any other kind is the reason why it was wasted. Of ``members`` trials that trained
    together this is number ``member``, with its part of the devices.
    """

    slot: str
    devices: float
    began: float
    ended: float
    kind: Kind
    flops: float = 0.0
    member: int = 0
    members: int = 1

    @property
    def device_seconds(self) -> float:
        """Devices times seconds."""
        return self.devices * (self.ended - self.began)


@dataclass(slots=True)
class SlotLife:
    """A worker slot: what it held, where, and from when to when; ``closed`` is None while it is there."""

    size: TrialResources
    nodes: tuple[str, ...]
    opened: float
    closed: float | None = None


@dataclass(frozen=True, slots=True)
class NodeOutage:
    """A node that was away, from when to when, and why."""

    node: str
    began: float
    ended: float
    kind: Reason


@dataclass(slots=True)
class SlotLedger:
    """The events of one launch on nodes with ``devices`` each. ``seconds`` is its length.

    ``ended`` and ``given_up`` count trials: those that ended in a row, and those that were not tried again. ``stalls``
    counts the times when nothing could run for longer than a launch waits for nodes.
    """

    devices: Mapping[str, float]
    seconds: float = 0.0
    spans: list[SlotSpan] = field(default_factory=list)
    slots: dict[str, SlotLife] = field(default_factory=dict)
    absences: list[NodeOutage] = field(default_factory=list)
    ended: int = 0
    given_up: int = 0
    stalls: int = 0
    _unfinished: dict[str, list[int]] = field(default_factory=dict)  # spans of work that is kept, by trial

    def started(self, slot: str, now: float) -> None:
        """The worker of a slot has been starting until now."""
        life = self.slots[slot]
        self.add(SlotSpan(slot, life.size.devices, life.opened, now, "starting"))

    def add(self, span: SlotSpan) -> None:
        """Add what took any time."""
        if span.ended > span.began:
            self.spans.append(span)

    def trained(self, trial: str, span: SlotSpan) -> None:
        """Add work that the trial keeps: it is useful unless the trial is given up."""
        if span.ended > span.began:
            self._unfinished.setdefault(trial, []).append(len(self.spans))
        self.add(span)

    def finish(self, trial: str) -> None:
        """The trial has ended in a row."""
        self._unfinished.pop(trial, None)
        self.ended += 1

    def give_up(self, trial: str) -> None:
        """The trial is not tried again: what it had kept has led to nothing."""
        for index in self._unfinished.pop(trial, ()):
            self.spans[index] = replace(self.spans[index], kind="failed")
        self.given_up += 1

    def close(self, now: float) -> None:
        """The launch has ended."""
        self.seconds = now
        for life in self.slots.values():
            life.closed = now if life.closed is None else life.closed

    def device_seconds(self) -> dict[Kind, float]:
        """Return the device-seconds of each kind."""
        return _sums((span.kind, span.device_seconds) for span in self.spans)

    def flops(self) -> dict[Kind, float]:
        """Return the FLOPs of each kind."""
        return _sums((span.kind, span.flops) for span in self.spans)

    def away(self) -> Iterator[tuple[str, float]]:
        """Yield each node that was away, and for how many seconds of the launch."""
        return ((absence.node, min(absence.ended, self.seconds) - absence.began) for absence in self.absences)


def _sums(items: Iterable[tuple[Kind, float]]) -> dict[Kind, float]:
    found: dict[Kind, float] = {}
    for kind, amount in items:
        found[kind] = found.get(kind, 0.0) + amount
    return found
