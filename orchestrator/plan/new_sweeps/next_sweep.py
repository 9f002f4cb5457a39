"""A sweep file for a plan of what to run next: the axes of the sweep that ran, at new points or with new levels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sweeplaw.analysis.next_runs.run_plan import RunPlan
from sweeplaw.analysis.tables.tables import Tables
from sweeplaw.clusters.profile import toml_file
from sweeplaw.orchestrator.plan.new_sweeps.derived_sweep import best_runs, launched_sweep
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.trials.errors import InputError

SIZES = ("params", "params_non_embedding")  # axes that ask for a number of parameters
DATA = "tokens"
KEPT = ("workload", "keep", "resources", "retry", "fixed", "derived")  # of the sweep that ran


def next_sweep(
    tables: Tables,
    plan: RunPlan,
    n: str,
    *,
    family: Mapping[str, Any] | None = None,
    name: str | None = None,
    sweep: str | None = None,
    loss: str = "val_loss",
) -> str:
    """Return the text of a sweep file for a plan. ``n`` is the column that its points call N, ``family`` the
    values of the family that the plan is about.

    A point takes the best setting of the point that ran nearest to it, and each of the plan's values of a knob. Raise
    InputError if the sweep has no axis for N or D, or several sweeps ran and no name is given.
    """
    launched = launched_sweep(tables, sweep)
    base = parse(launched["sweep_file"], where=f"the sweep file of {launched['sweep']}")
    axes = [*launched["scientific"], *launched["nuisance"]]
    size = next((axis for axis in SIZES if axis in axes), None)
    faults = [] if size else [f"no axis of {base.name} asks for parameters (its axes: {', '.join(axes)})"]
    faults += [] if DATA in axes else [f"tokens is no axis of {base.name} (its axes: {', '.join(axes)})"]
    if size is None or faults:
        raise InputError([*faults, "write the sweep by hand at the points of the plan"])
    found = best_runs(tables, sweep, loss)
    rows = [row for row in found if all(row.get(key) == value for key, value in (family or {}).items())]
    if not rows:
        raise InputError(f"no completed trial of {base.name} is of the plan's family")
    settings = [setting for point in plan.points for setting in _settings(point, plan, rows, axes, size, n)]
    varying = [axis for axis in axes if len({str(setting[axis]) for setting in settings}) > 1] or [DATA]
    repeated = len(settings) - len({str(setting) for setting in settings})
    file = toml_file.parse(base.text)
    fixed = {**file.get("fixed", {}), **{axis: settings[0][axis] for axis in axes if axis not in varying}}
    seeds = len(settings) // len({str(setting) for setting in settings}) if repeated else 1
    unique = list({str(setting): setting for setting in settings}.values())
    content: dict[str, Any] = {
        "name": name or f"{base.name}-next",
        **{key: file[key] for key in KEPT if key in file and key not in ("fixed", "derived")},
        "seeds": [1000 + k for k in range(seeds)] if repeated or (plan.knobs is None and _ran(plan, rows, n)) else 1,
    }
    lines = [f"# {plan.title}: {plan.why}.", *_scalars(content), *_tables(content)]
    lines += _table("fixed", fixed) + _table("derived", file.get("derived", {}))
    head = ["", "[scientific]"] if len(varying) == 1 else ["", "[[zip]]", 'role = "scientific"']
    lines += [*head, *(_entry(axis, [setting[axis] for setting in unique]) for axis in varying)]
    text = "\n".join(lines) + "\n"
    parse(text, where="the sweep of the plan")
    return text


def _ran(plan: RunPlan, rows: Sequence[Mapping[str, Any]], n: str) -> bool:
    """Return whether every point of the plan ran: then it asks for repeats, with seeds of their own."""
    known = {(float(row[n]), float(row[DATA])) for row in rows}
    return all(point in known for point in plan.points)


def _settings(
    point: tuple[float, float], plan: RunPlan, rows: Sequence[Mapping[str, Any]], axes: Sequence[str], size: str, n: str
) -> list[dict[str, Any]]:
    """Return the settings of a point: those of the nearest point that ran, at its own N and D, for each knob value."""

    def distance(row: Mapping[str, Any]) -> float:
        return math.hypot(math.log(row[n] / point[0]), math.log(row[DATA] / point[1]))

    nearest = min(rows, key=distance)
    setting = {axis: nearest[axis] for axis in axes}
    if distance(nearest) > 1e-9:
        # What the axis asks for is what ran, in proportion: with embeddings counted or not.
        setting[size] = _rounded(nearest[size] * point[0] / nearest[n])
        setting[DATA] = _rounded(point[1])
    knobs = plan.knobs or {}
    if not knobs:
        return [setting]
    ((knob, values),) = knobs.items()
    return [{**setting, knob: int(value) if isinstance(setting[knob], int) else value} for value in values]


def _rounded(value: float) -> int:
    return int(float(f"{value:.3g}"))


def _scalars(content: Mapping[str, Any]) -> list[str]:
    return [_entry(key, value) for key, value in content.items() if not isinstance(value, Mapping)]


def _tables(content: Mapping[str, Any]) -> list[str]:
    return [_entry(key, value) for key, value in content.items() if isinstance(value, Mapping)]


def _table(name: str, values: Mapping[str, Any]) -> list[str]:
    return ["", f"[{name}]", *(_entry(key, value) for key, value in values.items())] if values else []


def _entry(key: str, value: Any) -> str:
    return f"{toml_file.key(key)} = {toml_file.text_of(value)}"
