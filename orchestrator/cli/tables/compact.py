"""`sweeplaw compact`: merge small parts, set damaged ones aside."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeplaw.orchestrator.cli.shared.output import Json, emit_json
from sweeplaw.trials.quantities import counted

HELP = """Merge the small parts of STORE into large ones; readers and launches go on meanwhile. Launches do this by
themselves.

Damaged files are moved to STORE/quarantine and named (exit code 3). Files that were replaced stay for an hour for
readers that have them open; --now removes them at once.

Example: sweeplaw compact results/demo
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compact", help=HELP)(compact)


def compact(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    now: Annotated[bool, typer.Option("--now", help="Remove replaced files at once: nobody is reading.")] = False,
    json: Json = False,
) -> None:
    import datetime as dt
    from dataclasses import asdict

    from sweeplaw.orchestrator.cli.tables.query import tell
    from sweeplaw.orchestrator.store import compaction, garbage
    from sweeplaw.orchestrator.store.store import Store

    location = Store.open(store).location
    done = compaction.compact(location, grace=dt.timedelta(0) if now else garbage.GRACE)
    if json:
        emit_json(asdict(done))
    elif done.busy:
        typer.echo("another compaction is at work on this store")
    else:
        typer.echo(
            f"merged {counted(done.replaced, 'part')} into {len(done.merged)} ({counted(done.rows, 'trial')}); "
            f"removed {counted(done.removed, 'file')}"
        )
    tell([], tuple(done.quarantined))
