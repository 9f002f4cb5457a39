"""The simulated backend: workers, nodes and failures on a virtual clock, under the dispatcher of real workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from sweeplaw.orchestrator.schedule.device_time import Reason, WastedWork
from sweeplaw.orchestrator.schedule.dispatcher import Dispatcher, DispatcherCallbacks
from sweeplaw.orchestrator.schedule.packs import Pack, Queue
from sweeplaw.orchestrator.schedule.placement import NodeResources, Placement
from sweeplaw.orchestrator.schedule.simulated.conditions import Conditions, Interruption
from sweeplaw.orchestrator.schedule.simulated.ledger import Kind, NodeOutage, SlotLedger, SlotLife, SlotSpan
from sweeplaw.orchestrator.schedule.simulated.timeline import Timeline
from sweeplaw.orchestrator.schedule.simulated.worker import (
    SimulatedWorker,
    TrainingSegment,
    TrialEvents,
    TrialSeconds,
    completed,
    legs,
)
from sweeplaw.orchestrator.worker.worker import Job
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import CurvePoint, Outcome, State
from sweeplaw.trials.spec import TrialSpec

_STEPS = 1_000_000  # in which progress is reported, whatever the steps of a trial
HOPELESS = 10_000  # interruptions in a row during which no worker trained: none ever will
_MESSAGES = {"node died": "its node died", "preempted": "its node was preempted"}


@dataclass(frozen=True, slots=True)
class SimulatedCluster:
    """A backend of these nodes under these conditions: its `run` is a `backends.Backend`.

    ``seconds`` returns how long a trial of a given cost trains on its resources. Where a workload ``stacks``, trials of
    one group train together. ``events`` returns what a trial yields after this many seconds of training, as
    `Workload.run` does. ``ledger`` receives what happens; ``placement`` makes the placement for a bound of slots.
    """

    nodes: tuple[NodeResources, ...]
    seconds: TrialSeconds
    conditions: Conditions
    ledger: SlotLedger
    stacks: bool = False
    events: TrialEvents = completed
    placement: Callable[[int | None], Placement] = Placement

    def run(
        self,
        queue: Queue,
        callbacks: DispatcherCallbacks,
        /,
        *,
        slots: int | None,
        patience: float,
        grace: float,
        ready: float,
        commit: str | None,
    ) -> None:
        """Run every pack on the virtual clock. No worker hangs, and each drains at once, so ``patience`` and ``grace``
        are without effect. Where no node can run a pack for ``ready`` seconds a real launch ends; this one waits, and
        counts it.

        Raise what ``callbacks.sink`` raises, and InputError for a pack that no node holds, or if the interruptions let
        no worker start.
        """
        _Launch(self, queue, callbacks, slots, ready, commit).run()


class _Launch:
    """One run of a simulated cluster."""

    def __init__(
        self,
        cluster: SimulatedCluster,
        queue: Queue,
        callbacks: DispatcherCallbacks,
        slots: int | None,
        ready: float,
        commit: str | None,
    ) -> None:
        self._cluster, self._ledger, self._conditions = cluster, cluster.ledger, cluster.conditions
        self._callbacks, self._ready, self._commit = callbacks, ready, commit
        self._timeline = Timeline()
        observed = replace(callbacks, give_up=self._give_up, lost=self._lost)
        self._dispatcher = Dispatcher(queue, cluster.placement(slots), observed, "", self._timeline.clock)
        self._nodes = {node.node_id: node for node in cluster.nodes}
        self._to_come = {node: self._conditions.interruptions(node) for node in self._nodes}
        self._workers: dict[str, SimulatedWorker] = {}  # by slot, starting ones included
        self._training = 0  # number of workers with a leg
        self._in_vain = 0  # interruptions since a worker trained
        self._done: dict[str, float] = {}  # share of a trial that its checkpoint holds

    def run(self) -> None:
        """Run until nothing runs and nothing more may start."""
        queue = self._dispatcher.queue
        for node in self._cluster.nodes:
            self._expect(node)
        self._update()
        if misfits := [str(size) for size in queue.sizes() if not self._dispatcher.capacity(size)]:
            raise InputError(f"packs wait for {', '.join(misfits)}, which no simulated node has")
        while self._training or not self._dispatcher.done:
            if self._dispatcher.draining_since is None and self._callbacks.ending():
                self._dispatcher.drain()
                self._follow()
            elif not self._timeline.step():
                raise InputError(f"{len(queue)} packs wait for {', '.join(map(str, queue.sizes()))}, in vain")
        self._ledger.close(self._timeline.now)

    def _update(self) -> None:
        """Report the present nodes to the dispatcher, and start what may start."""
        self._dispatcher.update(self._nodes.values(), {node: node for node in self._nodes})
        self._dispatcher.fill()
        self._follow()

    def _follow(self) -> None:
        """End the processes of the slots that the dispatcher has closed, and start those that it needs."""
        for slot in self._dispatcher.to_stop:
            if worker := self._workers.pop(slot.key, None):
                self._end(worker)
        self._dispatcher.to_stop.clear()
        while pending := self._dispatcher.next_pending():
            worker = SimulatedWorker(pending, self._begin, self._drain_soon)
            worker.event = self._timeline.after(self._conditions.startup_seconds, partial(self._start, worker))
            self._workers[pending.key] = worker
            self._ledger.slots[pending.key] = SlotLife(pending.size, pending.nodes, self._timeline.now)

    def _start(self, worker: SimulatedWorker) -> None:
        """The process of a slot runs, and begins with its first job."""
        slot, job = worker.slot, worker.slot.job
        assert job is not None, "a slot has a job until its process runs"
        self._ledger.started(slot.key, self._timeline.now)
        self._begin(worker, job)
        self._dispatcher.started(slot, worker)

    def _end(self, worker: SimulatedWorker) -> None:
        """End the process of a slot. The start-up time of one that was starting is wasted."""
        if worker.job is None:
            self._ledger.started(worker.slot.key, self._timeline.now)
        if worker.event:
            worker.event.cancelled = True
        self._ledger.slots[worker.slot.key].closed = self._timeline.now

    def _begin(self, worker: SimulatedWorker, job: Job) -> None:
        """The worker takes the pack of its slot."""
        pack = worker.slot.pack
        assert pack is not None, "a job is of a pack"
        worker.take(job, pack)
        worker.to_come.extend(legs(pack, self._done, self._cluster.seconds, stacks=self._cluster.stacks))
        self._next_leg(worker)

    def _next_leg(self, worker: SimulatedWorker) -> None:
        worker.leg, worker.began = worker.to_come.popleft(), self._timeline.now
        worker.event = self._timeline.after(worker.leg.seconds, partial(self._finish_leg, worker))
        self._training += 1
        self._in_vain = 0

    def _finish_leg(self, worker: SimulatedWorker) -> None:
        """Report the trials that end now, and go on with the next or report the end of the pack."""
        leg = self._leave_leg(worker, self._timeline.now, "useful")
        for trial in leg.trials if leg.until == 1 else ():  # the others pause
            self._ledger.finish(trial)
            self._done.pop(trial, None)
        rows = list(worker.rows(leg, self._cluster.events, self._commit))
        ended = not worker.to_come
        if not ended:
            self._next_leg(worker)
        self._dispatcher.reported(worker.slot, rows, ended, None, "worker died")
        self._follow()

    def _leave_leg(self, worker: SimulatedWorker, kept_until: float, lost: Kind) -> TrainingSegment:
        """End what the worker trains, now; what it did after ``kept_until`` is ``lost``. Return what it trained."""
        leg, now, size = worker.leg, self._timeline.now, worker.slot.size
        assert leg is not None, "only a worker that trains leaves a leg"
        worker.leg = worker.event = None
        self._training -= 1
        share = (kept_until - worker.began) / leg.seconds if leg.seconds else 1.0
        members = len(leg.members)
        for member, trial in enumerate(leg.trials):
            self._done[trial] = leg.done + (leg.until - leg.done) * share
            kept = SlotSpan(
                worker.slot.key,
                size.devices / members,
                worker.began,
                kept_until,
                "useful",
                share * leg.flops,
                member,
                members,
            )
            self._ledger.trained(trial, kept)
            if now > kept_until:
                flops = (now - kept_until) / leg.seconds * leg.flops
                self._ledger.add(replace(kept, began=kept_until, ended=now, kind=lost, flops=flops))
        return leg

    def _expect(self, node: NodeResources) -> None:
        """Plan the next interruption of a node that is there; none where the conditions have none."""
        if found := next(self._to_come[node.node_id], None):
            seconds, reason = found
            self._timeline.after(seconds, partial(self._interrupt, node, reason))

    def _interrupt(self, node: NodeResources, reason: Interruption) -> None:
        """The node is gone with its workers, and back after a time."""
        now, away = self._timeline.now, self._conditions.away_seconds
        hit = [worker for worker in self._workers.values() if node.node_id in worker.slot.nodes]
        self._check_hope()
        for worker in hit:
            if worker.leg and worker.event:
                worker.event.cancelled = True
                self._leave_leg(worker, worker.began + self._conditions.kept(now - worker.began), reason)
        del self._nodes[node.node_id]
        self._dispatcher.update(self._nodes.values(), {other: other for other in self._nodes})
        for worker in hit:
            if worker.job is not None:  # those that were starting, the dispatcher has closed by itself
                self._dispatcher.died(worker.slot, _MESSAGES[reason], reason)
        self._dispatcher.fill()
        self._follow()
        self._ledger.absences.append(NodeOutage(node.node_id, now, now + away, reason))
        self._timeline.after(away, partial(self._return, node))

    def _return(self, node: NodeResources) -> None:
        self._ledger.stalls += self._dispatcher.stuck_seconds > self._ready
        self._nodes[node.node_id] = node
        self._expect(node)
        self._update()

    def _check_hope(self) -> None:
        """Raise InputError if workers never get to train between the interruptions."""
        self._in_vain += not self._training
        if self._in_vain > HOPELESS:
            rate, start = self._conditions.interruptions_per_hour, self._conditions.startup_seconds
            raise InputError(
                f"{rate:g} interruptions an hour of each node let no worker start, which takes {start:g} s: after "
                f"{HOPELESS:,} in a row none had trained (accepted: a lower rate, or a shorter startup_seconds)"
            )

    def _drain_soon(self, worker: SimulatedWorker) -> None:
        self._timeline.after(0.0, partial(self._drain, worker))

    def _drain(self, worker: SimulatedWorker) -> None:
        """End the worker's pack: what trains is preempted, with a checkpoint if trials write any."""
        if worker.leg is None or worker.event is None:
            return
        worker.event.cancelled = True
        keeps, trained = self._conditions.checkpoint_seconds is not None, self._timeline.now - worker.began
        leg = self._leave_leg(worker, self._timeline.now if keeps else worker.began, "preempted")
        worker.to_come.clear()

        def preempted(spec: TrialSpec, seconds: float) -> Sequence[CurvePoint | Outcome]:
            steps = leg.group.cost.steps
            step = int(self._done[spec.trial_id] * steps) if keeps and steps else None
            return (Outcome(spec.trial_id, "preempted", last_step=step, train_seconds=trained),)

        rows = list(worker.rows(leg, preempted, self._commit))
        self._dispatcher.reported(worker.slot, rows, True, None, "worker died")
        self._follow()

    def _lost(self, pack: Pack, trials: Sequence[str], reason: Reason | None) -> WastedWork:
        done = self._done.get(trials[0], 0.0)
        return replace(self._callbacks.lost(pack, trials, reason), saved=done > 0, step=int(done * _STEPS))

    def _give_up(self, pack: Pack, spec: TrialSpec, message: str, state: State) -> None:
        self._ledger.give_up(spec.trial_id)
        self._callbacks.give_up(pack, spec, message, state)
