"""Which pack runs in which worker slot: the state of a running sweep in the driver. No Ray here.

A slot is a worker's allocation on its nodes. It is opened for a pack of its size, fed further packs of that size, and
closed when its nodes are needed for another size, when its worker has failed, or at the end.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.schedule.death_causes import UnresolvedDeaths
from sweeplaw.orchestrator.schedule.death_counts import Death
from sweeplaw.orchestrator.schedule.device_time import Reason, WastedWork
from sweeplaw.orchestrator.schedule.packs import Pack, Queue
from sweeplaw.orchestrator.schedule.placement import NodeResources, Placement, PlacementDecision
from sweeplaw.orchestrator.worker.worker import Job
from sweeplaw.trials.record import Row, State, TrialRecord
from sweeplaw.trials.spec import TrialSpec

_NODE_LOST: tuple[Reason, ...] = ("node died", "preempted")
_STATES: Mapping[Reason, State] = {"out of memory": "out_of_memory"}  # of the row of a trial that is given up
START_TRIES = 5  # consecutive workers that die on a node before they run anything (its disk is full): then it is barred


@dataclass(frozen=True, slots=True)
class DispatcherCallbacks:
    """Callbacks from the dispatcher to the launch.

    ``make_job`` turns a pack that starts into a job for a worker. ``sink`` gets rows as they arrive; its errors end the
    run. ``give_up`` gets a trial that is not tried again, with the message and the state of its row. ``lost`` gets the
    trials of a pack that have to run again and the reason, None if ``settled`` will give it later. ``placed`` gets the
    host a pack runs on; ``ended`` a pack that ended without a loss. ``ending`` is polled: once it is true, nothing more
    starts and workers drain.
    """

    make_job: Callable[[Pack], Job]
    sink: Callable[[Sequence[Row]], None]
    give_up: Callable[[Pack, TrialSpec, str, State], None]
    lost: Callable[[Pack, Sequence[str], Reason | None], WastedWork]
    settled: Callable[[WastedWork, Reason], None]
    placed: Callable[[Pack, str], None]
    ended: Callable[[Pack], None]
    ending: Callable[[], bool]


class Worker(Protocol):
    """The process of a worker slot."""

    def feed(self, job: Job) -> None:
        """Run this job next."""
        ...

    def drain(self) -> None:
        """Let the job write a checkpoint and end."""
        ...


@dataclass(eq=False, slots=True)
class WorkerSlot:
    """``worker`` is None until its process runs; ``job`` is the first job of that process."""

    key: str
    size: TrialResources
    nodes: tuple[str, ...]
    pack: Pack | None
    job: Job | None
    last_report: float
    worker: Worker | None = None
    finished: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _OpenDeath:
    """A death whose reason will be known later: the pack, its trials that had ended, and the message."""

    pack: Pack
    finished: frozenset[str]
    message: str


class Dispatcher:
    """All worker slots of a run; ``driver_node`` is the driver's own. Every method may raise what ``sink`` raises."""

    def __init__(
        self,
        queue: Queue,
        placement: Placement,
        callbacks: DispatcherCallbacks,
        driver_node: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.queue = queue
        self.unresolved = UnresolvedDeaths(self._settled)
        self.to_stop: set[WorkerSlot] = set()  # closed slots, whose processes the backend has to end
        self.draining_since: float | None = None
        self._placement, self._callbacks, self._driver_node, self.clock = placement, callbacks, driver_node, clock
        self._slots: dict[str, WorkerSlot] = {}
        self._pending: deque[WorkerSlot] = deque()  # without a process yet
        self._hosts: dict[str, str] = {}
        self._opened = 0
        self._failed_starts: Counter[str] = Counter()  # by node, consecutive
        self._last_change = clock()  # when a pack last started or ended
        self._open_deaths: dict[WastedWork, _OpenDeath] = {}

    @property
    def busy(self) -> list[WorkerSlot]:
        """Slots with a pack."""
        return [slot for slot in self._slots.values() if slot.pack is not None]

    @property
    def done(self) -> bool:
        """Whether nothing runs and no waiting pack may still start."""
        return not self.busy and (self.draining_since is not None or not (self.queue.refill() or self.queue.holds))

    @property
    def stuck_seconds(self) -> float:
        """Seconds for which packs have waited while nothing ran."""
        return self.clock() - self._last_change if self.queue and not self.busy else 0.0

    def capacity(self, size: TrialResources) -> int:
        """Return the number of slots of this size that the live nodes hold at once."""
        return self._placement.capacity(size)

    def update(self, nodes: Iterable[NodeResources], hosts: dict[str, str]) -> None:
        """Replace the live nodes. A pack that had not begun on a node that died is requeued unchanged."""
        self._hosts = hosts
        lost = self._placement.update(node for node in nodes if node.node_id not in self.barred)
        for slot in [self._slots[key] for key in lost if key in self._slots]:
            if slot.worker is None and slot.pack is not None:
                self._callbacks.ended(slot.pack)
                self.queue.put(slot.pack)
                self._close(slot)

    @property
    def barred(self) -> set[str]:
        """Nodes on which workers do not start."""
        return {node for node, failures in self._failed_starts.items() if failures >= START_TRIES}

    def nodes_alive(self, slot: WorkerSlot) -> bool:
        """Return whether all nodes of the slot are alive."""
        return set(slot.nodes) <= self._hosts.keys()

    def fill(self) -> None:
        """Start every pack that may start now, in an idle slot or in a new one."""
        while self.draining_since is None and (found := self._placement.decide(self.queue.sizes())):
            index, decision = found
            pack = self.queue.take(self.queue.sizes()[index])
            assert pack is not None, "the decision is for a waiting pack"
            self._last_change = self.clock()
            if decision.slot is None:
                self._open(pack, decision)
            else:
                self._placement.resume(decision.slot, pack.weight)
                self._assign(self._slots[decision.slot], pack)

    def next_pending(self) -> WorkerSlot | None:
        """Return a slot that needs a process, or None."""
        while self._pending:
            slot = self._pending.popleft()
            if slot.key in self._slots:
                return slot
        return None

    def started(self, slot: WorkerSlot, worker: Worker) -> None:
        """Handle the start of the slot's process."""
        slot.worker, slot.job, slot.last_report = worker, None, self.clock()
        for node in slot.nodes:
            self._failed_starts.pop(node, None)
        if slot.pack is not None and slot.nodes[0] in self._hosts:
            self._callbacks.placed(slot.pack, self._hosts[slot.nodes[0]])
        if self.draining_since is not None:
            worker.drain()

    def reported(self, slot: WorkerSlot, rows: Sequence[Row], ended: bool, error: str | None, reason: Reason) -> None:
        """Handle a worker's report: new rows, whether its pack has ended, and the ``error`` if it failed."""
        slot.last_report = self.clock()
        if rows:
            self._callbacks.sink(rows)
            slot.finished.update(row.spec.trial_id for row in rows if isinstance(row, TrialRecord))
        if error is not None:
            self.died(slot, error, reason)
        elif ended and slot.pack is not None:
            self._end_pack(slot, "the worker ended without a row for it", "worker died")
            self._placement.pause(slot.key)
            self.fill()

    def died(self, slot: WorkerSlot, message: str, reason: Reason) -> None:
        """Handle the death of the slot's process, or a failure that makes it unusable."""
        self._close(slot)
        if slot.pack is not None:
            self._end_pack(slot, message, reason)
        self.fill()

    def failed_to_start(self, slot: WorkerSlot) -> None:
        """Handle the death of a process that ran nothing: requeue its pack without counting an attempt."""
        self._close(slot)
        self._failed_starts.update(slot.nodes)
        if slot.pack is not None:
            self._callbacks.ended(slot.pack)
            self.queue.put(slot.pack)
            slot.pack = None
        self.fill()

    def drain(self) -> None:
        """Start nothing more, let running packs write checkpoints and end, and close slots without a process."""
        self.draining_since = self.clock()
        for slot in self.busy:
            if slot.worker is not None:
                slot.worker.drain()
            elif slot in self._pending and slot.pack is not None:
                self._callbacks.ended(slot.pack)
                self._close(slot)
                slot.pack = None

    def _open(self, pack: Pack, decision: PlacementDecision) -> None:
        """Open a slot for this pack in place of the evicted ones."""
        for key in decision.evict:
            self._close(self._slots[key])
        self._opened += 1
        slot = WorkerSlot(f"slot-{self._opened}", pack.size, tuple(decision.shares), None, None, self._last_change)
        self._slots[slot.key] = slot
        self._placement.open(slot.key, pack.size, decision, pack.weight)
        self._assign(slot, pack)
        self._pending.append(slot)

    def _assign(self, slot: WorkerSlot, pack: Pack) -> None:
        slot.pack, slot.finished, slot.last_report = pack, set(), self.clock()
        job = self._callbacks.make_job(pack)
        if slot.worker is None:
            slot.job = job
        else:
            slot.worker.feed(job)
            if slot.nodes[0] in self._hosts:
                self._callbacks.placed(pack, self._hosts[slot.nodes[0]])

    def _end_pack(self, slot: WorkerSlot, message: str, reason: Reason) -> None:
        """Handle the end of a pack: requeue or give up its unrecorded trials."""
        pack, self._last_change = slot.pack, self.clock()
        assert pack is not None
        slot.pack = None
        left = [trial_id for group in pack.groups for trial_id in group.ids if trial_id not in slot.finished]
        if not left or self.draining_since is not None:
            self._callbacks.ended(pack)
            return
        loss, state = self._lose(slot, pack, left, reason, message), _STATES.get(reason, "failed")
        death = Death(
            reason in _NODE_LOST, loss in self._open_deaths, loss.saved, loss.step, final=reason == "out of memory"
        )
        for spec in self.queue.died(pack, slot.finished, death):
            self._callbacks.give_up(pack, spec, message, state)

    def _lose(self, slot: WorkerSlot, pack: Pack, left: Sequence[str], reason: Reason, message: str) -> WastedWork:
        """Record a loss; its reason is open if the worker may have died with a node other than the driver's."""
        others = frozenset(slot.nodes) - {self._driver_node}
        if reason != "worker died" or not others:
            return self._callbacks.lost(pack, left, reason)
        loss = self._callbacks.lost(pack, left, None)
        self._open_deaths[loss] = _OpenDeath(pack, frozenset(slot.finished), message)
        self.unresolved.add(loss, others, self.clock())
        return loss

    def _settled(self, loss: WastedWork, reason: Reason) -> None:
        """Handle the reason of a loss, now that it is known."""
        self._callbacks.settled(loss, reason)
        if (death := self._open_deaths.pop(loss, None)) is None:
            return
        node_lost = reason in _NODE_LOST
        for spec in self.queue.settled(death.pack, set(death.finished), node_lost=node_lost):
            self._callbacks.give_up(death.pack, spec, death.message, "failed")

    def close(self) -> None:
        """Settle the losses at the end of a run; trials that are held keep no outcome and run with the next launch."""
        self._open_deaths.clear()
        self.unresolved.close()

    def _close(self, slot: WorkerSlot) -> None:
        self._slots.pop(slot.key, None)
        self._placement.close(slot.key)
        slot.job = None
        if slot not in self._pending:
            self.to_stop.add(slot)
