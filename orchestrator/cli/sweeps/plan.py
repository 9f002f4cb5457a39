"""`sweeplaw plan`: the trials of a sweep, their cost, and the dropped combinations with the reason."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, report_damage
from sweeplaw.orchestrator.cli.shared.progress import progress_bar
from sweeplaw.orchestrator.cli.sweeps import simulation
from sweeplaw.orchestrator.cli.sweeps.search import plan_search
from sweeplaw.trials.quantities import counted, hours, plain, short

if TYPE_CHECKING:
    from rich.table import Table

    from sweeplaw.orchestrator.plan.sweep import SweepSpec
    from sweeplaw.orchestrator.store.store import Store

SHOWN = 20  # points at each end of a long table
_SIZES = {"params": "params", "params_non_embedding": "N", "tokens": "tokens"}
WIDTH = 80  # columns of a terminal; in a narrower one the lines of a table are broken, so that no number is cut


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan)


def plan(
    sweep: Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep file (TOML).")],
    cluster: Annotated[str, typer.Option(help="Estimate for this cluster profile.")] = "local",
    store: Annotated[str | None, typer.Option(help="Leave out what this store already has.")] = None,
    trials: Annotated[bool, typer.Option("--trials", help="List every trial.")] = False,
    measure: Annotated[bool, typer.Option(help="Time some training steps, for a sweep on this machine's CPU.")] = True,
    json: Json = False,
    simulate: simulation.Simulate = None,
    failures_per_hour: simulation.Failures = None,
    seed: simulation.Seed = 0,
    runs: simulation.Runs = 10,
    figure: simulation.Picture = None,
) -> None:
    """Show the trials of a sweep and their cost. No trial and no cluster is started, and nothing is written but FILE.

    The times are those of completed trials of --store; without any, language models on this machine's CPU are timed
    here for a second, and the speed of other devices is assumed. The basis is printed.

    --simulate PROFILE runs the launch on a virtual clock: makespan, idle and wasted device time, cost. What a profile
    says under [simulation] of failures and preemptions is drawn anew for each of --runs launches. A sweep that searches
    is simulated where its losses are known: the workloads surrogate and replay.

    With a damaged --store the trials of its damaged files count as not run, and the files are named (exit code 3).

    Example: sweeplaw plan orchestrator/sweeps/demo.toml
    """
    from sweeplaw.clusters.profile import profile
    from sweeplaw.orchestrator.plan.estimate import absent_data, estimate, listing, unkept_ensembles, unknown_sizes
    from sweeplaw.orchestrator.plan.pace import best_known
    from sweeplaw.orchestrator.plan.plan import plan as make_plan
    from sweeplaw.orchestrator.plan.sweep import read
    from sweeplaw.orchestrator.plan.trunks import unshared

    simulation.check(simulate, failures_per_hour, figure)
    parsed = read(sweep)
    for sentence in unkept_ensembles(parsed):
        typer.echo(f"note: {sentence}", err=True)
    if parsed.search.proposes:
        there = _opened(store, parsed) if store is not None else None
        if simulate is None:
            plan_search(parsed, there, json=json)
            return
        searched = simulation.simulated_search(parsed, there, profile.load(simulate), failures_per_hour, seed, runs)
        plan_search(parsed, there, json=json, simulated=searched.summary())
        if figure is not None:
            simulation.draw(searched, figure)
        return
    with progress_bar("planning") as progress:
        made = make_plan(parsed, progress)
    planned, opened = made.trials, _opened(store, parsed) if store is not None else None
    if opened:
        finished = opened.finished()
        made = made.only({trial_id for trial_id in made.ids if trial_id not in finished})
    loaded = profile.load(cluster if simulate is None else simulate)
    pace = best_known(made, loaded, opened, measure=measure, notify=_notify)
    cost = estimate(made, loaded, pace)
    if simulate is not None and (made.trials or not planned):
        found = simulation.simulated(made, loaded, pace, failures_per_hour, seed, runs)
        cost["simulation"] = found.summary()
        if figure is not None:
            simulation.draw(found, figure)
    if json:
        emit_json({**cost, "listing": listing(made)} if trials else cost)
    elif planned and not made.trials:
        typer.echo(f"nothing to run: {planned} of {counted(planned, 'trial')} are in the store")
    else:
        _print(cost, listing(made) if trials else [])
    for sentence in [*absent_data(made), *unknown_sizes(made), *unshared(made.groups, parsed)]:
        typer.echo(f"note: {sentence}", err=True)
    report_damage(opened.problems if opened else ())


def _notify(sentence: str) -> None:
    if sys.stderr.isatty():
        typer.echo(f"sweeplaw: {sentence}", err=True)


def _opened(store: str, sweep: SweepSpec) -> Store | None:
    """Return the open store; None if nothing is there yet.

    Raise InputError if it is not a store, or if a launch of the sweep into it would be refused.
    """
    from sweeplaw.orchestrator.launch.facts import check_defaults
    from sweeplaw.orchestrator.store.store import Store
    from sweeplaw.trials.errors import InputError
    from sweeplaw.trials.store_format.location import locate

    try:
        opened = Store.open(store)
    except InputError:
        if locate(store).is_vacant():
            return None
        raise
    check_defaults(sweep, opened)
    return opened


def _print(cost: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> None:
    from rich.console import Console

    console, points = Console(), _points(cost)
    Console(width=max(console.width, Console(width=WIDTH).measure(points).maximum)).print(points)
    for line in _lines(cost):
        console.print(line, highlight=False)
    if trials:
        Console(width=max(console.width, 30 * len(trials[0]))).print(_trials(trials))


def _points(cost: Mapping[str, Any]) -> Table:
    """Return the table of scientific points; of a long one, both ends."""
    from rich.table import Table

    title = f"{cost['sweep']}: {counted(cost['trials'], 'trial')} of {cost['workload']}"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    points = cost["points"]
    sizes = [name for name in _SIZES if any(point[name] is not None for point in points)]
    # Where a size is unknown, the axes say which point it is.
    unknown = any(point["params"] is None or point["tokens"] is None for point in points)
    axes = [name for name in dict.fromkeys(name for one in points for name in one["point"]) if name not in sizes]
    axes = axes if unknown else []
    for heading in (*axes, *(_SIZES[name] for name in sizes), "trials", "FLOPs", "memory", "resources", "time"):
        table.add_column(heading, justify="right")
    long = len(points) > 2 * SHOWN
    for number, point in enumerate([*points[:SHOWN], *points[-SHOWN:]] if long else points):
        if long and number == SHOWN:
            table.add_row(*["…"] * len(table.columns))
        table.add_row(
            *("–" if point["point"].get(name) is None else plain(point["point"][name]) for name in axes),
            *(_count(point[name]) for name in sizes),
            str(point["trials"]),
            _count(point["flops"]),
            _memory(point["memory_bytes"]),
            point["resources"] or "fits nowhere",
            hours(point["device_hours"]),
        )
    return table


def _lines(cost: Mapping[str, Any]) -> list[str]:
    """Return the text below the table: units, totals, misfits, dropped combinations, retries and the budget."""
    points = cost["points"]
    misfits = list(dict.fromkeys(point["misfit"] for point in points if point["misfit"]))
    lines = [f"{SHOWN} points at each end of {len(points)} (--json for all)"] if len(points) > 2 * SHOWN else []
    lines.append("N: parameters without embeddings and output head; memory: per trial; time: device time of all trials")
    if totals := ", ".join(_totals(cost)):
        lines.append(f"total: {totals}")
    if trunks := cost.get("trunks"):
        share = 100 * trunks["saved_flops"] / cost["flops"]
        lines.append(
            f"trunks: {counted(trunks['trials'], 'trial')} continue{'s' * (trunks['trials'] == 1)} the trunk of a "
            f"shorter one, saving {short(trunks['saved_flops'])} FLOPs ({share:.0f} %)"
        )
    if cost["time_basis"]:
        lines.append(f"basis of the time: {cost['time_basis']}")
    lines += [f"too large: {sentence}" for sentence in misfits[:SHOWN]]
    if len(misfits) > SHOWN:
        lines.append(f"too large: {len(misfits) - SHOWN} more (--json for all)")
    lines += [f"dropped: {number} ({reason})" for reason, number in cost["dropped"].items()]
    lines.append(f"retries: {_limits(cost['retry'])}")
    if cost["budget"]:
        lines.append(f"budget: {_limits(cost['budget'])}")
    return [*lines, *simulation.lines(cost["simulation"])] if "simulation" in cost else lines


def _totals(cost: Mapping[str, Any]) -> Iterator[str]:
    """Yield the totals that are known."""
    if cost["tokens"] is not None:
        yield f"{short(cost['tokens'])} tokens"
    if cost["flops"] is not None:
        convention = f" ({cost['flops_convention']})" if cost["flops_convention"] else ""
        yield f"{short(cost['flops'])} FLOPs{convention}"
    if cost["device_hours"] is not None:
        yield f"about {hours(cost['device_hours'])} of {cost['device']}"
    if cost["hours"] is not None:
        yield f"{hours(cost['hours'])} on {counted(cost['slots'], 'slot')}"


def _trials(trials: Sequence[Mapping[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(box=None)
    for name in trials[0]:
        table.add_column(name, justify="right", no_wrap=True)
    for trial in trials:
        table.add_row(*(f"{value:.6g}" if isinstance(value, float) else str(value) for value in trial.values()))
    return table


def _limits(limits: Mapping[str, float]) -> str:
    """Format the non-zero entries: ``failed 1, worker_died 2``."""
    return ", ".join(f"{name} {limit:g}" for name, limit in limits.items() if limit) or "none"


def _count(value: float | None) -> str:
    return "–" if value is None else short(value)


def _memory(value: float | None) -> str:
    return "–" if value is None else f"{value / 1e9:.1f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"
