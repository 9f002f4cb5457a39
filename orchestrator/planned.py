"""A plan as a person reads it: trials, parameters, tokens, FLOPs, memory, device-hours, what was dropped and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from clusters.profile import Profile
from orchestrator.plan import Group, Plan


def estimate(plan: Plan, profile: Profile) -> dict[str, Any]:
    """The plan in numbers. Unknown is None: a workload that does not tell its FLOPs has no device-hours."""
    points = [_point(plan, groups, profile) for _, groups in sorted(_by_point(plan).items())]
    hours = _sum(point["device_hours"] for point in points)
    slots = profile.planned_slots()
    return {
        "sweep": plan.sweep.name,
        "workload": plan.sweep.workload.name,
        "trials": plan.trials,
        "tokens": plan.total("tokens"),
        "flops": plan.total("flops"),
        "flops_convention": next((group.cost.flops_convention for group in plan.groups), None),
        "memory_bytes": max((group.cost.memory_bytes or 0 for group in plan.groups), default=0) or None,
        "device": profile.device.name,
        "device_hours": hours,
        "hours": None if hours is None or slots is None else hours / profile.devices_per_slot / slots,
        "slots": slots,
        "dropped": dict(plan.dropped),
        "too_large": [point["point"] for point in points if point["fits"] is False],
        "points": points,
    }


def _by_point(plan: Plan) -> dict[tuple[int, int], list[Group]]:
    """Groups by (N, D); unknown counts as one point."""
    found: dict[tuple[int, int], list[Group]] = {}
    for group in plan.groups:
        found.setdefault((group.cost.params or 0, group.cost.tokens or 0), []).append(group)
    return found


def _point(plan: Plan, groups: Sequence[Group], profile: Profile) -> dict[str, Any]:
    cost = groups[0].cost
    trials = sum(len(group.ids) for group in groups)
    seconds = _sum(
        None
        if group.cost.flops is None
        else len(group.ids) * profile.device.seconds(group.cost.flops, params=cost.params)
        for group in groups
    )
    memory = max((group.cost.memory_bytes for group in groups if group.cost.memory_bytes), default=None)
    usable = profile.device.usable_bytes
    return {
        "point": {name: groups[0].shared[name] for name in plan.sweep.names("scientific") if name in groups[0].shared},
        "params": cost.params,
        "params_non_embedding": cost.params_non_embedding,
        "tokens": cost.tokens,
        "trials": trials,
        "flops": _sum(None if group.cost.flops is None else group.cost.flops * len(group.ids) for group in groups),
        "memory_bytes": memory,
        "fits": None if memory is None or usable is None else memory <= usable * max(1.0, profile.gpus_per_trial),
        "device_hours": None if seconds is None else seconds / 3600 * profile.devices_per_slot,
    }


def _sum(values: Any) -> float | None:
    found = list(values)
    return None if any(value is None for value in found) else float(sum(found))


def listing(plan: Plan) -> list[dict[str, Any]]:
    """Every trial: its id, the knobs on an axis or derived, and its cost."""
    sweep = plan.sweep
    shown = {*sweep.names("scientific"), *sweep.names("nuisance"), *sweep.names("seeds"), *sweep.derived}
    return [
        {
            "trial_id": spec.trial_id,
            **{name: value for name, value in spec.knobs.items() if name in shown},
            "params": group.cost.params,
            "tokens": group.cost.tokens,
            "flops": group.cost.flops,
        }
        for group in plan.groups
        for spec in (group.spec(index) for index in range(len(group.ids)))
    ]


def render(cost: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> None:
    """Print the estimate, and the trials when they are asked for."""
    console = Console()
    table = Table(title=f"{cost['sweep']}: {cost['trials']} trials of {cost['workload']}", title_justify="left")
    for heading in ("params", "non-embedding", "tokens", "trials", "FLOPs", "memory", "device-hours"):
        table.add_column(heading, justify="right")
    for point in cost["points"]:
        table.add_row(
            *(count(point[name]) for name in ("params", "params_non_embedding", "tokens")),
            str(point["trials"]),
            count(point["flops"]),
            memory(point["memory_bytes"]) + ("" if point["fits"] is not False else " too large"),
            hours(point["device_hours"]),
        )
    console.print(table)
    wall = f", {hours(cost['hours'])} on {cost['slots']} slots" if cost["hours"] is not None else ""
    convention = cost["flops_convention"] or "convention unknown"
    console.print(
        f"in all: {count(cost['tokens'])} tokens, {count(cost['flops'])} FLOPs ({convention}), "
        f"about {hours(cost['device_hours'])} of {cost['device']}{wall}",
        highlight=False,
    )
    for reason, number in cost["dropped"].items():
        console.print(f"dropped: {number} ({reason})", highlight=False)
    if trials:
        rows = Table()
        for name in trials[0]:
            rows.add_column(name, justify="right")
        for trial in trials:
            rows.add_row(*(f"{value:.6g}" if isinstance(value, float) else str(value) for value in trial.values()))
        console.print(rows)


def count(value: float | None) -> str:
    """A large number in three digits and a unit; a dash where it is unknown."""
    if value is None:
        return "–"
    for power, unit in ((12, "T"), (9, "B"), (6, "M"), (3, "k")):
        if 10**15 > abs(value) >= 10**power:
            return f"{value / 10**power:.3g}{unit}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def memory(value: float | None) -> str:
    """Bytes as MB or GB."""
    return "–" if value is None else f"{value / 1e9:.1f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def hours(value: float | None) -> str:
    """Hours as s, min or h."""
    if value is None:
        return "–"
    seconds = value * 3600
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{value:.1f} h"
