"""`sweeplaw plan`: what would run, what it costs, what was dropped and why; starts nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from sweeplaw.orchestrator.cli.shared.output import Json, counting, emit_json
from sweeplaw.trials.quantities import counted, short

SHOWN = 20  # points at each end of a long table


def register(app: typer.Typer) -> None:
    @app.command()
    def plan(
        sweep: Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep file (TOML).")],
        cluster: Annotated[str, typer.Option(help="Estimate for this cluster profile.")] = "local",
        store: Annotated[str | None, typer.Option(help="Subtract what this store already has.")] = None,
        trials: Annotated[bool, typer.Option("--trials", help="List every trial.")] = False,
        json: Json = False,
    ) -> None:
        """Show the trials of a sweep and what they cost; start nothing.

        Example: sweeplaw plan orchestrator/sweeps/demo.toml
        """
        from sweeplaw.clusters.profile import profile
        from sweeplaw.orchestrator.plan.estimate import estimate, listing
        from sweeplaw.orchestrator.plan.plan import plan as make
        from sweeplaw.orchestrator.plan.sweep import read

        with counting("planning") as watch:
            made = make(read(sweep), watch)
        if store is not None:
            from sweeplaw.orchestrator.store.store import Store

            finished = Store.open(store).finished()
            made = made.only({trial_id for trial_id in made.ids if trial_id not in finished})
        cost = estimate(made, profile.load(cluster))
        if json:
            emit_json({**cost, "listing": listing(made)} if trials else cost)
        else:
            _render(cost, listing(made) if trials else [])


def _render(cost: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> None:
    """Print the estimate, and the trials when they are asked for."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    title = f"{cost['sweep']}: {counted(cost['trials'], 'trial')} of {cost['workload']}"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("params", "N", "tokens", "trials", "FLOPs", "memory", "resources", "time"):
        table.add_column(heading, justify="right")
    points = cost["points"]
    shown = points if len(points) <= 2 * SHOWN else [*points[:SHOWN], *points[-SHOWN:]]
    for number, point in enumerate(shown):
        if len(shown) < len(points) and number == SHOWN:
            table.add_row(*["…"] * len(table.columns))
        table.add_row(
            *(_count(point[name]) for name in ("params", "params_non_embedding", "tokens")),
            str(point["trials"]),
            _count(point["flops"]),
            _memory(point["memory_bytes"]),
            point["resources"] or "fits nothing",
            _hours(point["device_hours"]),
        )
    console.print(table)
    if len(shown) < len(points):
        console.print(f"{SHOWN} points at each end of {len(points)} (--json for all)", highlight=False)
    console.print(
        "N: parameters without embeddings and output head; memory: of one trial; time: device time of all trials",
        highlight=False,
    )
    wall = f", {_hours(cost['hours'])} on {counted(cost['slots'], 'slot')}" if cost["hours"] is not None else ""
    convention = cost["flops_convention"] or "convention unknown"
    console.print(
        f"in all: {_count(cost['tokens'])} tokens, {_count(cost['flops'])} FLOPs ({convention}), "
        f"about {_hours(cost['device_hours'])} of {cost['device']}{wall}",
        highlight=False,
    )
    misfits = [point["misfit"] for point in points if point["misfit"]]
    for sentence in misfits[:SHOWN]:
        console.print(f"too large: {sentence}", highlight=False)
    if len(misfits) > SHOWN:
        console.print(f"too large: {len(misfits) - SHOWN} more (--json for all)", highlight=False)
    for reason, number in cost["dropped"].items():
        console.print(f"dropped: {number} ({reason})", highlight=False)
    console.print(f"tried again after: {_allowed(cost['retry'])}", highlight=False)
    if cost["budget"]:
        console.print(f"budget: {_allowed(cost['budget'])}", highlight=False)
    if trials:
        rows = Table(box=None)
        for name in trials[0]:
            rows.add_column(name, justify="right", no_wrap=True)
        for trial in trials:
            rows.add_row(*(f"{value:.6g}" if isinstance(value, float) else str(value) for value in trial.values()))
        Console(width=max(console.width, 30 * len(trials[0]))).print(rows)


def _allowed(limits: Mapping[str, float]) -> str:
    """The entries of a table that are not zero: ``failed 1, worker_died 2``."""
    return ", ".join(f"{name} {limit:g}" for name, limit in limits.items() if limit) or "nothing"


def _count(value: float | None) -> str:
    """A large number in three digits and a unit; a dash where it is unknown."""
    return "–" if value is None else short(value)


def _memory(value: float | None) -> str:
    """Bytes as MB or GB."""
    return "–" if value is None else f"{value / 1e9:.1f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def _hours(value: float | None) -> str:
    """Hours as s, min or h."""
    if value is None:
        return "–"
    seconds = value * 3600
    if seconds < 7200:
        return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    return f"{value:.1f} h" if value < 1000 else f"{short(value)} h"
