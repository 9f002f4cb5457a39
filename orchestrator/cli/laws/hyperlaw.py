"""`sweeplaw hyperlaw`: laws for the best learning rate, batch size and any other knob."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeplaw.orchestrator.cli.shared.options import MOST_DRAWS, names, pairs
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, report_damage
from sweeplaw.orchestrator.cli.shared.progress import progress_bar
from sweeplaw.orchestrator.cli.shared.runs import STEPS, Cell, Knobs, Let, Recipes, Source, Steps, Where, Y, read_runs

if TYPE_CHECKING:
    from sweeplaw.analysis.hyperlaws.hyperlaw import Hyperlaw
    from sweeplaw.analysis.tuning.design import Untuned


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("hyperlaw")(hyperlaw)


def hyperlaw(
    source: Source,
    knob: Knobs,
    cell: Cell = "N,D",
    estimator: Annotated[str, typer.Option(metavar="NAME", help="pooled:THRESHOLD, cells or joint.")] = "joint",
    y: Y = "val_loss",
    recipe: Recipes = None,
    on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KNOB=AXES", help="Axes of one knob's law (default: D for a batch size, else all; repeatable)."
        ),
    ] = None,
    let: Let = None,
    where: Where = None,
    steps: Steps = STEPS,
    resamples: Annotated[
        int, typer.Option(min=0, max=MOST_DRAWS, metavar="COUNT", help="Resamples of cells for the intervals.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resamples.")] = 0,
    figures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Also write SVG plots of cells and laws to FOLDER.")
    ] = None,
    json: Json = False,
) -> None:
    """Fit laws for the best setting of each knob. Runs are grouped into cells by the axes of --cell.

    A law is a power of the axes, in the units of their columns.

    Estimators: pooled:0.0025 (least squares on rows within 0.25 % of their cell's best, as for the Step Law), cells
    (each cell's own fitted optimum, weighted by its uncertainty), joint (one surface, one curvature). Cells are
    resampled for the intervals. Scores are per mille of loss above the best, in cells that the law was not fitted to,
    at the setting that the law predicts there: interpolated between the cell's runs, of the nearest run, and on the
    cell's own quadratic. A perfect law scores the noise floor.

    Repeated runs (seeds) are averaged. Text and booleans in --cell are recipes. A knob that was tuned too but is not
    named by --knob is held at its best value in each cell.

    Example: sweeplaw hyperlaw results/surrogate --cell N,D --knob lr --knob batch_tokens --estimator joint

    Example: sweeplaw hyperlaw runs.csv --let "batch_tokens=bs*2048" --cell N,D --knob lr --knob batch_tokens --y loss
    """
    from sweeplaw.analysis.hyperlaws.features import default_axes
    from sweeplaw.analysis.hyperlaws.hyperlaw import fit_runs

    axes, recipes = names(cell), tuple(recipe or ())
    runs = read_runs(source, [*axes, *knob, *recipes], y, let, where, steps)
    chosen = {name: names(value) for name, value in pairs(on, "--on").items()}
    fit = partial(
        fit_runs, runs.frame, axes, y=y, recipes=recipes, launches=runs.launches, estimator=estimator, seed=seed,
        resamples=resamples,
    )  # fmt: skip
    with progress_bar("resamples") as progress:
        found, refused = _answerable(partial(fit, on=chosen, progress=progress), knob)
    # Where a default leaves out axes, the law on all of them is reported too, to show what they would change.
    known = found.law_axes
    restricted = {
        name: known for name in found.knobs if name not in chosen and set(known) - {*default_axes(name, known)}
    }
    others = []
    if restricted:
        with progress_bar("resamples") as progress:
            others.append(fit(found.knobs, on={**chosen, **restricted}, progress=progress)[1])
    if figures is not None:
        from sweeplaw.analysis.report.hyperlaw_section import hyper_section
        from sweeplaw.analysis.tables.files.output_file import write_file

        figures.mkdir(parents=True, exist_ok=True)
        section = hyper_section(runs.frame, axes, found.knobs, y, estimator, recipes=recipes, launches=runs.launches)
        for name, figure in section.draw().items():
            write_file(figures / f"{name}.svg", partial(figure.savefig, format="svg"))
    if json:
        emit_json({"source": source, "y": y, **found.to_dict(others), "reading": runs.notes})
    else:
        typer.echo(found.summary(others, runs.notes))
    if refused is not None:
        raise refused
    report_damage(runs.faults)


def _answerable(
    fit: Callable[[Sequence[str]], tuple[Any, Hyperlaw]], knobs: Sequence[str]
) -> tuple[Hyperlaw, Untuned | None]:
    """Return the laws of ``knobs``; or those of the knobs that were tuned, and the refusal of the others."""
    from sweeplaw.analysis.tuning.design import Untuned
    from sweeplaw.trials.errors import InputError

    try:
        return fit(knobs)[1], None
    except Untuned as error:
        if not error.able:
            raise
        try:
            return fit(error.able)[1], error
        except InputError:
            raise error from None
