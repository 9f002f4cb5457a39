"""A simulated worker: the trials of its packs train one after another or stacked, and yield rows when they end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sweeplaw.orchestrator.plan.plan import Group
from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.schedule.dispatcher import WorkerSlot
from sweeplaw.orchestrator.schedule.packs import Pack
from sweeplaw.orchestrator.schedule.simulated.timeline import Event
from sweeplaw.orchestrator.worker.worker import Job
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.record import CurvePoint, Outcome, Provenance, Row, TrialRecord
from sweeplaw.trials.spec import TrialSpec

TrialSeconds = Callable[[Cost, TrialResources], float]  # how long a trial of this cost trains on these resources
TrialEvents = Callable[[TrialSpec, float], Sequence[CurvePoint | Outcome]]  # what it yields, and its seconds


def completed(spec: TrialSpec, seconds: float) -> Sequence[CurvePoint | Outcome]:
    """Return the events of a trial that completes: its outcome alone."""
    return (Outcome(spec.trial_id, "completed", train_seconds=seconds),)


@dataclass(frozen=True, slots=True)
class TrainingSegment:
    """Trials that train together, from the share ``done`` of each to the share ``until``, for ``seconds`` in all."""

    group: Group
    members: tuple[int, ...]
    done: float
    until: float
    seconds: float

    @property
    def trials(self) -> Iterator[str]:
        """Their ids."""
        return (self.group.ids[index] for index in self.members)

    @property
    def flops(self) -> float:
        """FLOPs of each; 0 where they are not known."""
        return (self.until - self.done) * (self.group.cost.flops or 0.0)


def legs(pack: Pack, done: Mapping[str, float], seconds: TrialSeconds, *, stacks: bool) -> Iterator[TrainingSegment]:
    """Yield what trains one after another: single trials, or in a stack those that are ``done`` to the same share.

    A pack that pauses at a step ends there. A trial that goes on from a trunk has done what it takes over.
    """
    taken_over = dict(pack.branches.values())
    for group in pack.groups:
        steps = group.cost.steps
        until = 1.0 if pack.until is None or not steps else min(1.0, pack.until / steps)
        begun = [max(done.get(trial, 0.0), taken_over.get(trial, 0) / (steps or 1)) for trial in group.ids]
        shares = [min(until, share) for share in begun]
        indices = range(len(shares))
        stacked = [tuple(i for i in indices if shares[i] == share) for share in dict.fromkeys(shares)]
        for members in stacked if stacks else ((index,) for index in indices):
            share = shares[members[0]]
            whole = len(members) * seconds(group.cost, pack.size)
            yield TrainingSegment(group, members, share, until, (until - share) * whole)


@dataclass(eq=False, slots=True)
class SimulatedWorker:
    """The process of a slot; ``feed`` and ``drain`` are passed on to its launch.

    Its next ``event`` is its start or the end of the ``leg`` that it trains since ``began``; ``job`` is None until it
    has started.
    """

    slot: WorkerSlot
    on_feed: Callable[[SimulatedWorker, Job], None]
    on_drain: Callable[[SimulatedWorker], None]
    event: Event | None = None
    job: Job | None = None
    leg: TrainingSegment | None = None
    began: float = 0.0
    to_come: deque[TrainingSegment] = field(default_factory=deque)
    _attempts: dict[str, int] = field(default_factory=dict)

    def feed(self, job: Job) -> None:
        """Run this job next."""
        self.on_feed(self, job)

    def drain(self) -> None:
        """Let the job write a checkpoint and end."""
        self.on_drain(self)

    def take(self, job: Job, pack: Pack) -> None:
        """Note the job that is fed, and the attempts of the trials of its pack."""
        ids = (trial for group in pack.groups for trial in group.ids)
        self.job, self._attempts = job, dict(zip(ids, job.attempts, strict=True))

    def rows(self, leg: TrainingSegment, events: TrialEvents, commit: str | None) -> Iterator[Row]:
        """Yield the rows of the trials of a leg that ends now."""
        job = self.job
        assert job is not None, "a worker that trains has a job"
        for index in leg.members:
            spec = leg.group.spec(index)
            attempt, origin = self._attempts[spec.trial_id], Provenance(self.slot.nodes[0], None, "", commit)
            for event in events(spec, leg.seconds):
                if isinstance(event, CurvePoint):
                    yield replace(event, attempt=attempt)
                else:
                    yield TrialRecord(
                        spec, leg.group.cost, event, job.sweep, attempt, job.pack_id, job.launch_id, origin
                    )
