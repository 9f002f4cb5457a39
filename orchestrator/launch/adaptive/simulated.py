"""The search of a sweep on the simulated cluster: proposals on the virtual clock, outcomes that its workload looks up.

Nothing is stored. A trial that is asked to pause does so at the first point of its curve from that step on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sweeplaw.orchestrator.plan.limits import used_up
from sweeplaw.orchestrator.plan.plan import Group
from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.schedule.packs import Pack
from sweeplaw.orchestrator.schedule.simulated.ledger import SlotLedger
from sweeplaw.orchestrator.search import registry
from sweeplaw.orchestrator.search.contract import Finished, Proposal, RemainingBudget, Stop
from sweeplaw.orchestrator.search.ledger import Ledger, inherited
from sweeplaw.orchestrator.search.preview import recommended
from sweeplaw.orchestrator.search.space import Space
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import CurvePoint, Outcome, Provenance, Row, SearchNote, State, TrialRecord
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workload import LookedUp

_LAUNCH = "simulated"


def check(space: Space) -> None:
    """Raise InputError with every reason why the search of this space cannot be simulated."""
    workload, faults = space.sweep.workload, []
    if not isinstance(workload, LookedUp):
        faults.append(
            f"workload = {workload.name!r}: a search decides by its losses, which are known without training only from "
            "a formula or a recorded table (accepted: 'surrogate', or 'replay' with a table of finished runs)"
        )
    if any(group.cost.flops is None for group in space.examples):
        faults.append(
            "the FLOPs of its trials are not known, so their time is not (accepted: a knob `flops` under "
            "[workload.knobs], or a formula for it under [derived])"
        )
    if faults:
        raise InputError(faults, where=space.sweep.name)


class SimulatedProposals:
    """What the search of ``space`` proposes in one simulated launch that begins with what ``ledger`` has.

    ``size_of`` is the size of a trial of a given cost, ``stacked`` whether the seeds of a setting train as one stack.
    """

    def __init__(
        self, space: Space, ledger: Ledger, size_of: Callable[[Cost], TrialResources], *, stacked: bool
    ) -> None:
        assert isinstance(space.sweep.workload, LookedUp), "checked before"
        self._space, self._ledger, self._size_of, self._stacked = space, ledger, size_of, stacked
        self._search, self._workload = registry.load(space), space.sweep.workload
        self._begun = ledger.trials
        self._ended = ""
        self._notes: dict[str, SearchNote] = {}
        self._until: dict[str, int | None] = {}
        self._running: dict[str, float] = {}  # FLOPs by trial
        self._states: dict[str, State] = {}
        self._device_seconds, self._seconds, self._spans = 0.0, 0.0, 0

    def packs(self) -> Sequence[Pack]:
        """Return the packs of the next setting; none while the search waits, and once it has ended."""
        while not self._ended:
            history = self._ledger.history(self._left())
            found = self._search.propose(history)
            if found is None:
                return []
            if isinstance(found, Finished):
                self._ended = found.reason
            elif isinstance(found, Stop):
                self._stop(found)
            else:
                return self._begin(found, len(history.observations))
        return []

    def events(self, spec: TrialSpec, seconds: float) -> Sequence[CurvePoint | Outcome]:
        """Return what a trial yields, to its end or to where it pauses."""
        until, found = self._until.get(spec.trial_id), list(self._workload.look_up(spec))
        points = [event for event in found if isinstance(event, CurvePoint)]
        (outcome,) = (event for event in found if isinstance(event, Outcome))
        if until is not None and any(point.step > until for point in points):
            message = f"paused after step {until}"
            outcome = Outcome(spec.trial_id, "paused", message, until, train_seconds=seconds)
            points = [point for point in points if point.step <= until]
        return [*points, replace(outcome, train_seconds=seconds)]

    def recorded(self, rows: Sequence[Row]) -> None:
        """Learn from rows that are recorded now."""
        for row in rows:
            if isinstance(row, CurvePoint):
                self._ledger.add_point(row.trial_id, row.step, row.row())
                continue
            trial_id = row.spec.trial_id
            self._running.pop(trial_id, None)
            self._states[trial_id] = row.outcome.state
            own = replace(row, sweep=self._space.sweep.name, search=self._notes[trial_id])
            self._ledger.add(own.row())

    def given_up(self, pack: Pack, spec: TrialSpec, message: str, state: State) -> None:
        """Learn that a trial is not tried again."""
        group = next(group for group in pack.groups if spec.trial_id in group.ids)
        outcome, origin = Outcome(spec.trial_id, state, message), Provenance(None, None, "", None)
        self.recorded([TrialRecord(spec, group.cost, outcome, "", pack.attempt, pack.pack_id, _LAUNCH, origin)])

    def ending(self, ledger: SlotLedger) -> bool:
        """Return whether the budget of device time or wall time is used up."""
        for span in ledger.spans[self._spans :]:
            self._device_seconds += span.device_seconds if span.kind != "starting" else 0.0
            self._seconds = max(self._seconds, span.ended)
        self._spans = len(ledger.spans)
        reason = used_up(self._space.sweep.budget, self._device_seconds, self._seconds)
        self._ended = self._ended or reason or ""
        return bool(reason)

    def summary(self) -> Mapping[str, Any]:
        """Return where the search stands at the end of the launch."""
        history = self._ledger.history(self._left())
        return {
            "kind": self._space.sweep.search.kind,
            "proposals": history.number,
            "trials": self._ledger.trials - self._begun,
            "states": dict(sorted(Counter(self._states.values()).items())),
            "flops": history.spent,
            "belief": self._search.belief(history),
            "ended": self._ended,
            "recommended": recommended(self._space, self._search, history),
        }

    def _left(self) -> RemainingBudget:
        budget, spent = self._space.sweep.budget, self._ledger.history(RemainingBudget()).spent
        waiting = sum(not self._ledger.has(trial) for trial in self._running)
        return RemainingBudget(
            trials=None if budget.trials is None else budget.trials - self._ledger.trials - waiting,
            flops=None if budget.flops is None else budget.flops - spent - math.fsum(self._running.values()),
            device_seconds=None if budget.device_hours is None else budget.device_hours * 3600 - self._device_seconds,
            wall_seconds=None if budget.wall_hours is None else budget.wall_hours * 3600 - self._seconds,
        )

    def _begin(self, proposal: Proposal, known: int) -> Sequence[Pack]:
        """Return the packs of a proposal, unless the budget does not pay for it."""
        group = self._space.group(proposal.setting, proposal.knobs)
        assert isinstance(group, Group), "a proposed setting has trials"
        until = self._pause(group, proposal.until)
        needed, left = self._needed(proposal, group, until), self._left()
        fresh = sum(not self._ledger.has(trial) for trial in group.ids)
        if left.trials is not None and left.trials < fresh:
            self._ended = f"budget.trials = {self._space.sweep.budget.trials} is spent"
        elif left.flops is not None and left.flops < math.fsum(needed.values()):
            self._ended = f"budget.flops = {self._space.sweep.budget.flops:g} is spent"
        if self._ended:
            return []
        number = self._ledger.proposed(proposal, group, known)
        note = SearchNote(number, known, proposal.reason, self._space.encode(proposal.setting, proposal.knobs))
        self._notes.update(dict.fromkeys(group.ids, note))
        self._until.update(dict.fromkeys(group.ids, until))
        self._running.update(needed)
        groups = [group] if self._stacked else [group.only({trial}) for trial in group.ids]
        size = self._size_of(group.cost)
        flops = float(group.cost.flops or 1)
        return [Pack((one,), flops * len(one.ids), size=size, until=until) for one in groups]

    def _pause(self, group: Group, until: int | None) -> int | None:
        """Return the step at which the trials of a group pause: that of a point of their curve, None for their end."""
        if until is None:
            return None
        events = self._workload.look_up(group.spec(0))
        steps = [event.step for event in events if isinstance(event, CurvePoint) and event.step >= until]
        return steps[0] if len(steps) > 1 else None

    def _needed(self, proposal: Proposal, group: Group, until: int | None) -> dict[str, float]:
        """Return the FLOPs that each trial needs from where it is to where it pauses, or ends."""
        flops, steps = group.cost.flops or 0.0, group.cost.steps
        if not steps:
            return dict.fromkeys(group.ids, flops)
        before, last = inherited(proposal.knobs), min(until or steps, steps)
        done = {trial: max(before, self._ledger.step(trial)) for trial in group.ids}
        return {trial: flops * max(0, last - step) / steps for trial, step in done.items()}

    def _stop(self, stop: Stop) -> None:
        """The paused trials of a setting end as stopped."""
        group = self._space.group(stop.setting)
        assert isinstance(group, Group), "its trials have rows"
        for trial_id in group.ids:
            if (row := self._ledger.row(trial_id)) is not None:
                self._states[trial_id] = "stopped"
                self._ledger.add({**row, "state": "stopped"})
