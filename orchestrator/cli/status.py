"""`sweeplaw status`: how the sweeps of a store stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.output import Json, emit_json

if TYPE_CHECKING:
    from orchestrator.standing import Progress

HELP = """Say how the sweeps of STORE stand: trials by state, what runs, what a relaunch would run, rate and time left.

Example: sweeplaw status results/demo
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status", help=HELP)(status)


def status(store: Annotated[str, typer.Argument(metavar="STORE")], json: Json = False) -> None:
    from orchestrator.claims import utc_now
    from orchestrator.cli.query import tell
    from orchestrator.standing import progress
    from orchestrator.store import Store

    found = progress(Store.open(store))
    leases = [
        {
            "launch_id": lease.launch_id,
            "holder": lease.holder,
            "trials": len(lease.trials),
            "alive": lease.alive(utc_now()),
            "expires_in_seconds": (lease.expires - utc_now()).total_seconds() if lease.known else None,
        }
        for lease in found.leases
    ]
    if json:
        emit_json(_content(found, leases))
    else:
        _show(found, leases)
    tell([], found.faults)


def _content(found: Progress, leases: list[dict[str, Any]]) -> dict[str, Any]:
    names = (
        "states",
        "imported",
        "running",
        "missing",
        "requeued",
        "rate",
        "seconds_left",
        "best_loss",
        "device_seconds",
    )
    return {**{name: getattr(found, name) for name in names}, "leases": leases, "faults": found.faults}


def _show(found: Progress, leases: list[dict[str, Any]]) -> None:
    for state, count in found.states.items():
        typer.echo(f"{count:>9,}  {state}")
    if found.imported:
        typer.echo(f"{found.imported:>9,}  of these imported")
    typer.echo(f"{found.running:>9,}  running")
    if found.missing is None:
        typer.echo(f"{found.requeued:>9,}  queued to run again (no launch recorded its plan)")
    else:
        typer.echo(f"{found.missing:>9,}  a relaunch would run ({found.requeued} of them again)")
    if found.best_loss is not None:
        typer.echo(f"best loss {found.best_loss:.6g}; {found.device_seconds / 3600:.2f} device-hours recorded")
    if found.rate is not None:
        left = "" if found.seconds_left is None else f", {found.seconds_left / 60:.0f} min left at this rate"
        typer.echo(f"{found.rate * 60:.1f} trials a minute lately{left}")
    for lease in leases:
        age = lease["expires_in_seconds"]
        ends = (
            "no heartbeat"
            if age is None
            else f"lease ends in {age:.0f} s"
            if age > 0
            else f"lease ended {-age:.0f} s ago"
        )
        typer.echo(f"launch {lease['launch_id']} on {lease['holder']} holds {lease['trials']} trials, {ends}")
