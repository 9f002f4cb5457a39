"""`sweeplaw status`: how the sweeps of a store stand."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeplaw.orchestrator.cli.shared.output import Json, emit_json

if TYPE_CHECKING:
    from sweeplaw.orchestrator.launch.running import RunningPack
    from sweeplaw.orchestrator.monitor.status import Progress
    from sweeplaw.orchestrator.store.claims import Lease

SHOWN = 20

HELP = """Say how the sweeps of STORE stand: planned, claimed, running and ended trials, what a relaunch would run and
why, rate, time left, device time and how much of it was wasted.

Example: sweeplaw status results/demo
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status", help=HELP)(status)


def status(store: Annotated[str, typer.Argument(metavar="STORE")], json: Json = False) -> None:
    from sweeplaw.orchestrator.cli.tables.query import tell
    from sweeplaw.orchestrator.monitor.status import progress
    from sweeplaw.orchestrator.store.clocks import shown
    from sweeplaw.orchestrator.store.store import Store

    opened = Store.open(store)
    now = shown(opened.location)
    found = progress(opened, now)
    if json:
        emit_json(_content(found, now))
    else:
        _show(found, now)
    tell([], found.faults)


_PLAIN = (
    *("states", "imported", "missing", "waiting", "claimed", "running", "relaunch", "rate", "seconds_left"),
    *("best_loss", "faults"),
)


def _content(found: Progress, now: dt.datetime) -> dict[str, Any]:
    usage = found.usage
    return {
        **{name: getattr(found, name) for name in _PLAIN},
        "leases": [_lease(lease, now) for lease in found.leases],
        "packs": [asdict(pack) for pack in found.packs],
        "device_seconds": {"useful": usage.useful, "wasted": usage.wasted, "losses": usage.losses},
    }


def _lease(lease: Lease, now: dt.datetime) -> dict[str, Any]:
    return {
        "launch_id": lease.launch_id,
        "holder": lease.holder,
        "trials": len(lease.trials),
        "alive": lease.alive(now),
        "expires_in_seconds": (lease.expires - now).total_seconds() if lease.known else None,
    }


def _show(found: Progress, now: dt.datetime) -> None:
    if found.waiting is not None:
        typer.echo(f"{found.waiting:>9,}  planned, and nobody runs them now")
    typer.echo(f"{found.claimed:>9,}  claimed by a launch")
    typer.echo(f"{found.running:>9,}  running")
    for state, count in found.states.items():
        typer.echo(f"{count:>9,}  {state}")
    if found.imported:
        typer.echo(f"{found.imported:>9,}  of these imported")
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in found.relaunch.items())
    typer.echo(f"{sum(found.relaunch.values()):>9,}  a relaunch would run{f' ({reasons})' if reasons else ''}")
    if found.best_loss is not None:
        typer.echo(f"best loss {found.best_loss:.6g}")
    typer.echo(found.usage.sentence())
    if found.rate is not None:
        left = "" if found.seconds_left is None else f", {found.seconds_left / 60:.0f} min left at this rate"
        typer.echo(f"{found.rate * 60:.1f} trials a minute lately{left}")
    for lease in found.leases:
        typer.echo(f"launch {lease.launch_id} on {lease.holder} holds {len(lease.trials)} trials, {_ends(lease, now)}")
    for pack in sorted(found.packs, key=lambda pack: pack.since)[:SHOWN]:
        typer.echo(f"  {_pack(pack, now)}")
    if len(found.packs) > SHOWN:
        typer.echo(f"  ({len(found.packs) - SHOWN} more packs; --json for all)")


def _ends(lease: Lease, now: dt.datetime) -> str:
    if lease.died:
        return "its process is gone"
    age = (lease.expires - now).total_seconds()
    if not lease.known:
        return "no heartbeat"
    return f"lease ends in {age:.0f} s" if age > 0 else f"lease ended {-age:.0f} s ago"


def _pack(pack: RunningPack, now: dt.datetime) -> str:
    """What a worker is at, the longest-running first: trial, step, host, since when."""
    trial, step = next(iter(pack.steps.items()), (pack.pack_id, None))
    more = f" and {len(pack.steps) - 1} beside it" if len(pack.steps) > 1 else ""
    behind = f", {pack.left - len(pack.steps)} behind it" if pack.left > len(pack.steps) else ""
    at = "" if step is None else f" at step {step:,}"
    host = f" on {pack.host}" if pack.host else ""
    return f"{trial}{more}{at}{host}, for {(now - pack.idle_since).total_seconds():.0f} s{behind}"
