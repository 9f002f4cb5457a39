"""From a sweep to its trials, their cost, and the combinations that were dropped with the reason. Pure.

A plan consists of groups of trials that share every knob but the member knobs (seed, learning rate, weight decay). A
group is resolved and costed once, and its trials are a table of member values and ids, so that a million trials are
planned in seconds and held in little memory; a `TrialSpec` is made on request. The order of axes in the file does not
matter: names are sorted before anything is combined.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sweeplaw.analysis.tables.display import Card, Shown, brief
from sweeplaw.orchestrator.plan import conditions
from sweeplaw.orchestrator.plan.axes import Axis
from sweeplaw.orchestrator.plan.limits import require_within_budget
from sweeplaw.orchestrator.plan.resolution import checked_cost, member_rows, settle
from sweeplaw.orchestrator.plan.search_options import RandomSearch
from sweeplaw.orchestrator.plan.sizes import free_knobs
from sweeplaw.orchestrator.plan.sweep import SweepSpec
from sweeplaw.orchestrator.plan.trunks import saved_flops
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import InputError, require_types
from sweeplaw.trials.progress import ProgressCallback, no_progress
from sweeplaw.trials.quantities import counted, short
from sweeplaw.trials.spec import TrialSpec, Value, trial_ids

DUPLICATE = "the same trial as another combination"
MOST_FAULTS = 100  # a sweep may have a million points, each with a fault of its own


@dataclass(frozen=True, slots=True)
class Group:
    """Trials that differ in member knobs only.

    ``shared`` are the knobs they have in common, ``names`` the member knobs, ``rows`` one tuple of member values a
    trial, ``ids`` their trial ids in the same order; ``cost`` is the cost of each, ``later`` the `later_knobs`.
    """

    workload: str
    shared: Mapping[str, Value]
    names: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    ids: tuple[str, ...]
    cost: Cost
    later: Mapping[str, Value] = field(default_factory=dict)

    def spec(self, index: int) -> TrialSpec:
        """Return the complete spec of one trial."""
        knobs = {**self.shared, **dict(zip(self.names, self.rows[index], strict=True))}
        return TrialSpec(self.workload, dict(sorted(knobs.items())), self.later)

    @property
    def specs(self) -> Iterator[TrialSpec]:
        """Every spec, in the order of ``ids``, built lazily."""
        return map(self.spec, range(len(self.ids)))

    def only(self, wanted: frozenset[str] | set[str]) -> Group:
        """Return this group with the trials whose id is in ``wanted``."""
        kept = [index for index, trial_id in enumerate(self.ids) if trial_id in wanted]
        return replace(self, rows=tuple(self.rows[i] for i in kept), ids=tuple(self.ids[i] for i in kept))


@dataclass(frozen=True, slots=True, repr=False)
class Plan(Shown):
    """All trials of a sweep. ``dropped`` counts combinations that became no trial, by reason."""

    sweep: SweepSpec
    groups: tuple[Group, ...]
    dropped: Mapping[str, int]

    def headline(self) -> tuple[str, ...]:
        """Return the number of trials and what they cost together, as far as it is known."""
        costs = ((self.total("tokens"), "tokens"), (self.total("flops"), "FLOPs"))
        known = "".join(f", {short(value)} {name}" for value, name in costs if value is not None)
        return (f"{self.sweep.name}: {counted(self.trials, 'trial')} of {self.sweep.workload.name}{known}",)

    def to_dict(self) -> dict[str, Any]:
        """Return the axes and the totals as plain values for JSON; unknown ones are None."""
        axes = {name: [*column] for axis in self.sweep.axes for name, column in _columns(axis)}
        totals = {name: self.total(name) for name in ("tokens", "flops")}
        return {"sweep": self.sweep.name, "axes": axes, "trials": self.trials, **totals, "dropped": dict(self.dropped)}

    def card(self) -> Card:
        """Return the totals, the values of each axis, and the combinations dropped."""
        rows = tuple((name, brief(values)) for name, values in self.to_dict()["axes"].items())
        dropped = tuple(f"{count} dropped: {reason}" for reason, count in self.dropped.items())
        return Card(self.headline(), ("axis", "values"), rows, dropped)

    @property
    def trials(self) -> int:
        """Number of trials."""
        return sum(len(group.ids) for group in self.groups)

    @property
    def ids(self) -> Iterator[str]:
        """Every trial id, once."""
        return itertools.chain.from_iterable(group.ids for group in self.groups)

    @property
    def specs(self) -> Iterator[TrialSpec]:
        """Every spec, built lazily."""
        return itertools.chain.from_iterable(group.specs for group in self.groups)

    def total(self, column: str) -> float | None:
        """Return the sum of a cost (``flops``, ``tokens``) over all trials; None if it is unknown for any of them."""
        values = [(getattr(group.cost, column), len(group.ids)) for group in self.groups]
        return None if any(value is None for value, _ in values) else sum(value * count for value, count in values)

    def flops_to_train(self) -> float | None:
        """Return the least FLOPs of all trials, each trunk counted once, though trials of several processes share none;
        None if they are unknown for any of them.
        """
        total = self.total("flops")
        return None if total is None else total - sum(saved_flops(self.groups, self.sweep)[1].values())

    def only(self, wanted: frozenset[str] | set[str]) -> Plan:
        """Return the plan restricted to these trials."""
        groups = (group.only(wanted) for group in self.groups)
        return replace(self, groups=tuple(group for group in groups if group.ids))


def _columns(axis: Axis) -> Iterator[tuple[str, Sequence[Value]]]:
    """Yield each knob of an axis with the values that it takes."""
    return zip(axis.names, zip(*axis.values, strict=True), strict=False)


def plan(sweep: SweepSpec, watch: ProgressCallback = no_progress) -> Plan:
    """Return the trials of this sweep; none if its search proposes them while it runs. ``watch`` is called with the
    combinations done and their total.

    Raise InputError if the sweep has no trials, or if names or values cannot be resolved.
    """
    require_types(("sweep", sweep, SweepSpec, "what read_sweep returns"))
    if sweep.search.proposes:
        return Plan(sweep, (), {})
    made = full(sweep, watch)
    require_within_budget(sweep.budget, made.trials, made.flops_to_train(), sweep.name)
    return made


def full(sweep: SweepSpec, watch: ProgressCallback = no_progress) -> Plan:
    """Return every trial of the sweep's axes, whatever its search and its budget. Raise InputError as `plan`."""
    dropped: Counter[str] = Counter()
    groups = [group for _, group in groups_by_point(sweep, dropped, watch)]
    if not groups:
        reasons = "; ".join(f"{count} dropped: {reason}" for reason, count in dropped.items())
        raise InputError(f"no trials are left ({reasons or 'an axis has no values'})", where=sweep.name)
    groups.sort(key=lambda group: [(name, type(value).__name__, value) for name, value in group.shared.items()])
    return Plan(sweep, tuple(groups), dict(dropped))


def groups_by_point(
    sweep: SweepSpec, dropped: Counter[str], watch: ProgressCallback = no_progress
) -> Iterator[tuple[Mapping[str, Value], Group]]:
    """Yield each group with the values of the axes that its trials share, in the order of the axes.

    The other axes are among the group's member knobs. ``dropped`` counts what becomes no trial, by reason. Raise
    InputError at the end, with the faults of all points, or of as many as have `MOST_FAULTS`.
    """
    outer, inner = _split(sweep)
    seen, faults = set[str](), dict[str, None]()
    members = math.prod(len(axis.values) for axis in inner)
    total = members * math.prod(len(axis.values) for axis in outer)
    with _uncollected():
        for done, point in enumerate(_combinations(outer), start=1):
            present = _active(sweep, point)
            try:
                if present is not None and (group := _group(sweep, present, inner, dropped, seen)) and not faults:
                    yield point, group
            except InputError as error:
                faults |= dict.fromkeys(error.faults)
                if len(faults) >= MOST_FAULTS:
                    break
            watch(done * members, total)
    if faults:
        raise InputError(list(faults), where=sweep.name)


def group_at(sweep: SweepSpec, values: Mapping[str, Value], dropped: Counter[str]) -> Group | None:
    """Return the trials with these values of all axes but the seeds, one a seed; None if they are ``dropped``.

    Raise InputError if names or values cannot be resolved.
    """
    seeds = tuple(axis for axis in sweep.axes if axis.role == "seed")
    outer, inner = _split(replace(sweep, axes=seeds))
    off = conditions.inactive(sweep.axes, values, sweep.constants)
    present = {name: value for name, value in values.items() if name not in off}
    seen: set[str] = set()
    groups = [_group(sweep, {**present, **point}, inner, dropped, seen) for point in _combinations(outer)]
    found = [group for group in groups if group]
    return _merged(found) if len(found) > 1 else next(iter(found), None)


def _merged(groups: Sequence[Group]) -> Group:
    """Return the trials of several groups as one group with the cost of the most expensive."""
    tables = [spec.knobs for group in groups for spec in group.specs]
    names = tuple(name for name, value in tables[0].items() if any(knobs[name] != value for knobs in tables))
    return replace(
        groups[0],
        shared={name: value for name, value in tables[0].items() if name not in names},
        names=names,
        rows=tuple(tuple(knobs[name] for name in names) for knobs in tables),
        ids=tuple(itertools.chain.from_iterable(group.ids for group in groups)),
        cost=max((group.cost for group in groups), key=lambda cost: cost.flops or 0.0),
    )


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Suspend the garbage collector, which would walk a million tuples of numbers repeatedly (a third of the time)."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _split(sweep: SweepSpec) -> tuple[list[Axis], list[Axis]]:
    """Return the axes that a group shares, and the axes of member knobs alone.

    A member axis read by a formula for a shared knob counts as shared, and so do all axes where one has a condition.
    """
    axes = _drawn(sweep, sweep.search) if isinstance(sweep.search, RandomSearch) else list(sweep.axes)
    free = free_knobs(sweep.workload.knobs, sweep.derived)
    if any(axis.when for axis in sweep.axes):
        free &= {name for axis in axes if axis.role == "seed" for name in axis.names}
    shared = [axis for axis in axes if not set(axis.names) <= free]
    return shared, [axis for axis in axes if axis not in shared]


def _drawn(sweep: SweepSpec, search: RandomSearch) -> list[Axis]:
    """Return the axes with all nuisance axes replaced by one axis of drawn points."""
    from scipy.stats import qmc

    nuisance = [axis for axis in sweep.axes if axis.role == "nuisance"]
    others = [axis for axis in sweep.axes if axis.role != "nuisance"]
    if not nuisance:
        return others
    sobol = qmc.Sobol(len(nuisance), rng=search.seed)
    # Whole powers of two keep Sobol points balanced. The first `samples` of them are used, so a larger search
    # contains a smaller one.
    points = sobol.random_base2((search.samples - 1).bit_length())[: search.samples]
    values = [
        tuple(itertools.chain.from_iterable(axis.at(x) for axis, x in zip(nuisance, point, strict=True)))
        for point in points.tolist()
    ]
    knobs = tuple(knob for axis in nuisance for knob in axis.knobs)
    return [*others, Axis("search", "nuisance", knobs, tuple(dict.fromkeys(values)))]


def _combinations(axes: Sequence[Axis]) -> Iterator[dict[str, Value]]:
    names = [name for axis in axes for name in axis.names]
    for choice in itertools.product(*(axis.values for axis in axes)):
        yield dict(zip(names, itertools.chain.from_iterable(choice), strict=True))


def _active(sweep: SweepSpec, point: dict[str, Value]) -> Mapping[str, Value] | None:
    """Return the values of the axes whose conditions hold; None if another point of the grid stands for this one."""
    if not any(axis.when for axis in sweep.axes):
        return point
    off = conditions.inactive(sweep.axes, point, sweep.constants)
    grid = not isinstance(sweep.search, RandomSearch)
    if grid and not all(conditions.is_first(axis, point) for axis in sweep.axes if off.issuperset(axis.names)):
        return None
    return {name: value for name, value in point.items() if name not in off}


def _group(
    sweep: SweepSpec, point: Mapping[str, Value], inner: Sequence[Axis], dropped: Counter[str], seen: set[str]
) -> Group | None:
    """Return the group at one combination of the shared axes, or None if no trial of it is kept."""
    workload = sweep.workload
    member_axes = [name for axis in inner for name in axis.names]
    settled = settle(sweep, {**sweep.fixed, **point}, member_axes)
    names, rows = member_rows(sweep, settled, inner, dropped)
    if not rows:
        return None
    first = TrialSpec.of(workload.name, workload.knobs, {**settled.shared, **dict(zip(names, rows[0], strict=True))})
    shared = {name: value for name, value in first.knobs.items() if name not in names}
    ids = trial_ids(workload.name, shared, names, rows, first.later)
    if len(set(ids)) < len(ids) or not seen.isdisjoint(ids):
        fresh = {trial_id: row for trial_id, row in zip(ids, rows, strict=True) if trial_id not in seen}
        dropped[DUPLICATE] += len(rows) - len(fresh)
        ids, rows = list(fresh), list(fresh.values())
    if not ids:
        return None
    seen.update(ids)
    cost = checked_cost(workload, first, shared, names, rows)
    return Group(workload.name, shared, names, tuple(rows), tuple(ids), cost, first.later)
