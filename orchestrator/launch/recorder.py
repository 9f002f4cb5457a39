"""Every row a launch makes: durable first, then counted, then tried again where the policy says so, then told on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from sweeplaw.clusters.connect.cluster import ClusterInfo
from sweeplaw.orchestrator.launch.retries import Endings
from sweeplaw.orchestrator.launch.state import LaunchState
from sweeplaw.orchestrator.plan.plan import Plan
from sweeplaw.orchestrator.plan.policy import Retry
from sweeplaw.orchestrator.store.writer import Writer
from sweeplaw.trials.record import CurvePoint, Row, TrialRecord


class LaunchObserver(Protocol):
    """Who looks on while a launch runs (a progress bar, a test)."""

    def started(self, todo: Plan, already: int, cluster: ClusterInfo) -> None:
        """The trials that will run and how many the store already had."""
        ...

    def recorded(self, rows: Sequence[Row]) -> None:
        """These rows are durable now."""
        ...


class Recorder:
    """``states`` counts how trials ended for good in this launch, ``again`` the attempts that were followed by another.

    ``endings`` are the earlier ends of these trials. ``try_again`` puts a recorded trial back in the queue.
    ``holds`` tells whether the trials are still this launch's; once they are not, its rows of them are dropped.
    """

    def __init__(
        self,
        writer: Writer,
        live: LaunchState,
        retry: Retry,
        endings: Endings,
        try_again: Callable[[TrialRecord], None],
        watchers: Sequence[LaunchObserver],
        holds: Callable[[], bool],
    ) -> None:
        self.states: Counter[str] = Counter()
        self.again = 0
        self._writer, self._live, self._watchers = writer, live, watchers
        self._holds = holds
        self._allowed, self._endings, self._try_again = retry.by_state(), endings, try_again

    def __call__(self, rows: Sequence[Row]) -> None:
        """Record these rows. Raises StoreWriteError, and then none of them counts."""
        if not self._holds():
            return
        rows = [self._named(row) if isinstance(row, TrialRecord) else row for row in rows]
        records = [row for row in rows if isinstance(row, TrialRecord)]
        self._writer.write(records, [row for row in rows if isinstance(row, CurvePoint)])
        self._live.recorded(rows)
        for record in records:
            if self._earns_another(record):
                self.again += 1
                self._live.again()
                self._try_again(record)
            else:
                self.states[record.outcome.state] += 1
        for watcher in self._watchers:
            watcher.recorded(rows)

    def _named(self, record: TrialRecord) -> TrialRecord:
        """A worker that winds down calls its trials preempted; the launch knows whether that was for the budget."""
        end, outcome = self._live.end, record.outcome
        if end is None or outcome.state != "preempted" or end.state == "preempted":
            return record
        message = "; ".join(filter(None, [end.why, outcome.message]))
        return replace(record, outcome=replace(outcome, state=end.state, message=message))

    def _earns_another(self, record: TrialRecord) -> bool:
        state = record.outcome.state
        if state == "preempted":
            return not self._live.ending
        if state not in self._allowed:
            return False
        ending = (record.outcome.trial_id, state)
        self._endings[ending] += 1
        return self._endings[ending] <= self._allowed[state] and not self._live.ending
