"""The space of a sweep: its scientific points, the values of its nuisance axes, and the trials at each setting."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sweeplaw.orchestrator.plan import conditions
from sweeplaw.orchestrator.plan.axes import Axis
from sweeplaw.orchestrator.plan.plan import Group, group_at, groups_by_point
from sweeplaw.orchestrator.plan.sweep import SweepSpec
from sweeplaw.orchestrator.search.contract import Setting
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import is_number, short
from sweeplaw.trials.spec import Value

MOST_CANDIDATES = 200_000  # settings of a search that compares all of them
EXAMPLES = 32  # settings tried at a scientific point to find one that has trials


@dataclass(frozen=True, slots=True)
class Candidate:
    """A setting that satisfies the sweep's conditions: the ids of its trials, one a seed, and the FLOPs of all."""

    setting: Setting
    ids: tuple[str, ...]
    flops: float | None


class Space:
    """The settings that a sweep's search may propose.

    ``cells`` are the scientific points, each with the values of the scientific axes; ``axes`` are the nuisance axes,
    in the order of `Setting.values`; ``seeds`` is the number of trials of a setting.
    """

    def __init__(self, sweep: SweepSpec) -> None:
        self.sweep = sweep
        self.axes: tuple[Axis, ...] = tuple(axis for axis in sweep.axes if axis.role == "nuisance")
        self._scientific = [axis for axis in sweep.axes if axis.role == "scientific"]
        self.cells: tuple[Mapping[str, Value], ...] = tuple(
            _named(self._scientific, choice)
            for choice in itertools.product(*(axis.values for axis in self._scientific))
        )
        self._cell_of = {self._key(cell): index for index, cell in enumerate(self.cells)}
        self._conditional = any(axis.when for axis in self.axes)
        self.seeds = sum(len(axis.values) for axis in sweep.axes if axis.role == "seed") or 1
        self._groups: dict[tuple[Setting, str], Group | str] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The knobs of all nuisance axes, in the order of `Setting.values`."""
        return tuple(itertools.chain.from_iterable(axis.names for axis in self.axes))

    @property
    def finite(self) -> bool:
        """Whether every axis has its values."""
        return all(axis.values for axis in self.axes)

    def canonical(self, setting: Setting) -> Setting:
        """Return the canonical setting: axes whose condition does not hold are at their placeholder."""
        off = self.inactive(setting)
        if not off:
            return setting
        return Setting(
            setting.cell,
            tuple(
                conditions.stand_in(axis) if off.issuperset(axis.names) else values
                for axis, values in zip(self.axes, setting.values, strict=True)
            ),
        )

    def inactive(self, setting: Setting) -> set[str]:
        """Return the knobs of the axes whose condition does not hold at this setting."""
        if not self._conditional:
            return set()
        return conditions.inactive(self.sweep.axes, self.knobs(setting), self.sweep.constants)

    def knobs(self, setting: Setting) -> dict[str, Value]:
        """Return the values of all axes at this setting, by knob."""
        return {**self.cells[setting.cell], **_named(self.axes, setting.values)}

    def active_knobs(self, setting: Setting) -> dict[str, Value | None]:
        """Return the values of all axes at this setting, by knob; None for a knob whose condition does not hold."""
        return {**self.knobs(setting), **dict.fromkeys(self.inactive(setting).intersection(self.names))}

    def group(self, setting: Setting, knobs: Mapping[str, Value] = MappingProxyType({})) -> Group | str:
        """Return the trials of a setting with these further ``knobs``, one a seed; or the reason why it has none (a
        condition of ``where``).

        Raise InputError if its names or values cannot be resolved.
        """
        key = setting, json.dumps(knobs, sort_keys=True) if knobs else ""
        if key not in self._groups:
            dropped: Counter[str] = Counter()
            found = group_at(self.sweep, {**self.knobs(setting), **knobs}, dropped)
            self._groups[key] = found or next(iter(dropped), "it is no trial")
        return self._groups[key]

    def stacks(self, group: Group) -> bool:
        """Return whether the trials of a group differ in member knobs only, so that they can train as one stack."""
        return {knob.name for knob in self.sweep.workload.knobs if knob.member}.issuperset(group.names)

    def admits(self, setting: Setting) -> bool:
        """Return whether the setting has trials, and no other stands in its place."""
        return self.canonical(setting) == setting and isinstance(self.group(setting), Group)

    def flops(self, setting: Setting) -> float | None:
        """Return the FLOPs of all trials of a setting; None if unknown."""
        group = self.group(setting)
        return None if isinstance(group, str) or group.cost.flops is None else group.cost.flops * len(group.ids)

    @functools.cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """Every setting of a finite space that has trials. Raise InputError if there are too many, or none."""
        size = len(self.cells)
        for axis in self.axes:
            size *= len(axis.values)
        if size > MOST_CANDIDATES:
            kind = self.sweep.search.kind
            raise InputError(
                f"{size:,} settings, of which a {kind} search compares every one (accepted: {MOST_CANDIDATES:,}); "
                "give the axes fewer values",
                where=self.sweep.name,
            )
        found: dict[Setting, tuple[list[str], float | None]] = {}
        dropped: Counter[str] = Counter()
        for point, group in groups_by_point(self.sweep, dropped):
            for row, trial_id in zip(group.rows, group.ids, strict=True):
                setting = self._setting({**point, **dict(zip(group.names, row, strict=True))})
                found.setdefault(setting, ([], group.cost.flops))[0].append(trial_id)
        if not found:
            reasons = "; ".join(f"{count} dropped: {reason}" for reason, count in dropped.items())
            raise InputError(f"no setting has trials ({reasons})", where=self.sweep.name)
        return tuple(
            Candidate(setting, tuple(ids), None if flops is None else flops * len(ids))
            for setting, (ids, flops) in found.items()
        )

    @functools.cached_property
    def examples(self) -> tuple[Group, ...]:
        """One setting of each scientific point that has trials. Raise InputError if none has."""
        draws = [tuple(axis.at(0.5) for axis in self.axes), *([] if self.finite else sobol(self.axes, EXAMPLES, 0))]
        tried = [[self._trials(Setting(cell, values)) for values in draws] for cell in range(len(self.cells))]
        found = [next((group for group in groups if group), None) for groups in tried]
        if self.finite and None in found:
            first = {item.setting.cell: item.setting for item in reversed(self.candidates)}
            found = [self._trials(first[cell]) for cell in sorted(first)]
        if not any(found):
            raise InputError("no setting that was tried has trials; are the conditions of where too strict?")
        return tuple(group for group in found if group is not None)

    def _trials(self, setting: Setting) -> Group | None:
        group = self.group(setting)
        return group if isinstance(group, Group) else None

    def setting_of(self, row: Mapping[str, Any]) -> Setting | None:
        """Return the setting of a row of the trials table that names all axes whose condition holds, None if it names
        fewer or lies at no scientific point of the sweep.
        """
        names = [*(name for axis in self._scientific for name in axis.names), *self.names]
        missing = {name for name in names if row.get(name) is None}
        filled = {
            name: value
            for axis in self.axes
            if axis.when and missing.issuperset(axis.names)
            for name, value in zip(axis.names, conditions.stand_in(axis), strict=True)
        }
        if missing - filled.keys():
            return None
        try:
            found = self._setting({**{n: self._knob(n).coerce(row[n]) for n in names if n not in filled}, **filled})
        except (ValueError, KeyError, TypeError, OverflowError):
            return None
        return found if self.inactive(found).issuperset(filled) else None

    def encode(self, setting: Setting, knobs: Mapping[str, Value] = MappingProxyType({})) -> str:
        """Return a setting as JSON: the values of all axes by knob, and further ``knobs`` under the empty name."""
        return json.dumps({**self.knobs(setting), **({"": dict(knobs)} if knobs else {})}, sort_keys=True)

    def decode(self, text: str) -> tuple[Setting | None, Mapping[str, Value]]:
        """Return the setting and the further knobs of a text by `encode`; no setting if it is none of this space."""
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            return None, {}
        if not isinstance(content, dict) or not isinstance(knobs := content.pop("", {}), dict):
            return None, {}
        return self.setting_of(content), knobs

    def seed_at(self, cell: int, seed: int) -> int:
        """Return the seed of the random numbers at a scientific point: the ``seed`` itself if there is one point only,
        else a hash of it and the point, so that no two points or seeds share a stream.
        """
        if len(self.cells) == 1:
            return seed
        text = json.dumps([seed, self.cells[cell]], sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")

    def neighbours(self) -> Mapping[int, Sequence[int]]:
        """Return for each cell the cells one step away along one scientific axis, nearest first."""
        sizes = [len(axis.values) for axis in self._scientific]
        places = list(itertools.product(*(range(size) for size in sizes)))
        index = {place: cell for cell, place in enumerate(places)}
        steps = [tuple(sign * (k == axis) for k in range(len(sizes))) for axis in range(len(sizes)) for sign in (-1, 1)]
        return {
            cell: [
                index[there]
                for step in steps
                if (there := tuple(a + b for a, b in zip(place, step, strict=True))) in index
            ]
            for place, cell in index.items()
        }

    def describe(self, setting: Setting) -> str:
        """Return a setting in words: ``lr 0.003, batch_sequences 64 at params 100M``."""
        values, off = _named(self.axes, setting.values), self.inactive(setting)
        knobs = ", ".join(f"{name} {_short(value)}" for name, value in values.items() if name not in off)
        return f"{knobs} at {self.describe_cell(setting.cell)}"

    def describe_cell(self, cell: int) -> str:
        """Return a scientific point in words: ``params 100M, tokens 2B``."""
        return ", ".join(f"{name} {_short(value)}" for name, value in self.cells[cell].items())

    def _setting(self, values: Mapping[str, Value]) -> Setting:
        """Return the setting of these values of all axes. Raise KeyError if there is no such scientific point."""
        cell = self._cell_of[self._key(values)]
        return self.canonical(Setting(cell, tuple(tuple(values[name] for name in axis.names) for axis in self.axes)))

    def _key(self, values: Mapping[str, Value]) -> tuple[Value, ...]:
        return tuple(values[name] for axis in self._scientific for name in axis.names)

    @functools.cached_property
    def _knobs(self) -> Mapping[str, Any]:
        return {knob.name: knob for axis in self.sweep.axes for knob in axis.knobs}

    def _knob(self, name: str) -> Any:
        return self._knobs[name]


def _named(axes: Sequence[Axis], choice: Sequence[tuple[Value, ...]]) -> dict[str, Value]:
    names = itertools.chain.from_iterable(axis.names for axis in axes)
    return dict(zip(names, itertools.chain.from_iterable(choice), strict=True))


def _short(value: Value) -> str:
    return short(value) if is_number(value) else str(value)


def ladder(axis: Axis) -> Iterator[tuple[Value, ...]]:
    """Yield the values of an axis in increasing order where they are single numbers, else in the order of the file."""
    numeric = len(axis.knobs) == 1 and all(isinstance(value, int | float) for (value,) in axis.values)
    yield from sorted(axis.values) if numeric else axis.values


def sobol(axes: Sequence[Axis], samples: int, seed: int) -> list[tuple[tuple[Value, ...], ...]]:
    """Return the distinct ones of the first ``samples`` scrambled Sobol points of these axes.

    A larger draw begins with the smaller one: whole powers of two, which keep the points balanced, are drawn and cut.
    """
    from scipy.stats import qmc

    if not axes:
        return [()]
    points = qmc.Sobol(len(axes), rng=seed).random_base2((samples - 1).bit_length())[:samples]
    drawn = (tuple(axis.at(x) for axis, x in zip(axes, point, strict=True)) for point in points.tolist())
    return list(dict.fromkeys(drawn))
