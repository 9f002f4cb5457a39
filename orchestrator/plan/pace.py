"""How long trials take on a cluster: the rates of its hardware, corrected by what was measured, with the basis.

The best basis there is counts: completed trials of a store, then some training steps on this machine, then the rates
that are assumed of the hardware.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from sweeplaw.clusters.profile.hardware import Hardware
from sweeplaw.clusters.profile.profile import BUILT_IN, Profile
from sweeplaw.orchestrator.plan.plan import Group, Plan
from sweeplaw.orchestrator.plan.resources import ClusterCapacity, ResourceSizer
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.worker.provenance import device_name
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import describe
from sweeplaw.trials.progress import ignore
from sweeplaw.trials.quantities import counted, short
from sweeplaw.trials.spec import TrialSpec, later_knobs
from sweeplaw.trials.workload import Branching, Workload

LANGUAGE_MODEL, SURROGATE = "language_model", "surrogate"
LATEST = 1000  # completed trials that are looked at
SAMPLE = 1000  # groups among which the one to measure is chosen
LONGEST_STEP = 0.1  # seconds, as assumed, of a step that is measured: several times as long on a busy machine
LARGEST_BYTES = 10**9  # of a trial that is measured
_COSTS = ("flops", "params", "steps", "tokens")
_COLUMNS = ("workload", "launch_id", "device", "ended_at", "train_seconds", *_COSTS)


@dataclass(frozen=True, slots=True)
class Pace:
    """``factor`` multiplies the seconds at the rates of the hardware; ``basis`` says where the time is from.

    ``known`` is False where these seconds say nothing of how long the trials take.
    """

    factor: float
    basis: str
    known: bool = True


def rated_seconds(cost: Cost, device: Hardware) -> float | None:
    """Return the seconds of a trial of this cost on one device at its rates; None where its FLOPs are not known."""
    if cost.flops is None:
        return None
    return device.seconds(cost.flops, params=cost.params, steps=cost.steps, tokens=cost.tokens)


def best_known(
    plan: Plan,
    profile: Profile,
    store: Store | None = None,
    *,
    measure: bool = False,
    notify: Callable[[str], None] = ignore,
) -> Pace:
    """Return the pace with the best basis.

    If ``measure``, some steps may be trained here; ``notify`` is called first.
    """
    if plan.sweep.workload.name == SURROGATE and _is_here(profile):
        basis = "none: a surrogate trial trains nothing, and takes as long as it sleeps (its knob `seconds`)"
        return Pace(1.0, basis, known=False)
    if store and (found := recorded(store, plan.sweep.workload, profile)):
        return found
    rates = assumed(plan, profile)
    try:
        return (measured(plan, profile, notify) if measure else None) or rates
    except Exception as error:  # noqa: BLE001 - a plan does without what fails to train here, or torch to load
        return Pace(rates.factor, f"{rates.basis} (no step could be measured: {describe(error)})")


def assumed(plan: Plan, profile: Profile) -> Pace:
    """Return the pace at the rates of the profile's hardware."""
    device = profile.device
    peak = f"{short(device.peak[device.dtype])} FLOP/s"
    if not device.accelerator:
        return Pace(1.0, f"assumed: the speed measured once of another machine's core, up to {peak}")
    shares = sorted({device.share_of_peak(group.cost.params) for group in plan.groups} or {device.share_of_peak()})
    share = " to ".join(dict.fromkeys(f"{100 * share:.2g}" for share in (shares[0], shares[-1])))
    return Pace(1.0, f"assumed: {share} % of the peak of {device.name}, {peak} in {device.dtype}")


def measured(plan: Plan, profile: Profile, notify: Callable[[str], None] = ignore) -> Pace | None:
    """Return the pace of some steps of one trial, trained in this process.

    This takes about one second, plus one to load torch.

    None unless the plan is for the CPU of this machine, of the built-in workload, and has a trial small enough.
    """
    group = (
        _to_measure(plan, profile.device) if _is_here(profile) and plan.sweep.workload.name == LANGUAGE_MODEL else None
    )
    if group is None:
        return None
    notify("timing some training steps on this machine (--no-measure leaves it out)")
    from sweeplaw.trials.workloads.language_model.step_time import measure

    found = measure(group.spec(0), max(1, int(profile.cpus_per_trial)))
    steps = f"{counted(found.steps, 'step')} of {short(1000 * found.step_seconds)} ms"
    trial = (
        f"a trial of {short(group.cost.params or 0)} parameters, {short(group.cost.batch_tokens or 0)} tokens a step"
    )
    factor = found.trial_seconds / (rated_seconds(group.cost, profile.device) or 1.0)
    return Pace(factor, f"measured now on this machine: {steps} of {trial}")


def recorded(store: Store, workload: Workload, profile: Profile) -> Pace | None:
    """Return the pace of the latest completed trials of this workload on the profile's device; None without any.

    On a profile of this machine's CPU the device is its model, on any other every device that its hardware names.
    """
    rows = _completed(store, workload, profile)
    if not rows:
        return None
    processes = _processes(rows, workload, profile)
    costs = [Cost(**{name: row[name] for name in _COSTS}) for row in rows]
    rated = sum(
        (rated_seconds(cost, profile.device) or 0.0) / each for cost, each in zip(costs, processes, strict=True)
    )
    devices = ", ".join(sorted({row["device"] for row in rows}))
    factor = sum(row["train_seconds"] for row in rows) / rated
    return Pace(factor, f"from {counted(len(rows), 'completed trial')} of the store on {devices}")


def _is_here(profile: Profile) -> bool:
    """Return whether trials run on the CPU of this machine."""
    return profile.kind in BUILT_IN and not profile.device.accelerator


def _to_measure(plan: Plan, device: Hardware) -> Group | None:
    """Return the group in the middle of the plan's time, or the largest below that is small enough, if any."""
    timed = [
        (rated_seconds(group.cost, device) or 0.0, group) for group in plan.groups[:: 1 + len(plan.groups) // SAMPLE]
    ]
    timed.sort(key=lambda pair: pair[0])
    found, left = None, sum(seconds for seconds, _ in timed) / 2
    for seconds, group in timed:
        if seconds / (group.cost.steps or 1) <= LONGEST_STEP and (group.cost.memory_bytes or 0) <= LARGEST_BYTES:
            found = group
        left -= seconds
        if left <= 0:
            break
    return found


def _completed(store: Store, workload: Workload, profile: Profile) -> Sequence[Mapping[str, Any]]:
    """Return the latest completed trials of the workload on the profile's device.

    Later attempts are left out, and trials that may have gone on from the trunk of another: their time does not include
    what was trained before.
    """
    branching = isinstance(workload, Branching)
    rows = store.outcomes(_COLUMNS).filter(
        pl.col("state") == "completed",
        pl.col("workload") == workload.name,
        pl.col("launch_id").is_not_null(),  # not imported
        pl.col("attempt") == 1,
        pl.col("train_seconds") > 0,
        pl.col("flops") > 0,
    )
    here = device_name("cpu") if _is_here(profile) else None
    names = rows["device"].drop_nulls().unique()
    wanted = [name for name in names if (name == here if here else profile.device.is_called(name))]
    latest = rows.filter(pl.col("device").is_in(wanted)).top_k(LATEST, by="ended_at").to_dicts()
    if not latest or not (branching or _may_spread(workload, profile)):
        return latest
    specs = _specs(store, [row["trial_id"] for row in latest])
    found = [{**row, "spec": specs[row["trial_id"]]} for row in latest if row["trial_id"] in specs]
    return [row for row in found if not (branching and _may_branch(row["spec"], workload))]


def _specs(store: Store, trial_ids: Sequence[str]) -> dict[str, str]:
    """Return the specs of these trials, from the parts of the store that may have them."""
    from sweeplaw.analysis.tables.tables import load

    tables = load(store.location.uri)
    near = tables.trials if tables.narrowed is None else tables.narrowed(trial_ids)
    rows = near.filter(pl.col("trial_id").is_in(trial_ids)).select("trial_id", "spec").collect()
    return dict(zip(rows["trial_id"].to_list(), rows["spec"].to_list(), strict=True))


def _may_branch(spec: str, workload: Workload) -> bool:
    """Return whether another trial may have done the first updates of this one."""
    knobs = TrialSpec.from_canonical(spec, later_knobs(workload.knobs)).knobs
    return isinstance(workload, Branching) and workload.trunk(knobs) is not None


def _may_spread(workload: Workload, profile: Profile) -> bool:
    return workload.spreads and profile.device.accelerator


def _processes(rows: Sequence[Mapping[str, Any]], workload: Workload, profile: Profile) -> list[int]:
    """Return the number of processes that shared the work of each trial on this cluster."""
    if not _may_spread(workload, profile):
        return [1] * len(rows)
    sizer = ResourceSizer(profile, workload.spreads, ClusterCapacity.of(profile.planned_nodes()))
    later = later_knobs(workload.knobs)
    sizes = [sizer(workload.cost(TrialSpec.from_canonical(row["spec"], later))) for row in rows]
    return [size.processes if size else 1 for size in sizes]
