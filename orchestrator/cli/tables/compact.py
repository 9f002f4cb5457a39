"""`sweeplaw compact`: merge small parts and quarantine damaged ones."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, report_damage
from sweeplaw.trials.quantities import counted


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compact")(compact)


def compact(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    now: Annotated[
        bool, typer.Option("--now", help="Remove replaced files at once. Use it only while nothing reads the store.")
    ] = False,
    json: Json = False,
) -> None:
    """Merge the small parts of STORE into large ones. Launches do so by themselves.

    Readers and launches may use the store meanwhile. Damaged files are moved to STORE/quarantine; a damaged file of
    STORE/merges stays, and nothing is merged until it is repaired or removed. A damaged merged part is made anew as
    long as the files it was merged from are there. These stay for an hour, for readers that have them open (--now
    removes them at once), and until every byte of the merged part has been verified. All damage in the store is named,
    also what only other commands read (exit code 3).

    Example: sweeplaw compact results/demo
    """
    import datetime as dt
    from dataclasses import asdict

    from sweeplaw.orchestrator.monitor.damage import damage
    from sweeplaw.orchestrator.store import compaction, garbage
    from sweeplaw.orchestrator.store.store import Store

    opened = Store.open(store)
    done = compaction.compact(opened.location, grace=dt.timedelta(0) if now else garbage.GRACE)
    done.faults = list(dict.fromkeys([*done.faults, *damage(opened)]))
    if json:
        emit_json(asdict(done))
    elif done.busy:
        typer.echo("another compaction of this store is running")
    else:
        typer.echo(
            f"merged {counted(done.replaced, 'part')} into {len(done.merged)} ({counted(done.rows, 'trial')}); "
            f"removed {counted(done.removed, 'file')}"
        )
    report_damage([*done.undone, *done.quarantined, *done.faults])
