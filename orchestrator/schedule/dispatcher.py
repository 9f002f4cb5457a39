"""Which pack runs in which lane: the state of one sweep while it runs, in the driver. No Ray here.

A lane is a worker's hold on its nodes. It is opened for a pack of its size, fed further packs of that size, and closed
when what it holds is wanted for another size, when it has failed, or at the end.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.schedule.death_causes import UnresolvedDeaths
from sweeplaw.orchestrator.schedule.device_time import Reason, WastedWork
from sweeplaw.orchestrator.schedule.packs import Pack, Queue
from sweeplaw.orchestrator.schedule.placement import NodeResources, Placement
from sweeplaw.orchestrator.worker.worker import Job
from sweeplaw.trials.record import Row, State, TrialRecord
from sweeplaw.trials.spec import TrialSpec

START_TRIES = 5  # workers in a row that die on a node before they run anything (its disk is full): it gets no more


@dataclass(frozen=True, slots=True)
class DispatcherCallbacks:
    """What a run tells whom it works for.

    ``make_job`` turns a pack into what travels, when it starts. ``sink`` gets rows as they come; what it raises ends
    the run. ``give_up`` gets a trial that will not be tried again here, with the state and the message of its row.
    ``lost`` gets the trials of a pack that have to be run again and why, or None for why: then ``settled`` tells that
    later. ``placed`` gets where a pack runs; ``ended`` a pack that runs no more with nothing lost. ``ending`` is asked
    often: once it is true nothing more starts and workers are told to wind down.
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
    """The process that holds a lane."""

    def feed(self, job: Job) -> None:
        """Run this job next."""
        ...

    def wind(self) -> None:
        """Let the job write what it can resume from, and end."""
        ...


@dataclass(eq=False, slots=True)
class WorkerSlot:
    """``worker`` is None until its process runs; ``job`` is what that process begins with."""

    key: str
    size: TrialResources
    nodes: tuple[str, ...]
    pack: Pack | None
    job: Job | None
    heard: float
    worker: Worker | None = None
    finished: set[str] = field(default_factory=set)


class Dispatcher:
    """All lanes of a run; ``home`` is the driver's own node. Every method may raise what ``sink`` raises."""

    def __init__(
        self,
        waiting: Queue,
        floor: Placement,
        calls: DispatcherCallbacks,
        home: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.waiting = waiting
        self.doubts = UnresolvedDeaths(calls.settled)
        self.closing: set[WorkerSlot] = set()  # to be ended by whoever holds their processes
        self.winding_since: float | None = None
        self._floor, self._calls, self._home, self.clock = floor, calls, home, clock
        self._lanes: dict[str, WorkerSlot] = {}
        self._opening: deque[WorkerSlot] = deque()
        self._hosts: dict[str, str] = {}
        self._opened = 0
        self._unstarted: Counter[str] = Counter()  # by node, in a row
        self._moved = clock()  # when a pack last started or ended

    @property
    def busy(self) -> list[WorkerSlot]:
        """Lanes with a pack."""
        return [lane for lane in self._lanes.values() if lane.pack is not None]

    @property
    def over(self) -> bool:
        """Nothing runs, and nothing waits that may still start."""
        return not self.busy and (not self.waiting or self.winding_since is not None)

    @property
    def stuck_seconds(self) -> float:
        """How long packs have waited with nothing running that could make room for them."""
        return self.clock() - self._moved if self.waiting and not self.busy else 0.0

    def capacity(self, size: TrialResources) -> int:
        """How many lanes of this size the live nodes hold at once."""
        return self._floor.capacity(size)

    def update(self, machines: Iterable[NodeResources], hosts: dict[str, str]) -> None:
        """These nodes are alive now. A pack whose worker had not begun on a node that died waits again as it was."""
        self._hosts = hosts
        lost = self._floor.update(item for item in machines if item.node_id not in self.barred)
        for lane in [self._lanes[key] for key in lost if key in self._lanes]:
            if lane.worker is None and lane.pack is not None:
                self._calls.ended(lane.pack)
                self.waiting.put(lane.pack)
                self._close(lane)

    @property
    def barred(self) -> set[str]:
        """Nodes on which workers do not start."""
        return {node for node, times in self._unstarted.items() if times >= START_TRIES}

    def alive(self, lane: WorkerSlot) -> bool:
        """Whether all its nodes are."""
        return set(lane.nodes) <= self._hosts.keys()

    def fill(self) -> None:
        """Start every pack that may start now, in a lane that waits or in a new one."""
        while self.winding_since is None and (found := self._floor.start(self.waiting.sizes())):
            index, start = found
            pack = self.waiting.take(self.waiting.sizes()[index])
            assert pack is not None, "the floor starts what waits"
            self._moved = self.clock()
            if start.lane is None:
                for key in start.evict:
                    self._close(self._lanes[key])
                self._opened += 1
                lane = WorkerSlot(f"lane-{self._opened}", pack.size, tuple(start.parts), None, None, self._moved)
                self._lanes[lane.key] = lane
                self._floor.open(lane.key, pack.size, start, pack.weight)
                self._begin(lane, pack)
                self._opening.append(lane)
            else:
                lane = self._lanes[start.lane]
                self._floor.resume(lane.key, pack.weight)
                self._begin(lane, pack)

    def open(self) -> WorkerSlot | None:
        """A lane that wants a process, or None."""
        while self._opening:
            lane = self._opening.popleft()
            if lane.key in self._lanes:
                return lane
        return None

    def started(self, lane: WorkerSlot, worker: Worker) -> None:
        """Its process runs."""
        lane.worker, lane.job, lane.heard = worker, None, self.clock()
        for node in lane.nodes:
            self._unstarted.pop(node, None)
        if lane.pack is not None and lane.nodes[0] in self._hosts:
            self._calls.placed(lane.pack, self._hosts[lane.nodes[0]])
        if self.winding_since is not None:
            worker.wind()

    def heard(self, lane: WorkerSlot, rows: Sequence[Row], ended: bool, error: str | None, reason: Reason) -> None:
        """What a worker said: rows, and whether its pack has ended, by itself or (``error``) not."""
        lane.heard = self.clock()
        if rows:
            self._calls.sink(rows)
            lane.finished.update(row.spec.trial_id for row in rows if isinstance(row, TrialRecord))
        if error is not None:
            self.died(lane, error, reason)
        elif ended and lane.pack is not None:
            self._end(lane, "the worker ended without a row for it", "worker died")
            self._floor.pause(lane.key)
            self.fill()

    def died(self, lane: WorkerSlot, message: str, reason: Reason) -> None:
        """Its process is gone, or not fit for more."""
        self._close(lane)
        if lane.pack is not None:
            self._end(lane, message, reason)
        self.fill()

    def unstarted(self, lane: WorkerSlot) -> None:
        """Its process died before it ran anything, which is not the pack's doing: the pack waits again as it was."""
        self._close(lane)
        self._unstarted.update(lane.nodes)
        if lane.pack is not None:
            self._calls.ended(lane.pack)
            self.waiting.put(lane.pack)
            lane.pack = None
        self.fill()

    def wind(self) -> None:
        """Nothing more starts; running packs are told to end. Those that have not begun wait as before."""
        self.winding_since = self.clock()
        for lane in self.busy:
            if lane.worker is not None:
                lane.worker.wind()
            elif lane in self._opening:
                self._calls.ended(lane.pack) if lane.pack else None
                self._close(lane)
                lane.pack = None

    def _begin(self, lane: WorkerSlot, pack: Pack) -> None:
        lane.pack, lane.finished, lane.heard = pack, set(), self.clock()
        job = self._calls.make_job(pack)
        if lane.worker is None:
            lane.job = job
        else:
            lane.worker.feed(job)
            if lane.nodes[0] in self._hosts:
                self._calls.placed(pack, self._hosts[lane.nodes[0]])

    def _end(self, lane: WorkerSlot, message: str, reason: Reason) -> None:
        """Its pack has ended: what of it has no row is queued again or given up."""
        pack, self._moved = lane.pack, self.clock()
        assert pack is not None
        lane.pack = None
        left = [trial_id for group in pack.groups for trial_id in group.ids if trial_id not in lane.finished]
        if not left or self.winding_since is not None:
            self._calls.ended(pack)
            return
        self._lost(lane, pack, left, reason)
        state: State = "out_of_memory" if reason == "out of memory" else "failed"
        for spec in self.waiting.died(pack, lane.finished, at_once=reason == "out of memory"):
            self._calls.give_up(pack, spec, message, state)

    def _lost(self, lane: WorkerSlot, pack: Pack, left: Sequence[str], reason: Reason) -> None:
        """A worker that died may have died with its node, unless that is the driver's, which would be gone as well."""
        others = frozenset(lane.nodes) - {self._home}
        if reason == "worker died" and others:
            self.doubts.add(self._calls.lost(pack, left, None), others, self.clock())
        else:
            self._calls.lost(pack, left, reason)

    def _close(self, lane: WorkerSlot) -> None:
        self._lanes.pop(lane.key, None)
        self._floor.close(lane.key)
        lane.job = None
        if lane not in self._opening:
            self.closing.add(lane)
