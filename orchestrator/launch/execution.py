"""Execute the trials of a launch on a backend: make jobs of packs and records of rows, retry trials or give them up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sweeplaw.clusters.connect.cluster import ClusterInfo
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.launch import checkpoints
from sweeplaw.orchestrator.launch.adaptive.proposals import ProposalFeed
from sweeplaw.orchestrator.launch.failures import FailureWatch
from sweeplaw.orchestrator.launch.leases import LaunchLease
from sweeplaw.orchestrator.launch.queue import build_queue, size_of
from sweeplaw.orchestrator.launch.recorder import LaunchObserver, Recorder
from sweeplaw.orchestrator.launch.retries import count_outcomes
from sweeplaw.orchestrator.plan.plan import Plan
from sweeplaw.orchestrator.schedule.backends import backend
from sweeplaw.orchestrator.schedule.dispatcher import DispatcherCallbacks
from sweeplaw.orchestrator.schedule.packs import Pack
from sweeplaw.orchestrator.search.space import Space
from sweeplaw.orchestrator.store.writer import Writer
from sweeplaw.orchestrator.worker.provenance import commit, versions
from sweeplaw.orchestrator.worker.worker import Job
from sweeplaw.trials.record import Outcome, Provenance, State, TrialRecord
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.store_format import attempt_log, confined


class Execution:
    """Runs the trials of ``todo``, which ``lease`` holds, on the connected cluster of ``profile``; where the sweep's
    search proposes them, those of its `ProposalFeed`.

    Raises InputError with every trial that no node can hold, or if the search lacks what it needs.
    """

    def __init__(
        self,
        todo: Plan,
        lease: LaunchLease,
        profile: Profile,
        cluster: ClusterInfo,
        writer: Writer,
        observers: Sequence[LaunchObserver],
        used_before: float = 0.0,
    ) -> None:
        store, launch_state = lease.store, lease.launch_state
        self.feed: ProposalFeed | None = None
        self._sweep, self._lease, self._profile, self._launch_state = todo.sweep, lease, profile, launch_state
        if todo.sweep.search.proposes:
            self.feed = ProposalFeed(
                Space(todo.sweep),
                lease,
                size_of(todo, profile, cluster.nodes),
                stacked=profile.device.accelerator and todo.sweep.workload.stacks,
                used_before=used_before,
            )
        self._queue = build_queue(todo, profile, cluster.nodes, self.feed.packs if self.feed else tuple)
        self._attempts = store.attempts()  # of earlier launches, and of trials recorded in this one
        earlier = count_outcomes(store.location, [trial for trial in todo.ids if trial in self._attempts])
        self._recorder = Recorder(
            writer,
            launch_state,
            todo.sweep.retry,
            earlier,
            self._retry,
            observers,
            lease.still_held,
            FailureWatch(todo.sweep.stop),
            self.feed,
        )
        if self.feed:
            self.feed.record = self._recorder.record

    @property
    def states(self) -> Mapping[str, int]:
        """The number of trials that ended for good, or wait paused, by state."""
        return +self._recorder.states

    def run(self) -> None:
        """Run every trial. Raise what the backend raises."""
        profile, location = self._profile, self._lease.store.location
        if location.local:
            confined.make_folder(location.root, attempt_log.FOLDER)
        run = backend(profile.kind)
        run(
            self._queue,
            self._callbacks(),
            slots=profile.slots,
            patience=profile.patience_seconds,
            grace=profile.grace_seconds,
            ready=profile.ready_seconds,
            commit=commit(),
        )
        self._record_cut_short()
        if problem := self._recorder.names.problem():
            self._lease.store.problems += (problem,)

    def _callbacks(self) -> DispatcherCallbacks:
        launch_state = self._launch_state
        return DispatcherCallbacks(
            make_job=self._make_job,
            sink=self._recorder.record,
            give_up=self._give_up,
            lost=lambda pack, trials, reason: launch_state.lost(pack, trials, None, reason),
            settled=launch_state.meter.settle,
            placed=launch_state.pack_placed,
            ended=launch_state.pack_ended,
            ending=lambda: launch_state.draining,
        )

    def _make_job(self, pack: Pack) -> Job:
        """Turn a pack that starts now into what travels to its worker."""
        specs = tuple(pack.specs)
        self._launch_state.pack_started(pack, pack.size.devices)
        return Job(
            pack_id=pack.pack_id,
            workload=self._sweep.workload.name,
            options=self._sweep.options,
            specs=tuple(spec.canonical() for spec in specs),
            attempts=tuple(self._attempt(pack, spec) for spec in specs),
            sweep=self._sweep.name,
            launch_id=self._lease.launch_id,
            micro_batch_divisor=pack.micro_batch_divisor * pack.size.micro_batch_divisor,
            checkpoints=checkpoints.folder(self._lease.store.location),
            checkpoint_seconds=self._profile.checkpoint_seconds,
            logs=f"{self._lease.store.location.uri}/{attempt_log.FOLDER}",
            weights=checkpoints.weights_folder(self._lease.store.location) if self._sweep.keep else None,
            snapshots=self._sweep.keep == "evaluations",
            until=pack.until,
            branches=pack.branches,
        )

    def _attempt(self, pack: Pack, spec: TrialSpec) -> int:
        paused = self.feed.attempts.get(spec.trial_id, 0) if self.feed else 0
        return max(paused, self._attempts.get(spec.trial_id, 0)) + pack.attempt

    def _retry(self, record: TrialRecord) -> None:
        """Put a recorded trial back in the queue."""
        self._attempts[record.spec.trial_id] = record.attempt
        self._queue.again(record)

    def _give_up(self, pack: Pack, spec: TrialSpec, message: str, state: State) -> None:
        """Record a trial that has no outcome of its own and will not be tried again in this launch."""
        message = f"given up after {pack.attempt} attempts: {message}" if state == "failed" else message
        record = TrialRecord(
            spec,
            self._sweep.workload.cost(spec),
            Outcome(spec.trial_id, state, message),
            self._sweep.name,
            self._attempt(pack, spec),
            pack.pack_id,
            self._lease.launch_id,
            Provenance(None, None, versions(), commit()),
        )
        self._recorder.record([record])

    def _record_cut_short(self) -> None:
        """Record the trials that had begun and did not end before a drained launch did."""
        end = self._launch_state.end
        if end is None:
            return
        for pack, begun in self._launch_state.cut_short("budget" if end.state == "budget" else "preempted"):
            for spec in pack.specs:
                if spec.trial_id in begun:
                    self._give_up(pack, spec, end.reason, end.state)
