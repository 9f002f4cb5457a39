"""`sweeplaw batch-lr`: how the best learning rate moves with the batch size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.laws.hyperlaw import STEPS, Cell, Let, Source, Steps, Where, Y
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json

if TYPE_CHECKING:
    from sweeplaw.analysis.hyperlaws.batch_lr import BatchRule

HELP = """The exponent of the best learning rate in the batch size at fixed axes, against the square-root and the
linear rule, and the critical batch size of each cell.

Example: sweeplaw batch-lr results/surrogate --cell N,D
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("batch-lr", help=HELP)(batch_lr)


def batch_lr(
    source: Source,
    cell: Cell = "N,D",
    lr: Annotated[str, typer.Option(metavar="COLUMN", help="The learning rate.")] = "lr",
    batch: Annotated[str, typer.Option(metavar="COLUMN", help="The batch size.")] = "batch_tokens",
    y: Y = "val_loss",
    let: Let = None,
    where: Where = None,
    steps: Steps = STEPS,
    json: Json = False,
) -> None:
    from sweeplaw.analysis.hyperlaws.batch_lr import batch_rule
    from sweeplaw.analysis.hyperlaws.features import features
    from sweeplaw.analysis.tuning.cells import cell_table
    from sweeplaw.orchestrator.cli.laws.hyperlaw import table
    from sweeplaw.orchestrator.cli.tables.query import names, tell

    axes = names(cell)
    frame, notes, faults = table(source, [*axes, lr, batch], y, let, where, steps)
    cells = cell_table(frame, axes, (lr, batch), y)
    found = batch_rule(cells, features(cells, {batch: axes}), lr, batch)
    told = [*cells.notes, *notes]
    if json:
        critical = [{**cell_label, "critical_batch": value} for cell_label, value in found.critical]
        emit_json(
            {
                "source": source,
                "exponent": found.exponent.value,
                "exponent_interval": [found.exponent.low, found.exponent.high],
                "exponent_of_the_shared_surface": found.surface,
                "slices": found.slices,
                "cells": found.cells,
                "verdict": found.verdict,
                "critical": critical,
                "notes": told,
            }
        )
    else:
        _print(found, batch, told)
    tell([], faults)


def _print(found: BatchRule, batch: str, notes: Sequence[str]) -> None:
    typer.echo(f"{found.verdict} ({found.slices} slices in {found.cells} cells; shared surface: {found.surface:.2f})")
    for label, value in found.critical:
        name = ", ".join(f"{key}={item}" for key, item in label.items())
        typer.echo(f"  critical {batch} at {name}: {'unknown' if value is None else f'{value:.4g}'}")
    for note in notes:
        typer.echo(f"note: {note}")
