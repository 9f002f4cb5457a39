"""Asynchronous successive halving (ASHA; Li et al. 2020, arXiv:1810.05934) and Hyperband (Li et al. 2018, JMLR 18:185).

Trials train to a rung, pause there with a checkpoint, and the best one in `reduction` of those that reached a rung goes
on to the next. Hyperband adds brackets that begin at higher rungs with fewer trials, because the order at a low rung
may mislead. A diverged trial, or one without a loss, never goes on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sweeplaw.orchestrator.plan.plan import Group
from sweeplaw.orchestrator.plan.search_options import HalvingSearch
from sweeplaw.orchestrator.search.contract import Finished, History, Observation, Proposal, Setting
from sweeplaw.orchestrator.search.space import Space, sobol
from sweeplaw.trials.errors import InputError

DRAWS = 16  # random points drawn for each one wanted, as conditions may refuse some


@dataclass(frozen=True, slots=True)
class _Bracket:
    """Trials of one scientific point that begin at the same rung, in the order in which they start."""

    first: int
    settings: Sequence[Setting]


@dataclass(slots=True)
class _Reached:
    """How far the trials of a bracket are: by rung the loss there, and where each waits paused."""

    losses: dict[int, dict[Setting, float]] = field(default_factory=dict)
    waiting: dict[Setting, int] = field(default_factory=dict)  # the highest rung that it has passed, -1 for none
    completed: bool = False


class Halving:
    """The search of a `HalvingSearch`. Raises InputError if the steps of trials are unknown, or too few for rungs."""

    def __init__(self, space: Space, options: HalvingSearch) -> None:
        self._space, self._options = space, options
        self._shares = _shares(options)
        if faults := list(self._faults()):
            raise InputError(faults, where=space.sweep.name)
        self._brackets = [self._bracketed(cell) for cell in range(len(space.cells))]

    def propose(self, history: History) -> Proposal | Finished | None:
        """Return a trial to promote, highest rung first, else a new one; the scientific points take turns."""
        pending = {item.setting for item in history.pending}
        known = {seen.setting: seen for seen in history.observations}
        cells = len(self._brackets)
        for turn in range(cells):
            cell = (history.number + turn) % cells
            for bracket in self._brackets[cell]:
                if (found := self._next(bracket, known, pending)) is not None:
                    return found
        if history.pending:
            return None
        for brackets in self._brackets:
            if (last := self._last(brackets, known)) is not None:
                return last
        return Finished("every trial that its rungs allow has run to its end")

    def belief(self, history: History) -> str:
        """Return how many trials wait at a rung and how many have completed."""
        waiting = sum(seen.status == "paused" for seen in history.observations)
        done = sum(seen.status == "completed" for seen in history.observations)
        return f"{done} completed, {waiting} paused at a rung"

    def _next(self, bracket: _Bracket, known: Mapping[Setting, Observation], pending: set[Setting]) -> Proposal | None:
        reached = self._reached(bracket, known)
        for rung in range(len(self._shares) - 2, -1, -1):
            losses = reached.losses.get(rung, {})
            best = sorted(losses, key=lambda setting: losses[setting])[: len(losses) // self._options.reduction]
            for place, setting in enumerate(best, start=1):
                if reached.waiting.get(setting) == rung and setting not in pending:
                    why = f"{_ordinal(place)} of {len(losses)} at rung {rung + 1} ({losses[setting]:.5g})"
                    return self._proposal(setting, rung + 1, why)
        for setting, rung in reached.waiting.items():  # interrupted before the first rung of its bracket
            if rung < bracket.first and setting not in pending:
                return self._proposal(setting, bracket.first, "interrupted before its first rung")
        for number, setting in enumerate(bracket.settings, start=1):
            if setting not in known and setting not in pending:
                where = self._space.describe_cell(setting.cell)
                why = f"random setting {number} of {len(bracket.settings)} at {where}"
                return self._proposal(setting, bracket.first, why)
        return None

    def _last(self, brackets: Sequence[_Bracket], known: Mapping[Setting, Observation]) -> Proposal | None:
        """Return the trial to continue at a point where none has completed: the best at the highest rung reached."""
        reached = [self._reached(bracket, known) for bracket in brackets]
        if any(item.completed for item in reached):
            return None
        waiting = [
            (-rung, item.losses[rung][setting], setting)
            for item in reached
            for setting, rung in item.waiting.items()
            if setting in item.losses.get(rung, {})
        ]
        if not waiting:
            return None
        rung, loss, setting = min(waiting, key=lambda entry: entry[:2])
        return self._proposal(setting, len(self._shares) - 1, f"the best at rung {1 - rung} ({loss:.5g}): to its end")

    def _proposal(self, setting: Setting, rung: int, why: str) -> Proposal:
        last = rung >= len(self._shares) - 1
        until = None if last else self._steps(setting)[rung]
        return Proposal(setting, f"{why}, to {'its end' if until is None else f'step {until}'}", until)

    def _reached(self, bracket: _Bracket, known: Mapping[Setting, Observation]) -> _Reached:
        found = _Reached()
        for setting in bracket.settings:
            seen = known.get(setting)
            if seen is None:
                continue
            passed = -1
            for rung, step in enumerate(self._steps(setting)[:-1]):
                loss = next((loss for at, loss in seen.curve if at >= step), None)
                if loss is not None and math.isfinite(loss):
                    passed = rung
                    if rung >= bracket.first:
                        found.losses.setdefault(rung, {})[setting] = loss
            if seen.status == "paused":
                found.waiting[setting] = passed
            found.completed |= seen.status == "completed"
        return found

    def _steps(self, setting: Setting) -> list[int]:
        """Return the step of each rung of a setting; the last one is its end."""
        group = self._space.group(setting)
        assert isinstance(group, Group), "the settings of a bracket have trials"
        assert group.cost.steps is not None, "the steps of all points are known"
        return [max(1, math.ceil(share * group.cost.steps)) for share in self._shares]

    def _bracketed(self, cell: int) -> list[_Bracket]:
        """Return the brackets of a scientific point: one, or for Hyperband one that begins at each rung."""
        sizes = _bracket_sizes(self._options, len(self._shares))
        drawn = iter(self._drawn(cell, sum(sizes)))
        return [
            _Bracket(first, [setting for _, setting in zip(range(size), drawn, strict=False)])
            for first, size in enumerate(sizes)
        ]

    def _drawn(self, cell: int, wanted: int) -> Iterator[Setting]:
        values = sobol(self._space.axes, DRAWS * wanted, self._options.seed)
        settings = dict.fromkeys(self._space.canonical(Setting(cell, own)) for own in values)
        admitted = (setting for setting in settings if self._space.admits(setting))
        return (setting for _, setting in zip(range(wanted), admitted, strict=False))

    def _faults(self) -> Iterator[str]:
        """Yield why the rungs do not fit the trials of some scientific point."""
        steps = [group.cost.steps for group in self._space.examples]
        if any(step is None for step in steps):
            yield "search: rungs are shares of a trial's steps, which are unknown here; give the workload a knob steps"
        few = [step for step in steps if step is not None and step * self._shares[0] < 1]
        if few:
            yield (
                f"search.first = {self._options.first:.3g}: the first rung of trials of {min(few)} steps is below one "
                f"step (accepted: at least {1 / min(few):.3g})"
            )


def _shares(options: HalvingSearch) -> list[float]:
    """Return the share of a trial's steps at each rung; the last one is 1."""
    shares = [options.first]
    while shares[-1] * options.reduction < 1 - 1e-9:
        shares.append(shares[-1] * options.reduction)
    return [*shares, 1.0]


def _bracket_sizes(options: HalvingSearch, rungs: int) -> list[int]:
    """Return the number of trials of each bracket, from the lowest first rung on."""
    if options.kind != "hyperband":
        return [options.samples]
    shrunk = [rungs / (rungs - first) * options.reduction ** -float(first) for first in range(rungs)]
    return [max(1, round(options.samples * size)) for size in shrunk]


def _ordinal(number: int) -> str:
    return "the best" if number == 1 else f"number {number}"
