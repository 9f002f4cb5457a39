"""`sweeplaw export-checkpoint`: write kept weights for transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeplaw.trials.quantities import counted


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export-checkpoint")(export_checkpoint)


def export_checkpoint(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    trial: Annotated[str, typer.Argument(metavar="TRIAL_ID", help="A trial, or TRIAL_ID@STEP for a snapshot.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder.")],
    member: Annotated[int | None, typer.Option(help="Only this member of an ensemble, counted from 0.")] = None,
) -> None:
    """Write the kept weights of a trial in Hugging Face's layout, for AutoModelForCausalLM.from_pretrained(DIR).

    A sweep with keep = "final" keeps them. Each member of an ensemble becomes a model of its own, in DIR/member-0 and
    so on.

    Example: sweeplaw export-checkpoint results/mine 0c59c2f4f2f1a0e3a1b2 --out exported
    """
    from sweeplaw.orchestrator.cli.shared.frames import refuse_inside
    from sweeplaw.orchestrator.monitor.trial_view import find
    from sweeplaw.orchestrator.store.store import Store
    from sweeplaw.trials.kept.huggingface import export
    from sweeplaw.trials.store_format import kept_weights
    from sweeplaw.trials.store_format.kept_weights import Kept

    refuse_inside(out, store)
    opened = Store.open(store)
    prefix, mark, step = trial.partition("@")
    kept = Kept.of(f"{find(opened, prefix)}{mark}{step}")
    with kept_weights.opened(opened.location, kept) as weights:
        numbers = range(weights.members) if member is None else [member]
        for number in numbers:
            export(weights, number, out / f"member-{number}" if len(numbers) > 1 else out)
    typer.echo(f"{counted(len(numbers), 'model')} of trial {kept} written to {out}", err=True)
