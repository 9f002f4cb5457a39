"""The size of a sweep, computed from its file before any value is built: what cannot be planned is refused at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeplaw.orchestrator.plan.axes import count
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.formula import Formula
from sweeplaw.trials.spec import Knob

MOST_COMBINATIONS = 10_000_000  # of all axes, before `where`: minutes, and about 3 GB
MOST_GROUPS = 1_000_000  # of the axes whose knobs change the cost of a trial: as long, and as large
MOST_AXES = 1000  # and as many derived knobs

_LESS = "fewer values, a random search, or several sweep files, which may share a store"


@dataclass(frozen=True, slots=True)
class AxisSize:
    """The knobs of an axis, and the number of values that its file gives them, equal ones included."""

    names: frozenset[str]
    values: int


def check(
    scientific: Mapping[str, Any],
    nuisance: Mapping[str, Any],
    zipped: Sequence[Mapping[str, Any]],
    seeds: int | list[int],
    samples: int | None,
    derived: int,
) -> Mapping[str, AxisSize]:
    """Return the axes of these tables of a sweep file, every combination of which is planned.

    ``samples`` is the number of points of a random search, whose axes are one, None for a grid; ``derived`` is the
    number of derived knobs. Raise InputError if it is more than can be planned.
    """
    if derived > MOST_AXES:
        raise InputError(f"{derived:,} derived knobs (accepted: at most {MOST_AXES:,})")
    points, searched = _sizes("scientific", scientific, zipped), _sizes("nuisance", nuisance, zipped)
    if (axes := len(points) + len(searched)) > MOST_AXES:
        raise InputError(f"{axes:,} axes (accepted: at most {MOST_AXES:,})")
    if samples is not None:
        _refuse_more({"samples": samples, "nuisance axes": len(searched)}, MOST_COMBINATIONS, "values")
        names = frozenset[str]().union(*(axis.names for axis in searched.values()))
        searched = {"samples": AxisSize(names, samples)}
    repeats = {"seeds": AxisSize(frozenset({"seed"}), seeds if isinstance(seeds, int) else count(seeds))}
    found = {**points, **searched, **repeats}
    _refuse_more({path: axis.values for path, axis in found.items()}, MOST_COMBINATIONS, "combinations")
    return found


def check_groups(axes: Mapping[str, AxisSize], free: frozenset[str]) -> None:
    """Raise InputError if these axes make too many groups, whose trials differ in the ``free`` knobs alone."""
    shared = {path: axis.values for path, axis in axes.items() if not axis.names <= free}
    _refuse_more(shared, MOST_GROUPS, "groups")


def free_knobs(knobs: Iterable[Knob], derived: Mapping[str, Formula]) -> frozenset[str]:
    """Return the knobs in which the trials of a group may differ: member knobs that no formula for another reads."""
    member = {knob.name for knob in knobs if knob.member}
    needed = {name for knob, formula in derived.items() if knob not in member for name in formula.names}
    while more := {name for known in needed & set(derived) for name in derived[known].names} - needed:
        needed |= more
    return frozenset(member - needed)


def _refuse_more(factors: Mapping[str, int], most: int, what: str) -> None:
    """Raise InputError if the product of these factors exceeds ``most``."""
    if _exceeds(factors.values(), most):
        product = " x ".join(f"{name} {size:,}" for name, size in factors.items() if size > 1)
        raise InputError(f"{product}: more than {most:,} {what} (accepted: {_LESS})")


def _sizes(role: str, table: Mapping[str, Any], zipped: Sequence[Mapping[str, Any]]) -> dict[str, AxisSize]:
    """Return the axes of this role."""
    single = {f"{role}.{name}": AxisSize(frozenset({name}), count(raw)) for name, raw in table.items()}
    blocks = {f"zip[{index}]": _block(block) for index, block in enumerate(zipped) if block.get("role") == role}
    return single | blocks


def _block(block: Mapping[str, Any]) -> AxisSize:
    lists = {name: raw for name, raw in block.items() if name != "role"}
    return AxisSize(frozenset(lists), max(map(count, lists.values()), default=1))


def _exceeds(factors: Iterable[int], most: int) -> bool:
    product = 1
    for factor in factors:
        product *= max(1, factor)
        if product > most:
            return True
    return False
