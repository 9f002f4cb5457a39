"""Record every row of a launch durably, count it, apply the retry policy, and notify observers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from sweeplaw.clusters.connect.cluster import ClusterInfo
from sweeplaw.orchestrator.launch.adaptive.proposals import ProposalFeed
from sweeplaw.orchestrator.launch.failures import FailureWatch
from sweeplaw.orchestrator.launch.metric_names import MetricNames
from sweeplaw.orchestrator.launch.retries import OutcomeCounts
from sweeplaw.orchestrator.launch.state import EarlyEnd, LaunchState
from sweeplaw.orchestrator.plan.limits import Retry
from sweeplaw.orchestrator.plan.plan import Plan
from sweeplaw.orchestrator.store.writer import Writer
from sweeplaw.trials.record import CurvePoint, Row, TrialRecord

PREEMPTIONS = 3  # of a trial in one launch; then it waits for the next launch


class LaunchObserver(Protocol):
    """Follows a running launch (a progress bar, a sink, a test)."""

    def started(self, todo: Plan, already: int, cluster: ClusterInfo) -> None:
        """Handle the start: ``todo`` will run, and ``already`` trials were in the store."""
        ...

    def recorded(self, rows: Sequence[Row]) -> None:
        """Handle rows that are durable now."""
        ...


class Recorder:
    """Records the rows of one launch; ``states`` counts the trials that ended for good, by state.

    ``earlier`` counts the earlier outcomes of these trials. ``retry`` puts a recorded trial back in the queue.
    ``watch`` ends a launch whose trials fail. ``feed`` says why trials were proposed, and learns what became of them.
    Once ``still_held`` returns False, the trials belong to another launch,
    and rows are dropped.
    """

    def __init__(
        self,
        writer: Writer,
        launch_state: LaunchState,
        policy: Retry,
        earlier: OutcomeCounts,
        retry: Callable[[TrialRecord], None],
        observers: Sequence[LaunchObserver],
        still_held: Callable[[], bool],
        watch: FailureWatch,
        feed: ProposalFeed | None = None,
    ) -> None:
        self.states: Counter[str] = Counter()
        self.names = MetricNames()
        self._writer, self._launch_state, self._observers = writer, launch_state, observers
        self._still_held, self._watch, self._feed = still_held, watch, feed
        self._allowed, self._outcomes, self._retry = policy.by_state(), earlier, retry
        self._preempted: Counter[str] = Counter()  # in this launch, by trial
        self._paused: set[str] = set()  # trials that wait for their search

    def record(self, rows: Sequence[Row]) -> None:
        """Record these rows. Raise StoreWriteError, and then none of them counts."""
        if not self._still_held():
            return
        rows = [self._with_end(row) if isinstance(row, TrialRecord) else row for row in map(self.names.bounded, rows)]
        if self._feed:
            rows = [self._feed.note(row) if isinstance(row, TrialRecord) else row for row in rows]
        records = [row for row in rows if isinstance(row, TrialRecord)]
        self._writer.write(records, [row for row in rows if isinstance(row, CurvePoint)])
        self._launch_state.recorded(rows)
        again = set()
        for record in records:
            if reason := self._watch.ended(record.outcome.state):
                self._launch_state.drain(EarlyEnd("preempted", reason, failing=True))
            if self._should_retry(record):
                again.add(record.outcome.trial_id)
                self._launch_state.retried()
                self._retry(record)
            else:
                self._count(record)
        if self._feed:
            self._feed.recorded(rows, again)
        for observer in self._observers:
            observer.recorded(rows)

    def _count(self, record: TrialRecord) -> None:
        """Count how a trial ended; one that was paused before counts only as what it is now."""
        trial_id, state = record.outcome.trial_id, record.outcome.state
        if trial_id in self._paused:
            self._paused.remove(trial_id)
            self.states["paused"] -= 1
        if state == "paused":
            self._paused.add(trial_id)
        self.states[state] += 1

    def _with_end(self, record: TrialRecord) -> TrialRecord:
        """Replace the state of a preempted trial where the launch ends for another reason, such as its budget: a
        draining worker does not know why and records ``preempted``.
        """
        end, outcome = self._launch_state.end, record.outcome
        if end is None or outcome.state != "preempted" or end.state == "preempted":
            return record
        message = "; ".join(filter(None, [end.reason, outcome.message]))
        return replace(record, outcome=replace(outcome, state=end.state, message=message))

    def _should_retry(self, record: TrialRecord) -> bool:
        state = record.outcome.state
        if state == "preempted":  # by its own exit code, or because its worker had to go
            self._preempted[record.outcome.trial_id] += 1
            return self._preempted[record.outcome.trial_id] < PREEMPTIONS and not self._launch_state.draining
        if state not in self._allowed:
            return False
        key = (record.outcome.trial_id, state)
        self._outcomes[key] += 1
        return self._outcomes[key] <= self._allowed[state] and not self._launch_state.draining
