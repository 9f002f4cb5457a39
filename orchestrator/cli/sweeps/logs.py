"""`sweeplaw logs`: what a trial printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, report_damage
from sweeplaw.orchestrator.cli.shared.streams import write_data
from sweeplaw.orchestrator.monitor.printed import readable
from sweeplaw.trials.errors import InputError

if TYPE_CHECKING:
    from sweeplaw.orchestrator.monitor.trial_view import AttemptLog


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("logs")(logs)


def logs(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="The id of a trial, or its beginning.")],
    attempt: Annotated[int | None, typer.Option(metavar="N", help="Only this attempt.")] = None,
    json: Json = False,
) -> None:
    """Print what the attempts of a trial printed, while it runs too, and the traceback of its error.

    Of each attempt the store keeps the first and the last 64 KiB.

    Example: sweeplaw logs results/surrogate 004c
    """
    from sweeplaw.orchestrator.launch.retries import attempts_of
    from sweeplaw.orchestrator.monitor import trial_view
    from sweeplaw.orchestrator.store.store import Store

    opened = Store.open(store)
    trial_id = trial_view.find(opened, trial)
    found = trial_view.logs(opened, trial_id, attempts_of(opened.location, trial_id, trial_view.ATTEMPT))
    chosen = [one for one in found if attempt in (None, one.attempt)]
    if attempt is not None and not chosen:
        accepted = ", ".join(str(one.attempt) for one in found) or "none: it printed nothing"
        raise InputError(f"trial {trial_id} has no log of attempt {attempt} (accepted: {accepted})")
    if json:
        emit_json([_values(one) for one in chosen])
    else:
        _print(chosen, trial_id)
    report_damage(opened.problems)


def _print(chosen: Sequence[AttemptLog], trial_id: str) -> None:
    for one in chosen:
        if len(chosen) > 1:
            typer.echo(f"--- attempt {one.attempt}, launch {one.launch_id}")
        write_data(readable(one.output))
    if not chosen:
        typer.echo(f"trial {trial_id} printed nothing, or its launch kept no logs", err=True)


def _values(one: AttemptLog) -> dict[str, Any]:
    return {
        "launch_id": one.launch_id,
        "attempt": one.attempt,
        "together": one.together,
        "output": one.output.decode(errors="replace"),
    }
