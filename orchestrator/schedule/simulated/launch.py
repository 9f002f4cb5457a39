"""One simulated launch: a queue on a simulated cluster from start to end, and what its devices did."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sweeplaw.orchestrator.schedule.device_time import Reason, WastedWork
from sweeplaw.orchestrator.schedule.dispatcher import DispatcherCallbacks
from sweeplaw.orchestrator.schedule.packs import Pack, Queue
from sweeplaw.orchestrator.schedule.placement import NodeResources, Placement
from sweeplaw.orchestrator.schedule.simulated.cluster import SimulatedCluster
from sweeplaw.orchestrator.schedule.simulated.conditions import Conditions
from sweeplaw.orchestrator.schedule.simulated.ledger import Kind, SlotLedger
from sweeplaw.orchestrator.schedule.simulated.worker import TrialSeconds, completed
from sweeplaw.orchestrator.worker.worker import Job
from sweeplaw.trials.record import CurvePoint, Outcome, Row, State
from sweeplaw.trials.spec import TrialSpec

_BEGINNING = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Proposals(Protocol):
    """The trials of one simulated launch whose search decides while it runs, and what they give."""

    def packs(self) -> Sequence[Pack]:
        """Return the packs of the next setting; none while the search waits, and once it has ended."""
        ...

    def events(self, spec: TrialSpec, seconds: float) -> Sequence[CurvePoint | Outcome]:
        """Return what a trial yields after this many seconds of training, to its end or to where it pauses."""
        ...

    def recorded(self, rows: Sequence[Row]) -> None:
        """Learn from rows that are recorded now."""
        ...

    def given_up(self, pack: Pack, spec: TrialSpec, message: str, state: State) -> None:
        """Learn that a trial is not tried again."""
        ...

    def ending(self, ledger: SlotLedger) -> bool:
        """Return whether the launch is to end, by what its devices did so far."""
        ...

    def summary(self) -> Mapping[str, Any]:
        """Return where the search stands, in numbers and words."""
        ...


@dataclass(frozen=True, slots=True)
class SimulatedLaunch:
    """What the devices did, in one launch or several side by side."""

    ledgers: tuple[SlotLedger, ...]

    @property
    def seconds(self) -> float:
        """The makespan: seconds until the last trial has ended."""
        return max((ledger.seconds for ledger in self.ledgers), default=0.0)

    @property
    def device_seconds(self) -> float:
        """Device-seconds of all nodes, each until its own launch has ended."""
        return sum(ledger.seconds * sum(ledger.devices.values()) for ledger in self.ledgers)

    def by_kind(self) -> dict[Kind, float]:
        """Return the device-seconds that slots worked or were starting: useful ones, and the rest by reason."""
        return _added(ledger.device_seconds() for ledger in self.ledgers)

    def flops(self) -> dict[Kind, float]:
        """Return the FLOPs done: useful ones, and the rest by reason."""
        return _added(ledger.flops() for ledger in self.ledgers)

    @property
    def away(self) -> float:
        """Device-seconds of nodes that were away."""
        return sum(ledger.devices[node] * seconds for ledger in self.ledgers for node, seconds in ledger.away())

    @property
    def idle(self) -> float:
        """Device-seconds in which a device was there and did nothing."""
        return max(0.0, self.device_seconds - self.away - sum(self.by_kind().values()))

    def interruptions(self) -> Counter[Reason]:
        """Return how often nodes went away, by reason."""
        return Counter(absence.kind for ledger in self.ledgers for absence in ledger.absences)

    def count(self, of: Callable[[SlotLedger], int]) -> int:
        """Return the sum of a count over the launches."""
        return sum(of(ledger) for ledger in self.ledgers)


def _added(parts: Iterator[Mapping[Kind, float]]) -> dict[Kind, float]:
    found: dict[Kind, float] = {}
    for part in parts:
        for kind, amount in part.items():
            found[kind] = found.get(kind, 0.0) + amount
    return found


def run(
    queue: Queue,
    nodes: Sequence[NodeResources],
    devices: Mapping[str, float],
    seconds: TrialSeconds,
    conditions: Conditions,
    *,
    slots: int | None = None,
    ready: float = float("inf"),
    stacks: bool = False,
    placement: Callable[[int | None], Placement] = Placement,
    proposals: Proposals | None = None,
) -> SlotLedger:
    """Run every pack of the queue on these nodes with ``devices`` each; return what the nodes did.

    ``proposals`` are the source of the queue's packs, where a search decides while it runs. See `SimulatedCluster` for
    what is raised.
    """
    ledger = SlotLedger(devices)
    cluster = SimulatedCluster(
        tuple(nodes),
        seconds,
        conditions,
        ledger,
        stacks=stacks,
        placement=placement,
        events=proposals.events if proposals else completed,
    )
    callbacks = _callbacks()
    if proposals:
        callbacks = replace(
            callbacks,
            sink=proposals.recorded,
            give_up=proposals.given_up,
            ending=lambda: proposals.ending(ledger),
        )
    cluster.run(queue, callbacks, slots=slots, patience=ready, grace=0.0, ready=ready, commit=None)
    return ledger


def _callbacks() -> DispatcherCallbacks:
    """Return callbacks that keep nothing: the ledger of the cluster has it."""
    return DispatcherCallbacks(
        make_job=_job,
        sink=lambda rows: None,
        give_up=lambda pack, spec, message, state: None,
        lost=lambda pack, trials, reason: WastedWork(pack.pack_id, tuple(trials), 0.0, reason, _BEGINNING),
        settled=lambda loss, reason: None,
        placed=lambda pack, host: None,
        ended=lambda pack: None,
        ending=lambda: False,
    )


def _job(pack: Pack) -> Job:
    attempts = (pack.attempt,) * pack.trials
    return Job(pack.pack_id, pack.groups[0].workload, {}, (), attempts, "simulated", "simulated")
