"""The cost of a plan on a cluster (tokens, FLOPs, memory, device-hours by point), and its check against the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.plan.pace import Pace, assumed, rated_seconds
from sweeplaw.orchestrator.plan.plan import Group, Plan
from sweeplaw.orchestrator.plan.resources import ClusterCapacity, ResourceSizer, TrialResources
from sweeplaw.orchestrator.plan.sweep import SweepSpec
from sweeplaw.orchestrator.plan.trunks import saved_flops
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.corpus.names import absent
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import N_UNKNOWN
from sweeplaw.trials.workload import Workload
from sweeplaw.trials.workloads.language_model import LanguageModel

SAME_TOKENS = 0.01  # parts of D by which batch sizes that do not divide it change the tokens of a trial


def estimate(plan: Plan, profile: Profile, pace: Pace | None = None) -> dict[str, Any]:
    """Return the plan in numbers. Unknown is None: a workload without a FLOP count has no device-hours.

    Times are at this ``pace``, by default the one assumed; ``time_basis`` says which.
    """
    pace = pace or assumed(plan, profile)
    sizer = ResourceSizer(profile, plan.sweep.workload.spreads, ClusterCapacity.of(profile.planned_nodes()))
    branching, saved = _saved_flops(plan, sizer)
    left = {group.ids[0]: _left(group, saved[number]) for number, group in enumerate(plan.groups)}
    points = [_point(plan, groups, profile, sizer, pace, left) for groups in _by_point(plan)]
    hours = _sum(point["device_hours"] for point in points)
    slots = profile.planned_slots()
    return {
        "sweep": plan.sweep.name,
        "workload": plan.sweep.workload.name,
        "trials": plan.trials,
        "tokens": plan.total("tokens"),
        "flops": plan.total("flops"),
        **({"trunks": {"trials": branching, "saved_flops": sum(saved.values())}} if branching else {}),
        "flops_convention": next((group.cost.flops_convention for group in plan.groups), None),
        "memory_bytes": max((group.cost.memory_bytes or 0 for group in plan.groups), default=0) or None,
        "device": profile.device.name,
        "device_hours": hours,
        "hours": None if hours is None or slots is None else hours / profile.devices_per_slot / slots,
        "time_basis": None if hours is None and pace.known else pace.basis,
        "slots": slots,
        "dropped": dict(plan.dropped),
        "retry": plan.sweep.retry.model_dump(),
        "budget": plan.sweep.budget.model_dump(exclude_none=True),
        "points": points,
    }


def _saved_flops(plan: Plan, sizer: ResourceSizer) -> tuple[int, dict[int, float]]:
    """Return what trunks save, as `trunks.saved_flops`: trials of one size share them, none of several processes."""
    sizes = {cost: sizer(cost) for cost in dict.fromkeys(group.cost for group in plan.groups)}
    alike: dict[TrialResources, list[int]] = {}
    for number, group in enumerate(plan.groups):
        size = sizes[group.cost]
        if size is not None and size.processes == 1:
            alike.setdefault(size, []).append(number)
    trials, saved = 0, dict.fromkeys(range(len(plan.groups)), 0.0)
    for numbers in alike.values():
        count, own = saved_flops([plan.groups[number] for number in numbers], plan.sweep)
        trials += count
        saved |= {numbers[place]: flops for place, flops in own.items()}
    return trials, saved


def _by_point(plan: Plan) -> list[list[Group]]:
    """Return the groups of each (N, D), sorted; where one of them is unknown, those of each scientific point.

    Groups of one scientific point whose tokens differ by less than ``SAME_TOKENS`` are at one D: a batch size that does
    not divide the budget leaves out its last, partial batch.
    """
    scientific = plan.sweep.names("scientific")
    points: dict[tuple[Any, ...], list[Group]] = {}
    for group in plan.groups:
        size = (group.cost.params or 0, group.cost.tokens or 0)
        known = None not in (group.cost.params, group.cost.tokens)
        points.setdefault((*size, *(() if known else map(group.shared.get, scientific))), []).append(group)
    found: list[list[Group]] = []
    for _, groups in sorted(points.items(), key=lambda point: point[0][:2]):
        if found and _at_one_point(found[-1][0], groups[0], scientific):
            found[-1] += groups
        else:
            found.append(groups)
    return found


def _at_one_point(one: Group, other: Group, scientific: Sequence[str]) -> bool:
    """Return whether two groups of different tokens are at one (N, D)."""
    if one.cost.params is None or one.cost.params != other.cost.params or not one.cost.tokens:
        return False
    close = (other.cost.tokens or 0) <= (1 + SAME_TOKENS) * one.cost.tokens
    return close and all(one.shared.get(name) == other.shared.get(name) for name in scientific)


def _left(group: Group, saved: float) -> float:
    """Return the share of the updates of a group's trials that no other trial does for them."""
    return 1 - saved / (group.cost.flops * len(group.ids)) if group.cost.flops else 1.0


def _point(
    plan: Plan,
    groups: Sequence[Group],
    profile: Profile,
    sizer: ResourceSizer,
    pace: Pace,
    left: Mapping[str, float],
) -> dict[str, Any]:
    cost = groups[0].cost
    largest = max((group.cost for group in groups), key=lambda cost: cost.memory_bytes or 0)
    size = sizer(largest)
    trials = sum(len(group.ids) for group in groups)
    rates = [rated_seconds(group.cost, profile.device) if pace.known else None for group in groups]
    seconds = _sum(
        None if rated is None else len(group.ids) * left[group.ids[0]] * pace.factor * rated
        for group, rated in zip(groups, rates, strict=True)
    )
    return {
        "point": _agreed(groups, plan.sweep.names("scientific")),
        "params": cost.params,
        "params_non_embedding": cost.params_non_embedding,
        "tokens": groups[-1].cost.tokens,
        "trials": trials,
        "flops": _sum(None if group.cost.flops is None else group.cost.flops * len(group.ids) for group in groups),
        "memory_bytes": largest.memory_bytes,
        "resources": None if size is None else str(size),
        "misfit": _misfit(plan, sizer, largest, groups) if size is None else None,
        "device_hours": None if seconds is None else seconds / 3600 * _devices(profile, size),
    }


def _misfit(plan: Plan, sizer: ResourceSizer, largest: Cost, groups: Sequence[Group]) -> str:
    """Return a sentence about the trials of a point, which fit nowhere; members of an ensemble may do so one by one."""
    members = {group.shared.get("members", 1) for group in groups} - {1}
    if not members or not isinstance(plan.sweep.workload, LanguageModel):
        return sizer.misfit(largest)
    count = max(members)
    apart = f"members = 1 and seeds = {count} train its {count} members one after another, and then sweeplaw evaluate"
    return f"{sizer.misfit(largest)}; {apart} STORE --best has their ensembles"


def _agreed(groups: Sequence[Group], names: Sequence[str]) -> dict[str, Any]:
    """Return the values of these knobs that all of the groups share."""
    first, *others = (group.shared for group in groups)
    return {
        name: first[name]
        for name in names
        if name in first and all(name in other and other[name] == first[name] for other in others)
    }


def _devices(profile: Profile, size: TrialResources | None) -> float:
    """Return the devices held while one works: processes of a trial share the work, devices of one process do not."""
    if size is None:
        return profile.devices_per_slot
    return size.gpus if profile.device.accelerator else size.cpus


def _sum(values: Any) -> float | None:
    found = list(values)
    return None if any(value is None for value in found) else float(sum(found))


def listing(plan: Plan) -> list[dict[str, Any]]:
    """Return a row for each trial: its id, the knobs on an axis or derived, and its cost."""
    sweep = plan.sweep
    shown = {*sweep.names("scientific"), *sweep.names("nuisance"), *sweep.names("seed"), *sweep.derived}
    return [
        {
            "trial_id": spec.trial_id,
            **{name: value for name, value in spec.knobs.items() if name in shown},
            "params": group.cost.params,
            "tokens": group.cost.tokens,
            "flops": group.cost.flops,
        }
        for group in plan.groups
        for spec in group.specs
    ]


def absent_data(plan: Plan) -> list[str]:
    """Return a sentence for all data of the plan that a launch would miss."""
    return absent_data_of(plan.sweep.workload, plan.groups)


def absent_data_of(workload: Workload, groups: Sequence[Group]) -> list[str]:
    """Return a sentence for each corpus of the built-in workload that is not on this machine or has too few tokens, and
    for each synthetic text, teacher and initial model that is not there or does not fit.
    """
    if not isinstance(workload, LanguageModel):
        return []
    corpora = dict.fromkeys(str(group.shared["corpus"]) for group in groups)
    found = [sentence for corpus in corpora if (sentence := absent(corpus))]
    specs = [group.spec(0) for group in groups]
    unfit = [*workload.short_corpora(specs), *workload.absent_sources(specs)]
    needed = "a launch needs it where its trials run"
    return [f"{sentence}; {needed}" for sentence in found] + [f"{sentence}; a launch is refused" for sentence in unfit]


def unknown_sizes(plan: Plan) -> list[str]:
    """Return a sentence if N will be null in trials whose parameters are known."""
    costs = [(group.cost, len(group.ids)) for group in plan.groups]
    trials = sum(count for cost, count in costs if cost.params is not None and cost.params_non_embedding is None)
    return [f"{trials} of {plan.trials} trials: {N_UNKNOWN}"] if trials else []


def unkept_ensembles(sweep: SweepSpec) -> list[str]:
    """Return a sentence if the sweep trains ensembles of language models and keeps the weights of none."""
    axes = [axis for axis in sweep.axes if "members" in axis.names]
    sizes = {value[axis.names.index("members")] for axis in axes for value in axis.values}
    if sweep.keep or not isinstance(sweep.workload, LanguageModel) or not (sizes or {sweep.constants["members"]}) - {1}:
        return []
    kept = "keep = 'final' in the sweep file keeps them"
    return [f"no weights of its ensembles are kept to evaluate, to sample text from or to learn from ({kept})"]


def check(plan: Plan, cost: dict[str, Any], used_hours: float = 0.0) -> None:
    """Raise InputError if the estimate exceeds the rest of the budget, or if a trial does not fit its device.

    ``used_hours`` are the device-hours used by earlier launches of the sweep.
    """
    allowed, needed = plan.sweep.budget.device_hours, cost["device_hours"]
    faults = list(dict.fromkeys(point["misfit"] for point in cost["points"] if point["misfit"]))
    if allowed is not None and used_hours + (needed or 0.0) > allowed:
        used = f"{used_hours:.3g} are used and " if used_hours else ""
        cause = (
            "the cost of the remaining trials is not known"
            if needed is None
            else f"the sweep needs about {needed:.3g} of {cost['device']} ({cost['time_basis']})"
        )
        faults.append(f"budget.device_hours = {allowed:g}, but {used}{cause}")
    if faults:
        raise InputError(faults, where=plan.sweep.name)
