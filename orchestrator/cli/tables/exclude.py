"""`sweeplaw exclude`: exclude trials of a store from queries, fits and reports, with a reason."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, report_damage
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("exclude")(exclude)


def exclude(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    where: Annotated[str, typer.Option(metavar="EXPR", help="The trials, in any state, for which this holds.")],
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Reason for the exclusion; shown with the trials.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Restore excluded trials for which EXPR holds.")] = False,
    json: Json = False,
) -> None:
    """Exclude trials from queries, fits and reports; no launch runs them again.

    Their rows stay in STORE; commands that read rows count them with the reason. The table `excluded` of
    `sweeplaw query` lists them.

    Example: sweeplaw exclude results/demo --where "val_loss > 9" --reason "the tokenizer was broken"
    """
    from sweeplaw.orchestrator.launch.exclusion import exclude_where, restore_where
    from sweeplaw.orchestrator.store.store import Store

    if undo == (reason is not None):
        raise InputError("give either --reason TEXT, to exclude trials, or --undo, to restore them")
    opened = Store.open(store)
    notes: list[str] = []
    if reason is None:
        found = restore_where(opened, where, notes.append)
    else:
        found = exclude_where(opened, where, reason, notes.append)
    if json:
        emit_json({"restored" if undo else "excluded": found})
    else:
        typer.echo(_outcome(len(found), undo))
    for sentence in notes:
        typer.echo(f"note: {sentence}", err=True)
    report_damage(opened.problems)


def _outcome(count: int, undo: bool) -> str:
    """Return what was done, or that no trial was found; those excluded already are not excluded again."""
    if not count:
        return f"nothing changed: EXPR holds for no {'excluded trial' if undo else 'trial in the data'}"
    return f"{counted(count, 'trial')} {'restored' if undo else 'excluded from the data (--undo restores)'}"
