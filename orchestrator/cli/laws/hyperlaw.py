"""`sweeplaw hyperlaw`: laws for the best learning rate, batch size and any other knob."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sweeplaw.orchestrator.cli.shared.options import names, pairs
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, report_damage
from sweeplaw.orchestrator.cli.shared.progress import progress_bar
from sweeplaw.orchestrator.cli.shared.runs import STEPS, Cell, Knobs, Let, Source, Steps, Where, Y, read_runs


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("hyperlaw")(hyperlaw)


def hyperlaw(
    source: Source,
    knob: Knobs,
    cell: Cell = "N,D",
    estimator: Annotated[str, typer.Option(metavar="NAME", help="pooled:THRESHOLD, cells or joint.")] = "joint",
    y: Y = "val_loss",
    recipe: Annotated[
        list[str] | None,
        typer.Option("--recipe", metavar="COLUMN", help="Column whose values have their own cells and an offset each."),
    ] = None,
    on: Annotated[
        list[str] | None,
        typer.Option(metavar="KNOB=AXES", help="Axes of one knob's law (default: D for a batch size, else all)."),
    ] = None,
    let: Let = None,
    where: Where = None,
    steps: Steps = STEPS,
    resamples: Annotated[
        int, typer.Option(min=0, metavar="COUNT", help="Resamples of cells for the intervals.")
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.")] = 0,
    figures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Also draw the cells and the laws there, as SVG.")
    ] = None,
    json: Json = False,
) -> None:
    """Fit laws for the best setting of each knob. Runs are grouped into cells by the axes of --cell.

    Estimators: pooled:0.0025 (least squares on rows within 0.25 % of their cell's best, as for the Step Law), cells
    (each cell's own fitted optimum, weighted by its uncertainty), joint (one surface, one curvature). Cells are
    resampled for the intervals. Scores are per mille of loss in cells that the law was not fitted to, each with its
    noise floor.

    Example: sweeplaw hyperlaw results/surrogate --cell N,D --knob lr --knob batch_tokens --estimator joint

    Example: sweeplaw hyperlaw runs.csv --let "batch_tokens=bs*2048" --cell N,D --knob lr --knob batch_tokens --y loss
    """
    from sweeplaw.analysis.hyperlaws import hyperlaw as hyperlaws
    from sweeplaw.analysis.hyperlaws.features import default_axes

    axes, recipes = names(cell), tuple(recipe or ())
    frame, notes, faults = read_runs(source, [*axes, *knob, *recipes], y, let, where, steps)
    chosen = {name: names(value) for name, value in pairs(on, "--on").items()}
    fit = partial(hyperlaws.hyperlaw, frame, axes, knob, estimator, y, recipes=recipes, resamples=resamples, seed=seed)
    with progress_bar("resamples") as progress:
        found = fit(on=chosen, progress=progress)
    # Where a default leaves out axes, the law on all of them is reported too, to show what they would change.
    restricted = {name: axes for name in knob if name not in chosen and default_axes(name, axes) != axes}
    others = []
    if restricted:
        with progress_bar("resamples") as progress:
            others.append(fit(on={**chosen, **restricted}, progress=progress))
    if figures is not None:
        from sweeplaw.analysis.report.hyperlaw_section import hyper_section
        from sweeplaw.analysis.tables.files.output_file import write_file

        figures.mkdir(parents=True, exist_ok=True)
        for name, figure in hyper_section(frame, axes, knob, y, estimator).figures.items():
            write_file(figures / f"{name}.svg", partial(figure.savefig, format="svg"))
    if json:
        emit_json({"source": source, "y": y, **found.to_dict(others), "reading": notes})
    else:
        typer.echo(found.summary(others, notes))
    report_damage(faults)
