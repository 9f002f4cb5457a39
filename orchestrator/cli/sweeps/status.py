"""`sweeplaw status`: the progress of the sweeps in a store."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, report_damage
from sweeplaw.trials.quantities import counted

if TYPE_CHECKING:
    from sweeplaw.orchestrator.launch.published_packs import RunningPack
    from sweeplaw.orchestrator.monitor.status import Progress
    from sweeplaw.orchestrator.store.heartbeats import Lease

SHOWN = 20
PLAIN = (
    *("states", "imported", "missing", "waiting", "claimed", "running", "relaunch", "rate", "seconds_left"),
    *("best_loss", "faults"),
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(status)


def status(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    json: Json = False,
) -> None:
    """Show the progress of the sweeps in STORE.

    Planned, claimed, running and ended trials; the trials that a relaunch would run, with the reason; rate and time
    left; device time, and how much of it was wasted; where a search stands.

    Example: sweeplaw status results/demo
    """
    found, now = _progress(store)
    if json:
        emit_json(_values(found, now))
    else:
        typer.echo(_text(found, now, store))
    report_damage(found.faults)


def _progress(store: str) -> tuple[Progress, dt.datetime]:
    from sweeplaw.orchestrator.monitor.status import progress
    from sweeplaw.orchestrator.store.clocks import approximate_store_time
    from sweeplaw.orchestrator.store.store import Store

    opened = Store.open(store)
    now = approximate_store_time(opened.location)
    return progress(opened, now), now


def _text(found: Progress, now: dt.datetime, store: str) -> str:
    from sweeplaw.orchestrator.launch.failures import sentences
    from sweeplaw.orchestrator.monitor import searches

    why = sentences(found.failures, store)
    searching = [line for state in found.searches for line in searches.sentences(state)]
    preempted = " or were preempted" if "preempted" in found.states else ""
    heading = [f"why trials failed{preempted}:"] if why else []
    return "\n".join([*_counts(found), *heading, *why, *_pace(found), *searching, *_launches(found, now)])


def _values(found: Progress, now: dt.datetime) -> dict[str, Any]:
    usage = found.usage
    return {
        **{name: getattr(found, name) for name in PLAIN},
        "leases": [_lease_values(lease, now) for lease in found.leases],
        "packs": [asdict(pack) for pack in found.packs],
        "failures": [asdict(cause) for cause in found.failures],
        "searches": [asdict(state) for state in found.searches],
        "device_seconds": {"useful": usage.useful, "wasted": usage.wasted, "losses": usage.losses},
    }


def _lease_values(lease: Lease, now: dt.datetime) -> dict[str, Any]:
    return {
        "launch_id": lease.launch_id,
        "holder": lease.holder,
        "trials": len(lease.trials),
        "alive": lease.alive(now),
        "expires_in_seconds": (lease.expires - now).total_seconds() if lease.known else None,
    }


def _counts(found: Progress) -> Iterator[str]:
    if found.waiting is not None:
        yield f"{found.waiting:>9,}  planned, not claimed by a launch"
    yield f"{found.claimed:>9,}  claimed by a launch"
    yield f"{found.running:>9,}  running"
    for state, count in found.states.items():
        yield f"{count:>9,}  {state}"
    if found.imported:
        yield f"{found.imported:>9,}  of these imported"
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in found.relaunch.items())
    yield f"{sum(found.relaunch.values()):>9,}  a relaunch would run{f' ({reasons})' if reasons else ''}"


def _pace(found: Progress) -> Iterator[str]:
    if found.best_loss is not None:
        yield f"best loss {found.best_loss:.6g}"
    yield found.usage.sentence()
    if found.rate is not None and (found.running or found.claimed):  # a launch lives
        left = "" if found.seconds_left is None else f", {found.seconds_left / 60:.0f} min left at this rate"
        yield f"recently {found.rate * 60:.1f} trials a minute{left}"


def _launches(found: Progress, now: dt.datetime) -> Iterator[str]:
    for lease in found.leases:
        held = counted(len(lease.trials), "trial")
        yield f"launch {lease.launch_id} on {lease.holder} holds {held}, {_expiry(lease, now)}"
    for pack in sorted(found.packs, key=lambda pack: pack.since)[:SHOWN]:
        yield f"  {_pack(pack, now)}"
    if len(found.packs) > SHOWN:
        yield f"  ({counted(len(found.packs) - SHOWN, 'more pack')}; --json for all)"


def _expiry(lease: Lease, now: dt.datetime) -> str:
    if lease.dead:
        return "its process is gone"
    if not lease.known:
        return "no heartbeat"
    seconds = (lease.expires - now).total_seconds()
    return f"lease ends in {seconds:.0f} s" if seconds > 0 else f"lease ended {-seconds:.0f} s ago"


def _pack(pack: RunningPack, now: dt.datetime) -> str:
    """Format what a worker runs: trial, step, host, time."""
    trial, step = next(iter(pack.steps.items()), (pack.pack_id, None))
    more = f" and {len(pack.steps) - 1} in the same pack" if len(pack.steps) > 1 else ""
    queued = f", {pack.left - len(pack.steps)} queued behind" if pack.left > len(pack.steps) else ""
    at = "" if step is None else f" at step {step:,}"
    host = f" on {pack.host}" if pack.host else ""
    return f"{trial}{more}{at}{host}, for {(now - pack.idle_since).total_seconds():.0f} s{queued}"
