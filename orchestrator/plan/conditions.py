"""Conditional axes: `{ list = [0.8, 0.9], when = "optimizer == 'sgd'" }` varies only in trials where that holds.

Elsewhere the knobs of the axis have their defaults, and its first value stands for all of them, so that no trial is
planned twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sweeplaw.orchestrator.plan.axes import Axis
from sweeplaw.orchestrator.plan.formulas import undefined
from sweeplaw.trials.spec import Knob, Value


def inactive(axes: Sequence[Axis], values: Mapping[str, Any], others: Mapping[str, Any]) -> set[str]:
    """Return the knobs of the axes whose condition does not hold at these values; ``others`` are fixed or defaults."""
    off: set[str] = set()
    for axis in ordered(axes):
        if axis.when is not None:
            known = {**others, **{name: value for name, value in values.items() if name not in off}}
            if not axis.when(known):
                off.update(axis.names)
    return off


def is_first(axis: Axis, values: Mapping[str, Any]) -> bool:
    """Return whether an axis has the value that stands for all of them where it is inactive."""
    return tuple(values[name] for name in axis.names) == stand_in(axis)


def stand_in(axis: Axis) -> tuple[Value, ...]:
    """Return the values of an axis that stand for all of them where it is inactive."""
    return axis.values[0] if axis.values else axis.at(0.0)


def ordered(axes: Iterable[Axis]) -> list[Axis]:
    """Return the axes such that each condition reads only axes before its own; those in a circle come last."""
    waiting, found = list(axes), []
    names: set[str] = set()
    own = {name for axis in waiting for name in axis.names}
    while ready := [axis for axis in waiting if axis.when is None or axis.when.names & own <= names]:
        found += ready
        names.update(name for axis in ready for name in axis.names)
        waiting = [axis for axis in waiting if axis not in ready]
    return found + waiting


def faults(axes: Sequence[Axis], knobs: Iterable[Knob], fixed: Collection[str]) -> list[str]:
    """Return what is wrong with the conditions of these axes."""
    defaults = {knob.name: knob.default for knob in knobs}
    known = {*(name for name, value in defaults.items() if value is not None), *fixed}
    known.update(name for axis in axes for name in axis.names)
    found = []
    order: set[str] = set()
    own = {name for axis in axes for name in axis.names}
    for axis in ordered(axes):
        if axis.when is not None:
            found += undefined(f"{axis.path}.when", axis.when, known)
            if axis.role != "nuisance":
                found.append(f"{axis.path}.when: accepted for nuisance axes, because the points of a law have all axes")
            if circle := sorted((axis.when.names & own) - order):
                found.append(f"{axis.path}.when: reads {', '.join(circle)}, whose own condition depends on this axis")
            found += [
                f"{axis.path}.when: {name} has no default, which trials without this axis need "
                f"(a knob of your own: {name} = ... in [workload.knobs])"
                for name in axis.names
                if defaults.get(name) is None
            ]
        order.update(axis.names)
    return found
