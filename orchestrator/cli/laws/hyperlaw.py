"""`sweeplaw hyperlaw`: laws for the best learning rate, batch size and any other knob."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.shared.options import names, pairs
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, print_notes, report_damage
from sweeplaw.orchestrator.cli.shared.progress import progress_bar
from sweeplaw.orchestrator.cli.shared.runs import STEPS, Cell, Knobs, Let, Source, Steps, Where, Y, read_runs
from sweeplaw.trials.quantities import counted

if TYPE_CHECKING:
    from sweeplaw.analysis.hyperlaws.hyperlaw import Hyperlaw


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
    from sweeplaw.analysis.report.hyperlaw_summary import hyperlaw_values

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

        figures.mkdir(parents=True, exist_ok=True)
        for name, figure in hyper_section(frame, axes, knob, y, estimator).figures.items():
            figure.savefig(figures / f"{name}.svg")
    if json:
        emit_json({"source": source, "y": y, **hyperlaw_values(found, others), "reading": notes})
    else:
        _print(found, others, notes)
    report_damage(faults)


def _print(found: Hyperlaw, others: Sequence[Hyperlaw], notes: Sequence[str]) -> None:
    from sweeplaw.analysis.hyperlaws.suggest import PLATEAU

    used = f"{found.rows_used} of {found.rows_measured} measured rows, {found.cells_used} of {found.cells} cells"
    typer.echo(f"{found.estimator}: {used}")
    for reason, count in found.dropped.items():
        typer.echo(f"  dropped {count} rows: {reason}")
    for cell, reason in found.cells_dropped:
        typer.echo(f"  dropped cell {', '.join(f'{name}={value}' for name, value in cell.items())}: {reason}")
    for form in (found, *others):
        _print_laws(form)
        _print_evaluations(form)
    if found.row_resampled:
        mean = "; ".join(law.formula for law in found.row_resampled)
        typer.echo(f"mean of row resamples, as the tool of the Step Law prints it: {mean}")
    for width in found.plateau:
        if width.threshold == PLATEAU:
            typer.echo(f"{width.knob} may be off by {width.factor:.2f}x for 0.25 % of loss")
    if found.recipes:
        typer.echo(found.recipes.sentence)
    print_notes([*found.notes, *notes])


def _print_laws(found: Hyperlaw) -> None:
    for law in found.laws:
        ends = [f"{axis} [{e.low:.3f}, {e.high:.3f}]" for axis, e in law.exponents.items() if e.low is not None]
        typer.echo(f"{law.formula}    95 %: {', '.join(ends)}" if ends else law.formula)
        for name, factor in law.offsets.items():
            typer.echo(f"    x {factor.value:.3f} for {name}")


def _print_evaluations(found: Hyperlaw) -> None:
    for evaluation in found.evaluations:
        split = f"{evaluation.kind.replace('_', '-')} ({counted(evaluation.held_out, 'cell')})"
        scores = [
            f"{m.name} {m.score:.3f} (noise floor {m.floor:.3f})" if m.floor is not None else f"{m.name} {m.score:.3f}"
            for m in evaluation.metrics
            if m.score is not None
        ]
        typer.echo(f"  {split}: {', '.join(scores)} per mille")
