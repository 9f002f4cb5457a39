"""A search run on a recorded space: no store, no workers, simulated time, and its budget in FLOPs.

Slots are free when their run has ended, which takes as long as it has FLOPs, so that several slots propose with runs
pending as a launch does. A run that is asked to pause ends at the first point of its curve from that step on.
"""

from __future__ import annotations

import heapq
import math
import time
from dataclasses import dataclass, replace

from sweeplaw.orchestrator.search.contract import (
    Finished,
    History,
    Observation,
    Pending,
    Proposal,
    RemainingBudget,
    Search,
    Setting,
    Status,
    Stop,
)
from sweeplaw.orchestrator.search.rehearsal.recorded_space import RecordedSetting, RecordedSpace
from sweeplaw.trials.workloads.replay.curves import Curve

ROUNDING = 1e-9  # of FLOPs that add up to a budget


@dataclass(frozen=True, slots=True, order=True)
class _Run:
    """A run under way, by the time of its end: what it costs, and the step at which it will be."""

    end: float
    number: int
    setting: Setting
    known: int
    flops: float
    step: int


class Rehearsal:
    """One search on one recorded space, so far. ``ended`` says why it proposes no more, ``clock`` is the simulated
    time in FLOPs of one slot, ``seconds`` the CPU time of its proposals.
    """

    def __init__(self, space: RecordedSpace, search: Search, slots: int = 1) -> None:
        self.space, self.search = space, search
        self.ended, self.spent, self.clock, self.seconds, self.trials = "", 0.0, 0.0, 0.0, 0
        self._slots = slots
        self._running: list[_Run] = []
        self._known: dict[Setting, Observation] = {}

    def run(self, budget: float) -> None:
        """Go on until ``budget`` FLOPs are spent, those of earlier calls included, or the search has ended."""
        self.ended = ""
        while True:
            while not self.ended and len(self._running) < self._slots and self._begin(budget):
                pass
            if not self._running:
                self.ended = self.ended or "the search waits, and nothing runs"
                return
            self._finish(heapq.heappop(self._running))

    def history(self, budget: float = math.inf) -> History:
        """Return what the search may know now, if it has ``budget`` FLOPs in all."""
        running = sorted(self._running, key=lambda run: run.number)
        left = budget - self.spent - sum(run.flops for run in running)
        return History(
            observations=list(self._known.values()),
            pending=[Pending(run.setting, run.number, run.known) for run in running],
            left=RemainingBudget(flops=None if math.isinf(budget) else left),
            number=self.trials,
            spent=self.spent,
        )

    def _begin(self, budget: float) -> bool:
        """Do what the search decides next; return whether there was anything, and the budget pays for it."""
        history = self.history(budget)
        started = time.process_time()
        found = self.search.propose(history)
        self.seconds += time.process_time() - started
        if found is None:
            return False
        if isinstance(found, Finished):
            self.ended = found.reason
            return False
        if isinstance(found, Stop):
            self._known[found.setting] = replace(self._known[found.setting], status="stopped")
            return True
        recorded = self.space.outcomes[found.setting]
        step, flops = self._until(found, recorded)
        if history.left.flops is not None and flops > history.left.flops + ROUNDING * budget:
            self.ended = f"the budget is spent (the next setting needs {flops:.3g} FLOPs)"
            return False
        known = len(self._known)
        heapq.heappush(self._running, _Run(self.clock + flops, self.trials, found.setting, known, flops, step))
        self._known.pop(found.setting, None)
        self.trials += 1
        return True

    def _until(self, proposal: Proposal, recorded: RecordedSetting) -> tuple[int, float]:
        """Return the step to which a proposal runs, and the FLOPs from where the run is now."""
        if proposal.until is None or not recorded.curve:
            step = recorded.steps
        else:
            step = next((at for at, _ in recorded.curve if at >= proposal.until), recorded.steps)
        before = self._known.get(proposal.setting)
        done = (before.step or 0) / recorded.steps if before and recorded.steps else 0.0
        share = step / recorded.steps if recorded.steps else 1.0
        return step, recorded.flops * max(share - done, 0.0)

    def _finish(self, run: _Run) -> None:
        recorded = self.space.outcomes[run.setting]
        self.clock = run.end
        self.spent += run.flops
        status, curve = _outcome(recorded, run.step)
        self._known[run.setting] = Observation(
            setting=run.setting,
            status=status,
            values=(recorded.loss,) if status == "completed" else (),
            flops=recorded.flops * (run.step / recorded.steps if recorded.steps else 1.0),
            number=run.number,
            known=run.known,
            step=run.step or None,
            steps=recorded.steps or None,
            curve=curve,
            ids=(f"{run.setting}",),
        )


def _outcome(recorded: RecordedSetting, step: int) -> tuple[Status, Curve]:
    """Return how a run stands at this step, and its curve up to there."""
    curve = tuple(point for point in recorded.curve if point[0] <= step)
    if step < recorded.steps:
        return "paused", curve
    if not math.isfinite(recorded.loss):
        return "diverged", curve
    if recorded.curve:
        curve = (*(point for point in curve if point[0] < step), (step, recorded.loss))
    return "completed", curve
