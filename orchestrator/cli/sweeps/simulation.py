"""The part of `sweeplaw plan` that simulates: its options, and the simulation as text, JSON and a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeplaw.orchestrator.cli.shared.pictures import FORMATS
from sweeplaw.orchestrator.cli.shared.progress import progress_bar
from sweeplaw.trials.quantities import counted, hours, short

if TYPE_CHECKING:
    from sweeplaw.clusters.connect.cluster import Node
    from sweeplaw.clusters.profile.profile import Profile
    from sweeplaw.orchestrator.plan.pace import Pace
    from sweeplaw.orchestrator.plan.plan import Plan
    from sweeplaw.orchestrator.plan.sweep import SweepSpec
    from sweeplaw.orchestrator.schedule.simulated.simulation import SimulatedLaunches
    from sweeplaw.orchestrator.store.store import Store


Simulate = Annotated[
    str | None, typer.Option(metavar="PROFILE", help="Estimate for this cluster profile, and simulate its launch.")
]
Failures = Annotated[
    float | None,
    typer.Option(help="With --simulate: failures of nodes an hour, of the whole cluster. [default: the profile's]"),
]
Seed = Annotated[int, typer.Option(help="With --simulate: the first seed of the failures.")]
Runs = Annotated[int, typer.Option(help="With --simulate: launches, a seed each.")]
Picture = Annotated[
    str | None, typer.Option(metavar="FILE", help="With --simulate: draw the first launch (.png, .svg, .pdf).")
]


def check(simulate: str | None, failures_per_hour: float | None, figure: str | None) -> None:
    """Raise InputError for an option that needs --simulate, or a picture that cannot be drawn."""
    from sweeplaw.trials.errors import InputError, unsupported_extension

    alone = {"--failures-per-hour": failures_per_hour, "--figure": figure}
    faults = [f"{name} requires --simulate PROFILE" for name in alone if alone[name] is not None and simulate is None]
    if figure is not None and (fault := unsupported_extension(figure, FORMATS)):
        faults.append(f"--figure {fault}")
    if faults:
        raise InputError(faults)


def simulated(
    made: Plan, profile: Profile, pace: Pace, failures_per_hour: float | None, seed: int, runs: int
) -> SimulatedLaunches:
    """Return the simulated launches of this plan. Raise InputError."""
    from sweeplaw.orchestrator.launch.queue import build_queue
    from sweeplaw.orchestrator.schedule.simulated.simulation import simulate

    with progress_bar("simulating") as progress:
        return simulate(
            made, profile, build_queue, pace, failures_per_hour=failures_per_hour, seed=seed, runs=runs, watch=progress
        )


def simulated_search(
    sweep: SweepSpec,
    store: Store | None,
    profile: Profile,
    failures_per_hour: float | None,
    seed: int,
    runs: int,
) -> SimulatedLaunches:
    """Return the simulated launches of a sweep whose search decides while it runs, going on from what ``store`` has.

    Raise InputError, also for a workload whose losses are not known without training.
    """
    from sweeplaw.orchestrator.launch.adaptive import known
    from sweeplaw.orchestrator.launch.adaptive.simulated import SimulatedProposals, check
    from sweeplaw.orchestrator.launch.queue import build_queue, size_of
    from sweeplaw.orchestrator.plan.pace import best_known
    from sweeplaw.orchestrator.plan.plan import plan
    from sweeplaw.orchestrator.schedule.simulated.simulation import simulate
    from sweeplaw.orchestrator.search import registry
    from sweeplaw.orchestrator.search.ledger import Ledger
    from sweeplaw.orchestrator.search.space import Space

    registry.check(sweep)
    space = Space(sweep)
    check(space)
    made = plan(sweep)
    examples = replace(made, groups=space.examples)

    def proposals(nodes: Sequence[Node]) -> SimulatedProposals:
        return SimulatedProposals(
            space,
            known.ledger(space, store) if store else Ledger(space, registry.objective(sweep)),
            size_of(examples, profile, nodes),
            stacked=profile.device.accelerator and sweep.workload.stacks,
        )

    with progress_bar("simulating") as progress:
        return simulate(
            made,
            profile,
            build_queue,
            best_known(examples, profile, store),
            failures_per_hour=failures_per_hour,
            seed=seed,
            runs=runs,
            watch=progress,
            proposals=proposals,
        )


def draw(simulation: SimulatedLaunches, path: str) -> None:
    """Write the picture of the first launch. Raise OSError."""
    from sweeplaw.orchestrator.schedule.simulated.gantt import gantt

    first = simulation.launches[0]
    title = f"{simulation.plan.sweep.name} on {simulation.profile.name}, seed {simulation.conditions.seed}"
    gantt(first, title).savefig(path, dpi=150)


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the text of a summary (`SimulatedLaunches.summary`)."""
    makespan, many = found["makespan_hours"], found["launches"] > 1
    where = f"{counted(found['nodes'], 'node')}, {found['devices']:g} devices"
    seeds = f"{found['launches']} launches, seeds from {found['seed']}" if many else "nothing random"
    yield f"simulated on {found['profile']} ({where}; {seeds}):"
    band = f" (90 %: {hours(makespan['low'])} to {hours(makespan['high'])})" if many else ""
    least = "" if found["given_up"] else f"; lower bound {hours(found['least_hours'])}"
    yield f"  makespan  {hours(makespan['mean'])}{band}{least}"
    total = found["device_hours"] or 1.0
    yield (
        f"  devices   {hours(found['device_hours'])}: "
        + ", ".join(
            f"{100 * found[f'{name}_device_hours'] / total:.1f} % {name}"
            for name in ("useful", "idle", "starting", "away")
        )
        + f", {100 * sum(found['wasted_device_hours'].values()) / total:.1f} % wasted"
    )
    for reason, amount in found["wasted_device_hours"].items():
        flops = found["wasted_flops"].get(reason, 0.0)
        yield f"  wasted    {hours(amount)} and {short(flops)} FLOPs: {reason}"
    if found["interruptions"]:
        rates = {"failures": found["failures_per_hour"], "preemptions": found["preemptions_per_hour"]}
        prices = ", ".join(f"{name} {short(rate)} an hour" for name, rate in rates.items() if rate)
        away = hours(found["away_seconds"] / 3600)
        yield f"  nodes     {short(found['interruptions'])} times away, for {away} each: {prices}"
    if found["cost"] is not None:
        yield f"  cost      {found['cost']:,.0f} (device_hour_price, without the time that nodes were away)"
    if found["given_up"]:
        trials = short(found["given_up"])
        yield f"  given up  {trials} trials, whose workers died more often than retry.worker_died allows"
    if found["searches"]:
        first = found["searches"][0]
        count = short(sum(one["proposals"] for one in found["searches"]) / len(found["searches"]))
        yield f"  search    {count} proposals, {short(first['flops'])} FLOPs; {first['ended']}"
    if found["stalls"]:
        yield f"  stalls    {short(found['stalls'])} times no node was there for ready_seconds: a launch ends then"
    if found["budget"]:
        yield f"  budget    {found['budget']}: the launch ends before its trials have"
