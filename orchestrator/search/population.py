"""Population-based training (Jaderberg et al. 2017, arXiv:1711.09846), in generations.

The members of a scientific point train to the end of an interval and pause. Each of the worst continues from the
checkpoint of one of the best, with its knobs perturbed; the others go on as they are, once those have begun from their
checkpoints. What a member has lived through is the text of its knob `changes` (`trials.changes`): each interval after a
change is a trial of its own, with a row, whose schedule can be read and trained again from its start.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from sweeplaw.orchestrator.plan.plan import Group
from sweeplaw.orchestrator.plan.search_options import PopulationSearch
from sweeplaw.orchestrator.search.contract import Finished, History, Observation, Proposal, Setting
from sweeplaw.orchestrator.search.space import Space, sobol
from sweeplaw.trials.changes import CHANGEABLE, Change, parse, value_at, write
from sweeplaw.trials.errors import InputError

KNOB = "changes"
EVALUATIONS = "evaluations"  # a knob of language_model
TRIES = 32  # of changes that no other member has
LAG = 16  # most steps that a trainer does after its last evaluation before it pauses
DRAWS = 16  # random points drawn for each member, as conditions may refuse some


@dataclass(frozen=True, slots=True)
class _Member:
    """A member of one generation: where it began, its changes so far, and why it is as it is."""

    setting: Setting
    changes: str
    origin: str


class Population:
    """The search of a `PopulationSearch`. Raises InputError for knobs that cannot change while a trial trains."""

    def __init__(self, space: Space, options: PopulationSearch) -> None:
        self._space, self._options = space, options
        if faults := list(self._faults()):
            raise InputError(faults, where=space.sweep.name)
        self._first = [list(self._drawn(cell)) for cell in range(len(space.cells))]

    def propose(self, history: History) -> Proposal | Finished | None:
        """Return the next interval of a member; the scientific points take turns."""
        known = {(seen.setting, str(seen.knobs.get(KNOB, ""))): seen for seen in history.observations}
        pending = {(item.setting, str(item.knobs.get(KNOB, ""))) for item in history.pending}
        cells = len(self._first)
        for turn in range(cells):
            if (found := self._next((history.number + turn) % cells, known, pending)) is not None:
                return found
        return None if history.pending else Finished("every member has trained to its end")

    def belief(self, history: History) -> str:
        """Return how many members have completed."""
        done = sum(seen.status == "completed" for seen in history.observations)
        return f"{done} of {sum(map(len, self._first))} members completed"

    def _next(
        self, cell: int, known: Mapping[tuple[Setting, str], Observation], pending: set[tuple[Setting, str]]
    ) -> Proposal | None:
        """Return the next proposal at a point; None if its generation waits or all have ended."""
        members = self._first[cell]
        for generation in range(self._options.intervals):
            ready = [self._reached(member, known, generation) for member in members]
            if None in ready:
                return self._begun(members, ready, known, pending, generation)
            if generation + 1 < self._options.intervals:
                members = self._bred(cell, generation, members, [loss for loss in ready if loss is not None], known)
        return None

    def _begun(
        self,
        members: list[_Member],
        ready: list[float | None],
        known: Mapping[tuple[Setting, str], Observation],
        pending: set[tuple[Setting, str]],
        generation: int,
    ) -> Proposal | None:
        """Return the proposal of a member that has not reached the end of this generation: those that begin from
        another's checkpoint first, the others when these have ended.
        """
        waiting = [member for member, loss in zip(members, ready, strict=True) if loss is None]
        fresh = [member for member in waiting if (member.setting, member.changes) not in known]
        for member in fresh or waiting:
            if (member.setting, member.changes) not in pending:
                end = self._ends(member.setting)[generation]
                knobs = {KNOB: member.changes} if member.changes else {}
                where = f"interval {generation + 1} of {self._options.intervals}"
                return Proposal(member.setting, f"{where}: {member.origin}", end, knobs)
        return None

    def _reached(
        self, member: _Member, known: Mapping[tuple[Setting, str], Observation], generation: int
    ) -> float | None:
        """Return the loss of a member at the end of a generation, infinite if it ended before; None if it has not."""
        seen = known.get((member.setting, member.changes))
        if seen is None:
            return None
        end = self._ends(member.setting)[generation]
        if end is None:
            return (seen.value if seen.value is not None else math.inf) if seen.status != "paused" else None
        loss = next((loss for step, loss in seen.curve if step >= end), None)
        if loss is not None:
            return loss if math.isfinite(loss) else math.inf
        return None if seen.status == "paused" else math.inf

    def _bred(
        self,
        cell: int,
        generation: int,
        members: list[_Member],
        losses: list[float],
        known: Mapping[tuple[Setting, str], Observation],
    ) -> list[_Member]:
        """Return the next generation: the worst replaced by changed copies of the best."""
        order = sorted(range(len(members)), key=lambda index: (losses[index], index))
        count = max(1, int(len(members) * self._options.quantile))
        best = [index for index in order[:count] if math.isfinite(losses[index])]
        following = [_Member(member.setting, member.changes, "goes on as it is") for member in members]
        for index in order[-count:] if best else []:
            rng = np.random.default_rng([self._space.seed_at(cell, self._options.seed), generation, index])
            source = best[int(rng.integers(len(best)))]
            if losses[index] <= losses[source]:
                continue
            taken = {(member.setting, member.changes) for member in following}
            children = (self._child(members[source], losses[source], generation, known, rng) for _ in range(TRIES))
            following[index] = next(
                (child for child in children if child and (child.setting, child.changes) not in taken), following[index]
            )
        return following

    def _child(
        self,
        parent: _Member,
        loss: float,
        generation: int,
        known: Mapping[tuple[Setting, str], Observation],
        rng: np.random.Generator,
    ) -> _Member | None:
        """Return a copy of a member whose knobs change where its checkpoint is; None if no step is left there."""
        end = self._ends(parent.setting)[generation] or 0
        curve = known[parent.setting, parent.changes].curve
        step = next((step for step, _ in curve if step >= end), end)
        step += self._lag(parent.setting)
        if step >= self._steps(parent.setting):
            return None
        before = parse(parent.changes)
        values = {
            axis.names[0]: self._moved(axis.names[0], value_at(axis.names[0], float(own[0]), before, step), rng)
            for axis, own in zip(self._space.axes, parent.setting.values, strict=True)
        }
        changes = write([*before, Change(step, values)])
        new = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
        return _Member(parent.setting, changes, f"from the checkpoint of a member at {loss:.5g}, with {new}")

    def _lag(self, setting: Setting) -> int:
        """Return the steps after a pause at which knobs change: a trainer goes on for some before it pauses."""
        return min(LAG, max(1, self._steps(setting) // (8 * self._options.intervals)))

    def _moved(self, name: str, value: float, rng: np.random.Generator) -> float:
        """Return a value for the next interval: drawn anew, or multiplied or divided by the factor, within its axis."""
        axis = next(axis for axis in self._space.axes if axis.names[0] == name)
        numbers = [float(own[0]) for own in axis.values] or [axis.low, axis.high]
        draw, up, place = rng.random(), rng.random() < 0.5, rng.random()
        if draw < self._options.resample:
            return float(axis.at(place)[0])
        moved = value * self._options.factor if up else value / self._options.factor
        return float(f"{min(max(moved, min(numbers)), max(numbers)):.6g}")

    def _ends(self, setting: Setting) -> list[int | None]:
        """Return the step at which each interval ends; None for the end of the trial."""
        steps, parts = self._steps(setting), self._options.intervals
        return [*(max(1, round(steps * k / parts)) for k in range(1, parts)), None]

    def _steps(self, setting: Setting) -> int:
        group = self._space.group(setting)
        assert isinstance(group, Group), "members have trials"
        return group.cost.steps or 0

    def _drawn(self, cell: int) -> Iterator[_Member]:
        wanted = self._options.members
        values = sobol(self._space.axes, DRAWS * wanted, self._options.seed)
        settings = dict.fromkeys(self._space.canonical(Setting(cell, own)) for own in values)
        admitted = (setting for setting in settings if self._space.admits(setting))
        for number, setting in zip(range(1, wanted + 1), admitted, strict=False):
            yield _Member(setting, "", f"random member {number} of {wanted} at {self._space.describe_cell(cell)}")

    def _faults(self) -> Iterator[str]:
        """Yield why the sweep has no population."""
        workload, knobs = self._space.sweep.workload, self._space.names
        if KNOB not in {knob.name for knob in workload.knobs}:
            yield (
                f"search.kind: population changes knobs while a trial trains, which {workload.name} cannot "
                "(accepted: language_model, or code of your own with checkpoints = true that follows its knob "
                '`changes`, declared as changes = "" in [workload.knobs])'
            )
        elif others := sorted(set(knobs) - set(CHANGEABLE)):
            yield (
                f"search.kind: {', '.join(others)} cannot change while a trial trains "
                f"(nuisance axes of a population: {', '.join(CHANGEABLE)})"
            )
        elif not knobs:
            yield f"search.kind: a population needs a nuisance axis ({' or '.join(CHANGEABLE)})"
        yield from self._between_evaluations()
        steps = [group.cost.steps for group in self._space.examples]
        if few := [step for step in steps if step is not None and step < 2 * self._options.intervals]:
            parts = self._options.intervals
            yield f"search.intervals = {parts} of trials of {min(few)} steps (accepted: two steps in each)"

    def _between_evaluations(self) -> Iterator[str]:
        """Yield a fault for each number of evaluations that is too small for the intervals."""
        parts = self._options.intervals
        numbers = {group.shared.get(EVALUATIONS) for group in self._space.examples}
        for number in sorted(one for one in numbers if isinstance(one, int) and one < parts):
            yield (
                f"search.intervals = {parts} with {EVALUATIONS} = {number}: each interval ends at an evaluation "
                f"(accepted: at least {parts} evaluations)"
            )
