"""A recorded table as the space of a search: only settings that were run, each with what came out.

Values of a knob that differ by rounding are one level, and runs at one setting are averaged.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from sweeplaw.analysis.tables.levels import levels
from sweeplaw.orchestrator.plan.axes import Axis
from sweeplaw.orchestrator.plan.limits import Budget, Retry, StopPolicy
from sweeplaw.orchestrator.plan.plan import Group
from sweeplaw.orchestrator.plan.search_options import GridSearch, SearchOptions
from sweeplaw.orchestrator.plan.sweep import SweepSpec
from sweeplaw.orchestrator.search.contract import Setting
from sweeplaw.orchestrator.search.space import Candidate, Space
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import is_number
from sweeplaw.trials.spec import Knob, Value
from sweeplaw.trials.workloads.replay.curves import Curve
from sweeplaw.trials.workloads.replay.recorded import RecordedTable
from sweeplaw.trials.workloads.replay.recordings import Recordings
from sweeplaw.trials.workloads.replay.workload import Replay

NAME = "rehearsal"  # of the sweep
FAR = 1e3  # octaves between values that are no positive numbers


@dataclass(frozen=True, slots=True)
class RecordedSetting:
    """The runs at one setting: their mean ``loss`` (inf if all diverged), the FLOPs of one, the ``curve`` of the first
    and its last step (0 if unknown); ``losses`` are those that did not diverge.
    """

    loss: float
    flops: float
    curve: Curve
    steps: int
    losses: tuple[float, ...]


class RecordedSpace(Space):
    """The space of the settings in ``outcomes``. Its cells are those that have some, the cheapest first;
    ``without_loss`` is the number of others, in which every run diverged.
    """

    def __init__(
        self,
        sweep: SweepSpec,
        outcomes: Mapping[Setting, RecordedSetting],
        cells: Sequence[Mapping[str, Value]],
        without_loss: int = 0,
    ) -> None:
        super().__init__(sweep)
        self.outcomes, self.without_loss = outcomes, without_loss
        self.cells = tuple(cells)
        self._cell_of = {self._key(cell): index for index, cell in enumerate(self.cells)}
        self._numbers = {setting: number for number, setting in enumerate(outcomes)}

    def searched(self, options: SearchOptions) -> RecordedSpace:
        """Return the same space for another search."""
        return RecordedSpace(replace(self.sweep, search=options), self.outcomes, self.cells, self.without_loss)

    def group(self, setting: Setting, knobs: Mapping[str, Value] = MappingProxyType({})) -> Group | str:
        """Return the run at a setting as a group of one trial, or that there is none."""
        if setting not in self.outcomes or knobs:
            return "it was not recorded"
        recorded = self.outcomes[setting]
        cost = Cost(flops=recorded.flops, steps=recorded.steps or None)
        return Group(self.sweep.workload.name, self.knobs(setting), (), ((),), (str(self._numbers[setting]),), cost)

    def admits(self, setting: Setting) -> bool:
        """Return whether the setting was recorded."""
        return setting in self.outcomes

    def flops(self, setting: Setting) -> float | None:
        """Return the FLOPs of a run at this setting; None if there is none."""
        return self.outcomes[setting].flops if setting in self.outcomes else None

    @functools.cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """Every setting that was recorded."""
        return tuple(
            Candidate(setting, (str(number),), self.outcomes[setting].flops)
            for setting, number in self._numbers.items()
        )

    @functools.cached_property
    def members(self) -> tuple[tuple[Setting, ...], ...]:
        """The settings of each cell."""
        found: list[list[Setting]] = [[] for _ in self.cells]
        for setting in self.outcomes:
            found[setting.cell].append(setting)
        return tuple(map(tuple, found))

    @functools.cached_property
    def least(self) -> tuple[float, ...]:
        """The lowest recorded loss of each cell."""
        return tuple(min(self.outcomes[setting].loss for setting in members) for members in self.members)

    @functools.cached_property
    def total(self) -> float:
        """FLOPs of one run at every setting: the cost of the whole grid."""
        return sum(recorded.flops for recorded in self.outcomes.values())

    def neighbours(self) -> Mapping[int, Sequence[int]]:
        """Return for each cell the other cells, nearest first."""
        return {
            cell: sorted(
                (other for other in range(len(self.cells)) if other != cell),
                key=lambda other: (self.distance(cell, other), other),
            )
            for cell in range(len(self.cells))
        }

    def distance(self, cell: int, other: int) -> float:
        """Return the distance of two cells in octaves."""
        return _distance(self.cells[cell].values(), self.cells[other].values())

    def nearest(self, setting: Setting, cell: int) -> Setting:
        """Return the recorded setting of a cell that is nearest to the values of a setting of another one."""
        wanted = list(itertools.chain.from_iterable(setting.values))
        return min(self.members[cell], key=lambda here: _distance(wanted, itertools.chain.from_iterable(here.values)))


def recorded_space(table: RecordedTable, cell: Sequence[str], knobs: Sequence[str]) -> RecordedSpace:
    """Return the space of a recorded table: ``cell`` are the scientific axes, ``knobs`` the nuisance axes.

    Cells in which every run diverged are left out. Raise InputError if no cell is left, or losses are not positive.
    """
    check_names([*cell, *knobs])
    _check_losses(table)
    columns = {name: _levelled(table.values[name]) for name in (*cell, *knobs)}
    axes = [_axis(name, "scientific" if name in cell else "nuisance", columns[name]) for name in sorted(columns)]
    scientific = [axis.names[0] for axis in axes if axis.role == "scientific"]
    nuisance = [axis.names[0] for axis in axes if axis.role == "nuisance"]
    rows: dict[tuple[Value, ...], dict[tuple[tuple[Value], ...], list[int]]] = {}
    for row in range(len(table)):
        place = tuple(columns[name][row] for name in scientific)
        values = tuple((columns[name][row],) for name in nuisance)
        rows.setdefault(place, {}).setdefault(values, []).append(row)
    every = len(rows)
    rows = {
        place: settings
        for place, settings in rows.items()
        if any(math.isfinite(table.loss[row]) for own in settings.values() for row in own)
    }
    ladders = [{values: step for step, values in enumerate(axis.values)} for axis in axes if axis.role == "nuisance"]
    ordered = sorted(rows, key=lambda place: (min(table.flops[own[0]] for own in rows[place].values()), str(place)))
    outcomes = {
        Setting(number, values): _outcome(table, own)
        for number, place in enumerate(ordered)
        for values, own in sorted(rows[place].items(), key=lambda item: _place(item[0], ladders))
    }
    workload: Any = Replay(tuple(axis.knobs[0] for axis in axes), Recordings(table, cell), table.has_curves)
    sweep = SweepSpec(
        name=NAME,
        description="",
        workload=workload,
        options={},
        axes=tuple(axes),
        fixed={},
        derived={},
        where=(),
        search=GridSearch(),
        budget=Budget(),
        retry=Retry(),
        stop=StopPolicy(),
    )
    cells = [dict(zip(scientific, place, strict=True)) for place in ordered]
    return RecordedSpace(sweep, outcomes, cells, every - len(rows))


def check_names(names: Sequence[str]) -> None:
    """Raise InputError if a column is two of a cell axis, a knob and the loss, or twice the same."""
    if twice := [f"{name} is named {names.count(name)} times" for name in sorted(set(names)) if names.count(name) > 1]:
        raise InputError(twice)


def _check_losses(table: RecordedTable) -> None:
    """Raise InputError if relative regret is undefined."""
    finite = table.loss[np.isfinite(table.loss)]
    if not len(finite):
        raise InputError("no run has a finite loss")
    if finite.min() <= 0:
        raise InputError(f"the loss {finite.min():g} is not positive (accepted: positive losses: regret is relative)")


def _place(values: Sequence[tuple[Value]], ladders: Sequence[Mapping[tuple[Value, ...], int]]) -> tuple[int, ...]:
    """Return the steps of a setting on the ladders of the knobs."""
    return tuple(ladder[value] for value, ladder in zip(values, ladders, strict=True))


def _outcome(table: RecordedTable, rows: Sequence[int]) -> RecordedSetting:
    losses = tuple(float(table.loss[row]) for row in rows if math.isfinite(table.loss[row]))
    return RecordedSetting(
        loss=sum(losses) / len(losses) if losses else math.inf,
        flops=float(np.mean(table.flops[list(rows)])),
        curve=table.curves[rows[0]] if table.curves else (),
        steps=int(table.steps[rows[0]]),
        losses=losses,
    )


def _levelled(values: Sequence[Value]) -> list[Value]:
    """Return the values of a column with numbers replaced by their level."""
    if not all(is_number(value) for value in values):
        return list(values)
    distinct, index = levels(np.array(values, dtype=float))
    whole = all(float(value).is_integer() for value in distinct)
    return [int(value) if whole else float(value) for value in distinct[index]]


def _axis(name: str, role: str, column: Sequence[Value]) -> Axis:
    values = sorted(set(column), key=lambda value: (str(type(value)), value))
    first = values[0]
    kind = "bool" if isinstance(first, bool) else type(first).__name__
    numeric = kind in ("int", "float")
    knob = Knob(name, kind, None, "", "")  # type: ignore[arg-type]
    low, high = (float(values[0]), float(values[-1])) if numeric else (math.nan, math.nan)
    return Axis(f"{role}.{name}", role, (knob,), tuple((value,) for value in values), low, high, numeric and low > 0)


def _distance(one: Iterable[Value], other: Iterable[Value]) -> float:
    return math.sqrt(sum(_octaves(a, b) ** 2 for a, b in zip(one, other, strict=True)))


def _octaves(a: Value, b: Value) -> float:
    """Return the distance of two values in octaves; of values without a logarithm whether they are the same."""
    if a == b:
        return 0.0
    if isinstance(a, str | bool) or isinstance(b, str | bool) or a <= 0 or b <= 0:
        return FAR
    return abs(math.log2(a / b))
