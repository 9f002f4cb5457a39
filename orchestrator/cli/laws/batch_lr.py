"""`sweeplaw batch-lr`: the dependence of the best learning rate on the batch size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.shared.options import names
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, print_notes, report_damage
from sweeplaw.orchestrator.cli.shared.runs import STEPS, Cell, Let, Recipes, Source, Steps, Where, Y, read_runs

if TYPE_CHECKING:
    from sweeplaw.analysis.hyperlaws.batch_lr import BatchRule


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("batch-lr")(batch_lr)


def batch_lr(
    source: Source,
    cell: Cell = "N,D",
    lr: Annotated[str, typer.Option(metavar="COLUMN", help="Column of the learning rate.")] = "lr",
    batch: Annotated[str, typer.Option(metavar="COLUMN", help="Column of the batch size.")] = "batch_tokens",
    y: Y = "val_loss",
    recipe: Recipes = None,
    let: Let = None,
    where: Where = None,
    steps: Steps = STEPS,
    json: Json = False,
) -> None:
    """Relate the best learning rate to the batch size within each cell.

    The exponent is compared with the square-root and the linear rule, and each cell gets its critical batch size.

    Example: sweeplaw batch-lr results/surrogate --cell N,D
    """
    from sweeplaw.analysis.hyperlaws.batch_lr import batch_rule
    from sweeplaw.analysis.hyperlaws.features import features
    from sweeplaw.analysis.tuning.cells import cell_table

    axes = names(cell)
    runs = read_runs(source, [*axes, lr, batch, *(recipe or ())], y, let, where, steps)
    cells = cell_table(runs.frame, axes, (lr, batch), y, recipe or (), runs.launches)
    found = batch_rule(cells, features(cells, {batch: cells.axes}), lr, batch)
    notes = [*cells.notes, *runs.notes]
    if json:
        emit_json({"source": source, **found.to_dict(), "notes": notes})
    else:
        _print(found, batch, notes)
    report_damage(runs.faults)


def _print(found: BatchRule, batch: str, notes: Sequence[str]) -> None:
    typer.echo(repr(found))
    for cell, value in found.critical:
        name = ", ".join(f"{axis}={item}" for axis, item in cell.items())
        typer.echo(f"  critical {batch} at {name}: {'unknown' if value is None else f'{value:.4g}'}")
    print_notes(notes)
