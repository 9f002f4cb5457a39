"""What the trials of one group are set to: resolved shared knobs, formulas, and the member values that pass `where`."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeplaw.orchestrator.plan.axes import Axis
from sweeplaw.orchestrator.plan.formulas import undefined
from sweeplaw.orchestrator.plan.sweep import SweepSpec
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import InputError, shown
from sweeplaw.trials.formula import Formula
from sweeplaw.trials.spec import Knob, TrialSpec, Value
from sweeplaw.trials.workload import JoinedKnobs, Workload


@dataclass(frozen=True, slots=True)
class ResolvedGroup:
    """A group before its members.

    ``shared`` are its resolved knobs, ``scope`` the names that formulas may read, ``later`` the formulas that read
    member knobs, in an order in which each can be computed.
    """

    shared: dict[str, Any]
    scope: dict[str, Any]
    later: list[tuple[str, Formula]]


def settle(sweep: SweepSpec, values: dict[str, Any], member_axes: Sequence[str]) -> ResolvedGroup:
    """Compute every formula that needs no member knob, each once the names that it reads are known.

    Raise InputError for a formula or condition that uses a name that is not defined.
    """
    knobs = {knob.name: knob for knob in sweep.workload.knobs}
    accepted = {**{knob.name: knob for knob in sweep.workload.requests}, **knobs}
    defaults = {name: knob.default for name, knob in knobs.items() if knob.default is not None}
    waiting = dict(sweep.derived)
    while True:
        resolved = sweep.workload.resolve(values)
        scope = {**defaults, **sweep.workload.facts({**defaults, **resolved}), **values, **resolved}
        known = set(scope) - set(waiting) - set(member_axes)
        ready = [name for name, formula in waiting.items() if formula.names <= known]
        if not ready:
            break
        for name in ready:
            values[name] = _coerced(accepted[name], waiting.pop(name), scope)
    later = _ordered(waiting, known | set(member_axes))
    _check_names(sweep, known | set(member_axes) | set(dict(later)))
    return ResolvedGroup(resolved, scope, later)


def member_rows(
    sweep: SweepSpec, settled: ResolvedGroup, inner: Sequence[Axis], dropped: Counter[str]
) -> tuple[tuple[str, ...], list[tuple[Value, ...]]]:
    """Return the member knobs of a group and the rows of their values that satisfy every condition of ``where``."""
    member_axes = [name for axis in inner for name in axis.names]
    names = (*member_axes, *(name for name, _ in settled.later))
    varying = [rule for rule in sweep.where if rule.names & set(names)]
    for rule in sweep.where:
        if rule not in varying and not rule(settled.scope):
            dropped[f"where {rule.text}"] += math.prod(len(axis.values) for axis in inner)
            return names, []
    if all(len(axis.names) == 1 for axis in inner):  # the common case, and a million rows in a tenth of a second
        rows = list(itertools.product(*([value for (value,) in axis.values] for axis in inner)))
    else:
        choices = itertools.product(*(axis.values for axis in inner))
        rows = [tuple(itertools.chain.from_iterable(choice)) for choice in choices]
    if not varying and not settled.later:
        return names, rows
    knobs = {knob.name: knob for knob in sweep.workload.knobs}
    kept, scope = [], settled.scope
    for row in rows:
        scope.update(zip(member_axes, row, strict=True))
        for name, formula in settled.later:
            scope[name] = _coerced(knobs[name], formula, scope)
        if reason := next((f"where {rule.text}" for rule in varying if not rule(scope)), None):
            dropped[reason] += 1
        else:
            kept.append(tuple(scope[name] for name in names))
    return names, kept


def _ordered(waiting: dict[str, Formula], known: set[str]) -> list[tuple[str, Formula]]:
    """Return the formulas in an order in which each reads only names known before it."""
    waiting, known, order = dict(waiting), set(known), []
    while ready := [name for name, formula in waiting.items() if formula.names <= known]:
        order += [(name, waiting.pop(name)) for name in ready]
        known |= set(ready)
    if waiting:
        faults = [undefined(f"derived.{name}", formula, known) for name, formula in waiting.items()]
        raise InputError(list(itertools.chain.from_iterable(faults)))
    return order


def _check_names(sweep: SweepSpec, known: set[str]) -> None:
    faults = [fault for rule in sweep.where for fault in undefined("where", rule, known)]
    if faults:
        raise InputError(faults)


def _coerced(knob: Knob, formula: Formula, scope: Mapping[str, Any]) -> Value:
    value = formula(scope)
    if knob.type == "int" and isinstance(value, float) and math.isfinite(value):
        value = round(value)
    try:
        return knob.from_formula(value)
    except ValueError as error:
        raise InputError(f"derived.{knob.name}: {shown(formula.text)}: {error}") from None


def checked_cost(
    workload: Workload,
    first: TrialSpec,
    shared: Mapping[str, Value],
    names: Sequence[str],
    rows: Sequence[Sequence[Value]],
) -> Cost:
    """Return the cost of the ``first`` trial of a group, and so of each.

    Raise InputError with all faults: of the cost, and of what does not go together in the trials.
    """
    faults = _joined_faults(workload, shared, names, rows)
    try:
        cost = workload.cost(first)
    except InputError as error:
        raise InputError([*error.faults, *faults]) from None
    if faults:
        raise InputError(faults)
    return cost


def _joined_faults(
    workload: Workload, shared: Mapping[str, Value], names: Sequence[str], rows: Sequence[Sequence[Value]]
) -> list[str]:
    """Return what does not go together in the trials of a group, once for those that agree in all that is joined."""
    if not isinstance(workload, JoinedKnobs) or not rows:
        return []
    places = [place for place, name in enumerate(names) if name in workload.joined_knobs]
    zeros = [place for place, name in enumerate(names) if name in workload.zero_knobs]
    found: dict[str, None] = {}
    for some in (rows, *([row for row in rows if not row[place]] for place in zeros)):
        distinct = {tuple(row[place] for place in places): row for row in some}.values() if places else some[:1]
        for row in distinct:
            found |= dict.fromkeys(workload.joined_faults({**shared, **dict(zip(names, row, strict=True))}))
    return list(found)
