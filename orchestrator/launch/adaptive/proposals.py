"""The trials of a launch whose search decides as it goes: asked for when a worker is free, claimed, and noted."""

from __future__ import annotations

import datetime as dt
import random
import time
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import replace
from typing import Any

from sweeplaw.orchestrator.launch import checkpoints
from sweeplaw.orchestrator.launch.adaptive.known import ledger, rows
from sweeplaw.orchestrator.launch.adaptive.objective_watch import ObjectiveWatch
from sweeplaw.orchestrator.launch.adaptive.others import OtherLaunches
from sweeplaw.orchestrator.launch.adaptive.published_search import publish, search_state
from sweeplaw.orchestrator.launch.leases import LEASE_SECONDS, LaunchLease
from sweeplaw.orchestrator.launch.state import EarlyEnd
from sweeplaw.orchestrator.plan.limits import Budget
from sweeplaw.orchestrator.plan.plan import Group
from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.schedule.packs import Pack
from sweeplaw.orchestrator.search import registry
from sweeplaw.orchestrator.search.contract import Finished, Proposal, RemainingBudget, Stop
from sweeplaw.orchestrator.search.ledger import Incomplete, inherited
from sweeplaw.orchestrator.search.preview import recommended
from sweeplaw.orchestrator.search.space import Space
from sweeplaw.orchestrator.store import tail
from sweeplaw.orchestrator.worker.provenance import commit, versions
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.record import UNFINISHED, CurvePoint, Outcome, Provenance, Row, SearchNote, TrialRecord
from sweeplaw.trials.store_format import checkpoint

LISTEN_SECONDS = 1.0  # between two looks at what other launches have recorded
PUBLISH_SECONDS = 10.0  # between two states of the search in the store
COLLISION_SECONDS = 0.2  # longest wait after two launches have claimed the last trials of a budget at once
REFUSED = 100  # proposals in a row that other launches hold: then this launch has nothing to do


class ProposalFeed:
    """The trials that the search of a sweep proposes, one setting at a time.

    ``size_of`` is the size of a trial of a given cost, ``stacked`` whether the seeds of a setting run as one stack,
    ``used_before`` the device-seconds of earlier launches. ``ended`` is why the search proposes no more, empty before.
    """

    def __init__(
        self,
        space: Space,
        lease: LaunchLease,
        size_of: Callable[[Cost], TrialResources],
        *,
        stacked: bool,
        used_before: float,
    ) -> None:
        self.ended = ""
        self.record: Callable[[Sequence[Row]], object] = len  # set by the launch: records rows, and learns from them
        self.elsewhere = 0
        self.attempts: dict[str, int] = {}  # so far, of the trials recorded in this launch
        self._space, self._lease, self._size_of, self._stacked = space, lease, size_of, stacked
        self._used_before = used_before
        self._budget: Budget = space.sweep.budget
        self._search = registry.load(space)
        self._tail = lease.store.tail()
        self._ledger = ledger(space, lease.store)
        self._watch = ObjectiveWatch(
            registry.objective(space.sweep).metrics, judged_by_curves=space.sweep.search.pauses
        )
        self._notes: dict[str, SearchNote] = {}
        self._cost: dict[str, float | None] = {}  # FLOPs of the trials that run
        self._others = OtherLaunches(space, self._ledger, lease.store.location, lease.launch_id)
        self._left_over = self._ledger.incomplete()
        self.already = self._ledger.trials
        self._listened = time.monotonic()
        self._published = -PUBLISH_SECONDS

    @property
    def waits(self) -> str:
        """Why the search proposes no more although it has not ended: other launches hold what it waits for."""
        return self._others.sentence(self._cost.keys())

    @property
    def known(self) -> int:
        """Number of trials with a row, before and during this launch."""
        return self._ledger.trials

    def note(self, record: TrialRecord) -> TrialRecord:
        """Return the record with why its trial was proposed."""
        return replace(record, search=self._notes.get(record.spec.trial_id))

    def recorded(self, rows: Iterable[Row], again: Container[str]) -> None:
        """Learn from these rows; the trials of ``again`` run once more, and have not ended."""
        for row in rows:
            self._watch.seen(row)
            if isinstance(row, CurvePoint):
                self._ledger.add_point(row.trial_id, row.step, row.row())
                continue
            self.attempts[row.spec.trial_id] = row.attempt
            if row.spec.trial_id not in again:
                self._cost.pop(row.spec.trial_id, None)
                self._ledger.add(row.row())
        if not self.ended and (fault := self._watch.fault):
            self.ended = fault
            self._lease.launch_state.drain(EarlyEnd("preempted", fault, failing=True))
        self._lease.launch_state.belief = self._search.belief(self._ledger.history(self.left()))
        if time.monotonic() - self._published >= PUBLISH_SECONDS:
            self.publish()

    def left(self) -> RemainingBudget:
        """Return what is left of the budget, less what runs here and in other launches."""
        budget, state = self._budget, self._lease.launch_state
        history = self._ledger.history(RemainingBudget())
        running = sum(cost or 0.0 for cost in self._cost.values())
        begun = sum(not self._ledger.has(trial) for trial in self._cost) + self._others.unrecorded
        return RemainingBudget(
            trials=None if budget.trials is None else budget.trials - self._ledger.trials - begun,
            flops=None if budget.flops is None else budget.flops - history.spent - running - self._others.flops,
            device_seconds=None
            if budget.device_hours is None
            else budget.device_hours * 3600 - self._used_before - state.device_seconds(),
            wall_seconds=None if budget.wall_hours is None else budget.wall_hours * 3600 - state.seconds,
        )

    def recommended(self) -> list[dict[str, Any]]:
        """Return the answer of the search at each scientific point (`search.preview.recommended`)."""
        return recommended(self._space, self._search, self._ledger.history(self.left()))

    def publish(self) -> None:
        """Publish in the store where the search stands."""
        lease, end = self._lease, self._lease.launch_state.end
        state = search_state(
            self._space.sweep,
            self._ledger.history(self.left()),
            lease.launch_state.belief,
            self.ended or (end.reason if end else ""),
            self.recommended(),
            {trial: self._notes[trial] for trial in self._cost},
        )
        publish(lease.store.location, lease.launch_id, state)
        self._published = time.monotonic()

    def packs(self) -> list[Pack]:
        """Return the packs of the next setting; none while the search waits, and once it has ended."""
        if self.ended or self._lease.launch_state.draining:
            return []
        self._listen()
        if self._left_over:
            return self._resumed(self._left_over.pop())
        for _ in range(REFUSED):
            self._look_elsewhere()
            history = self._ledger.history(self.left())
            found = self._search.propose(history)
            if found is None:
                return []
            if isinstance(found, Finished):
                self.ended = found.reason
                return []
            if isinstance(found, Stop):
                self._give_up(found)
                continue
            group = self._space.group(found.setting, found.knobs)
            if isinstance(group, str):
                raise RuntimeError(
                    f"the search proposed {self._space.describe(found.setting)}, which has no trials: {group}"
                )
            if self._exceeds(found, group):
                return []
            if (granted := self._claimed(group)) and self._overdrawn(found, group, granted):
                continue
            if granted:
                return self._begun(found, group, granted, len(history.observations))
            self.elsewhere += len(group.ids)
            if not all(map(self._ledger.has, group.ids)):
                self._ledger.held_elsewhere(found.setting, group)
        return []

    def _exceeds(self, proposal: Proposal, group: Group) -> bool:
        """Return whether the budget has less left than these trials need; then the search ends."""
        left, needed = self.left(), _sum(self._needed(proposal, group).values())
        fresh = sum(trial_id not in self.attempts and not self._ledger.has(trial_id) for trial_id in group.ids)
        if left.trials is not None and left.trials < fresh:
            self.ended = f"budget.trials = {self._budget.trials} is spent"
        elif left.flops is not None and needed is not None and left.flops < needed:
            others = self._others.flops
            run = f"; {others:.3g} are what other launches run" if others else ""
            self.ended = f"budget.flops = {self._budget.flops:g} is spent (the next setting needs {needed:.3g}{run})"
        return bool(self.ended)

    def _look_elsewhere(self) -> None:
        """Look at which trials other live launches hold, if a budget counts them."""
        counts = self._budget.trials is not None or self._budget.flops is not None
        if counts and self._others.look(self._cost.keys()):
            self._listen(at_once=True)

    def _overdrawn(self, proposal: Proposal, group: Group, granted: set[str]) -> bool:
        """Return whether other launches have claimed the last of the budget meanwhile, or run it; then these trials
        are released, and the search is asked again after a random moment.
        """
        self._look_elsewhere()
        left, needed = self.left(), self._needed(proposal, group)
        fresh = sum(trial_id not in self.attempts and not self._ledger.has(trial_id) for trial_id in granted)
        flops = sum(needed[trial_id] or 0.0 for trial_id in granted)
        if (left.trials is None or left.trials >= fresh) and (left.flops is None or left.flops >= flops):
            return False
        self._lease.store.release(self._lease.launch_id, granted)
        self._lease.trials -= granted
        time.sleep(random.uniform(0.0, COLLISION_SECONDS))
        return True

    def _needed(self, proposal: Proposal, group: Group) -> dict[str, float | None]:
        """Return the FLOPs that each trial needs from where it paused to where it pauses next, or ends."""
        flops, steps = group.cost.flops, group.cost.steps
        if flops is None or not steps:
            return dict.fromkeys(group.ids, flops)
        until = min(proposal.until or steps, steps)
        done = {trial: max(inherited(proposal.knobs), self._ledger.step(trial)) for trial in group.ids}
        return {trial: flops * max(0, until - step) / steps for trial, step in done.items()}

    def _claimed(self, group: Group) -> set[str]:
        """Claim these trials; return those that no other launch runs or has finished."""
        lease = self._lease
        granted = lease.store.claim(group.ids, lease.launch_id, LEASE_SECONDS, self)
        lease.trials |= granted
        return granted

    def _begun(self, proposal: Proposal, group: Group, granted: set[str], known: int) -> list[Pack]:
        costs = self._needed(proposal, group)
        number = self._ledger.proposed(proposal, group, known)
        setting = self._space.encode(proposal.setting, proposal.knobs)
        for trial_id in granted:
            self._notes[trial_id] = SearchNote(number, known, proposal.reason, setting)
            self._cost[trial_id] = costs[trial_id]
        return self._packed(group.only(granted), proposal.until)

    def _resumed(self, left: Incomplete) -> list[Pack]:
        """Return the packs of the trials of a setting that an earlier launch proposed and did not finish."""
        group = self._space.group(left.setting, left.knobs)
        assert not isinstance(group, str), "its trials have rows"
        setting = self._space.encode(left.setting, left.knobs)
        granted = self._claimed(group.only(set(left.ids)))
        for trial_id in granted:
            self._notes[trial_id] = SearchNote(left.number, left.known, "completes the seeds of its setting", setting)
            self._cost[trial_id] = group.cost.flops
        return self._packed(group.only(granted), None) if granted else []

    def _give_up(self, stop: Stop) -> None:
        """Record the paused trials of a setting as stopped, under the attempt that has their curve."""
        sweep, lease = self._space.sweep, self._lease
        group = self._space.group(stop.setting)
        assert not isinstance(group, str), "its trials have rows"
        predicted = f"predicted_{registry.objective(sweep).metrics[0]}"
        records = []
        for index, trial_id in enumerate(group.ids):
            row = self._ledger.row(trial_id)
            if row is None or row["state"] not in UNFINISHED:
                continue
            now = dt.datetime.now(dt.UTC)
            step, metrics = row.get("last_step"), {predicted: stop.predicted}
            outcome = Outcome(trial_id, "stopped", stop.reason, step, None, now, None, metrics)
            self._notes[trial_id] = SearchNote(
                row["search_number"], row["search_known"], stop.reason, self._space.encode(stop.setting)
            )
            spec, origin = group.spec(index), Provenance(None, None, versions(), commit())
            pack = f"{trial_id[:12]}-1"
            records.append(
                TrialRecord(spec, group.cost, outcome, sweep.name, row["attempt"], pack, lease.launch_id, origin)
            )
        self.record(records)
        for record in records:
            checkpoint.remove(checkpoints.folder(lease.store.location), record.spec.trial_id)

    def _packed(self, group: Group, until: int | None) -> list[Pack]:
        stacks = self._stacked and self._space.stacks(group)
        groups = [group] if stacks else [group.only({trial_id}) for trial_id in group.ids]
        size = self._size_of(group.cost)
        return [Pack((item,), float(group.cost.flops or 1) * len(item.ids), size=size, until=until) for item in groups]

    def _listen(self, *, at_once: bool = False) -> None:
        """Learn what other launches have recorded since the last look."""
        if not at_once and time.monotonic() - self._listened < LISTEN_SECONDS:
            return
        self.fresh(self._lease.launch_id)

    def fresh(self, own_launch: str) -> dict[str, tail.Outcome]:
        """Return what other launches have recorded since the last call, and learn from it.

        A claim calls it after claiming: what another launch has finished is known to the search or found there.
        """
        self._listened = time.monotonic()
        fresh = self._tail.fresh(own_launch)
        if fresh:
            for row in rows(self._space, self._lease.store, list(fresh)):
                self._ledger.add(row)
        return fresh


def _sum(values: Iterable[float | None]) -> float | None:
    """Return the sum of these values; None if one is unknown."""
    found = list(values)
    return None if any(value is None for value in found) else sum(value or 0.0 for value in found)
