"""A plan on the simulated cluster of a profile, launched several times: the makespan, and what is idle or wasted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sweeplaw.clusters.connect.cluster import Node
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.clusters.profile.simulation import SimulationProfile as Assumptions
from sweeplaw.orchestrator.plan.limits import used_up
from sweeplaw.orchestrator.plan.pace import Pace, rated_seconds
from sweeplaw.orchestrator.plan.plan import Plan
from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.schedule.packs import Pack, Queue
from sweeplaw.orchestrator.schedule.placement import NodeResources
from sweeplaw.orchestrator.schedule.simulated import launch
from sweeplaw.orchestrator.schedule.simulated.conditions import HOUR, Conditions
from sweeplaw.orchestrator.schedule.simulated.launch import Proposals, SimulatedLaunch
from sweeplaw.orchestrator.schedule.simulated.ledger import Kind, SlotLedger
from sweeplaw.orchestrator.schedule.simulated.worker import TrialSeconds
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.progress import ProgressCallback, no_progress

RUNS = 10
BAND = 0.9  # of the simulated launches
MOST_RUNS = 10_000
MOST_PER_HOUR = 1_000_000

# The queue that a launch of a plan begins with, and the source of more packs.
QueueBuilder = Callable[[Plan, Profile, Sequence[Node], Callable[[], Iterable[Pack]]], Queue]
ProposalsBuilder = Callable[[Sequence[Node]], Proposals]  # what the search of a sweep proposes in one launch


@dataclass(frozen=True, slots=True)
class SimulatedLaunches:
    """Launches of a plan on ``nodes`` with ``devices`` in all, under ``conditions`` that differ in the seed.

    ``longest`` is the time of the longest trial, in seconds. ``searches`` say how the search of each launch ended.
    """

    plan: Plan
    profile: Profile
    nodes: int
    devices: float
    conditions: Conditions
    launches: tuple[SimulatedLaunch, ...]
    longest: float
    searches: tuple[Mapping[str, Any], ...] = ()

    def summary(self) -> dict[str, Any]:
        """Return the simulation in numbers, means over the launches. A cost without a price is None."""
        price = self.profile.device_hour_price
        useful = self._mean(lambda one: one.by_kind().get("useful", 0.0))
        total, away = self._mean(lambda one: one.device_seconds), self._mean(lambda one: one.away)
        wasted = self._by_reason(SimulatedLaunch.by_kind)
        makespans = [one.seconds / HOUR for one in self.launches]
        low, high = np.quantile(makespans, [(1 - BAND) / 2, (1 + BAND) / 2])
        used = useful + sum(wasted.values())
        return {
            "profile": self.profile.name,
            "nodes": self.nodes,
            "devices": self.devices,
            "launches": len(self.launches),
            "seed": self.conditions.seed,
            "failures_per_hour": self.conditions.failures_per_hour * self.nodes,
            "preemptions_per_hour": self.conditions.preemptions_per_hour * self.nodes,
            "away_seconds": self.conditions.away_seconds,
            "startup_seconds": self.conditions.startup_seconds,
            "checkpoint_seconds": self.conditions.checkpoint_seconds,
            "makespan_hours": {"mean": float(np.mean(makespans)), "low": float(low), "high": float(high)},
            "least_hours": max(useful / self.devices, self.longest) / HOUR,
            "device_hours": total / HOUR,
            "useful_device_hours": useful / HOUR,
            "wasted_device_hours": {reason: seconds / HOUR for reason, seconds in wasted.items()},
            "starting_device_hours": self._mean(lambda one: one.by_kind().get("starting", 0.0)) / HOUR,
            "away_device_hours": away / HOUR,
            "idle_device_hours": self._mean(lambda one: one.idle) / HOUR,
            "idle_share": self._mean(lambda one: one.idle) / total if total else 0.0,
            "useful_flops": self._mean(lambda one: one.flops().get("useful", 0.0)),
            "wasted_flops": self._by_reason(SimulatedLaunch.flops),
            "interruptions": self._mean(lambda one: sum(one.interruptions().values())),
            "ended": self._mean(lambda one: one.count(lambda ledger: ledger.ended)),
            "given_up": self._mean(lambda one: one.count(lambda ledger: ledger.given_up)),
            "stalls": self._mean(lambda one: one.count(lambda ledger: ledger.stalls)),
            "cost": None if price is None else price * (total - away) / HOUR,
            "budget": used_up(self.plan.sweep.budget, used, float(np.mean([one.seconds for one in self.launches]))),
            "searches": list(self.searches),
        }

    def _mean(self, value: Callable[[SimulatedLaunch], float]) -> float:
        return math.fsum(map(value, self.launches)) / len(self.launches)

    def _by_reason(self, amounts: Callable[[SimulatedLaunch], Mapping[Kind, float]]) -> dict[str, float]:
        """Return the mean of what was wasted, by reason."""
        found = [amounts(one) for one in self.launches]
        reasons = {kind for one in found for kind in one} - {"useful", "starting"}
        return {reason: math.fsum(one.get(reason, 0.0) for one in found) / len(found) for reason in sorted(reasons)}


def simulate(
    plan: Plan,
    profile: Profile,
    build_queue: QueueBuilder,
    pace: Pace,
    *,
    failures_per_hour: float | None = None,
    seed: int = 0,
    runs: int = RUNS,
    watch: ProgressCallback = no_progress,
    proposals: ProposalsBuilder | None = None,
) -> SimulatedLaunches:
    """Return launches of this plan on the profile's cluster, with the seeds from ``seed`` on; one alone if nothing in
    them is random.

    ``failures_per_hour`` are those of the whole cluster, in place of the profile's. A Slurm array is that number of
    launches side by side, each with its shard of the trials. ``watch`` is called with the launches done and their
    total. ``proposals`` makes what a search proposes in each launch of a sweep whose search decides while it runs.

    Raise InputError with every fault: a profile that does not say what its nodes are, trials of unknown FLOPs, trials
    that fit no node, rates or numbers that are out of range.
    """
    unknown = _unknown(plan, profile) if proposals is None else [*_unknown_nodes(profile), *_shared(profile)]
    if faults := [*_range_faults(failures_per_hour, seed, runs), *unknown]:
        raise InputError(faults, where=profile.name)
    parts = _parts(plan, profile) if proposals is None else [(plan, _nodes(profile))]
    nodes = [node for _, own in parts for node in own]
    conditions = _conditions(profile, failures_per_hour, len(nodes), seed)
    times = TrialTimes(profile, pace)
    launches, searches = [], []
    count = runs if conditions.interruptions_per_hour else 1
    for number in range(count):
        under = replace(conditions, seed=seed + number)
        found = proposals(nodes) if proposals else None
        ledgers = (_run(*part, profile, build_queue, times, under, found) for part in parts)
        launches.append(SimulatedLaunch(tuple(ledgers)))
        searches += [found.summary()] if found else []
        watch(number + 1, count)
    devices = sum(_devices(nodes, profile).values())
    return SimulatedLaunches(
        plan, profile, len(nodes), devices, conditions, tuple(launches), times.longest, tuple(searches)
    )


class TrialTimes:
    """How long trials train at a pace on a profile's devices; ``longest`` of those that were asked for, in seconds."""

    def __init__(self, profile: Profile, pace: Pace) -> None:
        self.longest = 0.0
        self._device, self._pace = profile.device, pace
        self._known: dict[tuple[Cost, TrialResources], float] = {}

    def __call__(self, cost: Cost, size: TrialResources) -> float:
        """Return the seconds of a trial. The processes of a trial share its work, the devices of one process do not."""
        key = (cost, size)
        if key not in self._known:
            rated = rated_seconds(cost, self._device)
            assert rated is not None, "only trials of known FLOPs are simulated"
            self._known[key] = self._pace.factor * rated / size.processes
            self.longest = max(self.longest, self._known[key])
        return self._known[key]


def _run(
    part: Plan,
    nodes: Sequence[Node],
    profile: Profile,
    build_queue: QueueBuilder,
    seconds: TrialSeconds,
    conditions: Conditions,
    proposals: Proposals | None,
) -> SlotLedger:
    """Launch one part of the plan on its nodes."""
    return launch.run(
        build_queue(part, profile, nodes, proposals.packs if proposals else tuple),
        [NodeResources(node.node_id, node.cpus, node.gpus) for node in nodes],
        _devices(nodes, profile),
        seconds,
        conditions,
        slots=1 if profile.kind == "inline" else profile.slots,
        ready=profile.ready_seconds,
        stacks=part.sweep.workload.stacks and profile.device.accelerator,
        proposals=proposals,
    )


def _parts(plan: Plan, profile: Profile) -> list[tuple[Plan, tuple[Node, ...]]]:
    """Return the trials and nodes of each launch that the profile asks for: several for a Slurm array."""
    count = (profile.slurm and profile.slurm.array) or 1
    shards = [f"{number}/{count}" for number in range(count)] if count > 1 else [profile.shard]
    parts = []
    for number, shard in enumerate(shards):
        own = profile.model_copy(update={"shard": shard})
        part = plan.only({trial_id for trial_id in plan.ids if own.in_shard(trial_id)})
        if part.trials:
            parts.append((part, _nodes(profile, f"job-{number}-" if count > 1 else "")))
    return parts


def _nodes(profile: Profile, prefix: str = "") -> tuple[Node, ...]:
    """Return the nodes of one launch."""
    planned = enumerate(profile.planned_nodes() or ())
    return tuple(Node(name := f"{prefix}node-{index}", name, *capacity) for index, capacity in planned)


def _devices(nodes: Sequence[Node], profile: Profile) -> dict[str, float]:
    """Return the number of devices of each node: GPUs, or else cores."""
    return {node.node_id: node.gpus if profile.device.accelerator else node.cpus for node in nodes}


def _conditions(profile: Profile, failures_per_hour: float | None, nodes: int, seed: int) -> Conditions:
    assumed = profile.simulation or Assumptions()
    own = 1 / assumed.mtbf_hours if assumed.mtbf_hours else 0.0
    return Conditions(
        failures_per_hour=own if failures_per_hour is None else failures_per_hour / nodes,
        preemptions_per_hour=1 / assumed.preemption_hours if assumed.preemption_hours else 0.0,
        away_seconds=assumed.away_seconds,
        startup_seconds=assumed.startup_seconds,
        checkpoint_seconds=profile.checkpoint_seconds if assumed.checkpoints else None,
        seed=seed,
    )


def _range_faults(failures_per_hour: float | None, seed: int, runs: int) -> Iterator[str]:
    if failures_per_hour is not None and not 0 <= failures_per_hour <= MOST_PER_HOUR:
        yield f"failures-per-hour = {failures_per_hour:g} (accepted: 0 to {MOST_PER_HOUR:,}, for the whole cluster)"
    if seed < 0:
        yield f"seed = {seed} (accepted: 0 and more)"
    if not 1 <= runs <= MOST_RUNS:
        yield f"runs = {runs} (accepted: 1 to {MOST_RUNS:,})"


def _unknown_nodes(profile: Profile) -> Iterator[str]:
    """Yield a sentence if a profile does not say what its nodes are."""
    if profile.planned_nodes() is None:
        yield (
            f"kind = {profile.kind!r} does not say what its nodes have (accepted: 'local' with gpus where the hardware "
            "is a GPU, or 'slurm', 'kuberay', 'aws' or 'gcp', which need not exist to be simulated)"
        )


def _shared(profile: Profile) -> Iterator[str]:
    """Yield a sentence if several launches would share a search: what they learn of each other is not simulated."""
    if (profile.slurm and (profile.slurm.array or 1) > 1) or profile.shard:
        yield "a search is simulated in one launch, without shards (accepted: a profile without array and shard)"


def _unknown(plan: Plan, profile: Profile) -> Iterator[str]:
    """Yield a sentence for each thing that a simulation needs and cannot know."""
    yield from _unknown_nodes(profile)
    if not plan.trials:
        yield f"{plan.sweep.name} has no trials before it runs, so there is nothing to simulate"
    elif not any(profile.in_shard(trial_id) for trial_id in plan.ids):
        yield f"shard = {profile.shard!r} has none of the {plan.trials} trials"
    unknown = sum(len(group.ids) for group in plan.groups if group.cost.flops is None)
    if unknown:
        yield (
            f"the FLOPs of {unknown} of {plan.trials} trials are not known, so their time is not "
            "(accepted: a knob `flops` under [workload.knobs], or a formula for it under [derived])"
        )
