"""`sweeplaw best-of`: the expected best of k tried settings, and the selection bias of its loss."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeplaw.orchestrator.cli.shared.options import names
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, print_notes, report_damage
from sweeplaw.orchestrator.cli.shared.pictures import Picture, check_picture, write_picture
from sweeplaw.orchestrator.cli.shared.runs import Cell, Knobs, Let, Source, Where, Y, read_runs, recipes_apart


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("best-of")(best_of)


def best_of(
    source: Source,
    knob: Knobs,
    cell: Cell = "N,D",
    y: Y = "val_loss",
    report: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Loss on data not used for selection (default: that of --y).")
    ] = None,
    within: Annotated[float, typer.Option(metavar="SHARE", help="Relative excess that is good enough.")] = 0.01,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Level of the intervals.")] = 0.95,
    let: Let = None,
    where: Where = None,
    out: Picture = None,
    json: Json = False,
) -> None:
    """Show the expected loss of the best of k tried settings in each cell, and how many draws are enough.

    The settings that were run count as draws: those of a random search, or of a grid whose levels can be treated as
    random. The best is picked by --y. With --report, the loss on data not used for selection, the answer includes how
    much --y is biased low by selection: its difference between the setting that --report picks and the one that it
    picks itself. The task `loss:held-out` in the sweep file gives as much text again.

    Example: sweeplaw best-of results/demo --knob lr --knob weight_decay
    """
    from sweeplaw.analysis.tuning.experiment.experiment import tuning_experiment

    check_picture(out)
    places = names(cell)
    columns = [*places, *knob, *([report] if report else [])]
    runs = read_runs(source, columns, y, let, where, "")
    found = tuning_experiment(
        runs.frame, recipes_apart(runs, places, knob, y), knob, y, report, within=within, level=level
    )
    if out is not None:
        from sweeplaw.analysis.report.paper.tuning_figures import expected_best_figure

        write_picture(out, expected_best_figure(found))
    if json:
        emit_json({"source": source, "knobs": knob, **found.to_dict(), "reading": runs.notes})
    else:
        typer.echo(found.summary())
        print_notes(runs.notes)
    report_damage(runs.faults)
