"""`sweeplaw retry`: put trials back in the queue."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeplaw.orchestrator.cli.shared.options import names
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, report_damage
from sweeplaw.trials.quantities import counted


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("retry")(retry)


def retry(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    trial: Annotated[
        list[str] | None, typer.Argument(metavar="TRIAL", help="Only these trials, by their ids or beginnings of them.")
    ] = None,
    state: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only trials whose latest outcome is one of these.")
    ] = None,
    where: Annotated[str | None, typer.Option(metavar="EXPR", help="Only trials for which this holds.")] = None,
    json: Json = False,
) -> None:
    """Put trials back in the queue. The next launch runs them again, and their rows so far stay as earlier attempts.

    Name the trials by their ids, by their state (--state), or by both.

    Example: sweeplaw retry results/demo --state failed,out_of_memory
    """
    from sweeplaw.orchestrator.launch.retries import requeue
    from sweeplaw.orchestrator.store.store import Store

    opened = Store.open(store)
    attempts = requeue(opened, names(state), where, trial or ())
    if json:
        emit_json({"requeued": sorted(attempts)})
    else:
        typer.echo(f"{counted(len(attempts), 'trial')} put back in the queue; the next launch runs them")
    report_damage(opened.problems)
