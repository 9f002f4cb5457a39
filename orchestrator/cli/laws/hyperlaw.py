"""`sweeplaw hyperlaw`: laws for the best learning rate, batch size and any other knob."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.shared.output import Json, counting, emit_json

if TYPE_CHECKING:
    import polars as pl

    from sweeplaw.analysis.hyperlaws.hyperlaw import Hyperlaw

HELP = """How the best setting of each knob moves with the axes of --cell, from the runs in SOURCE (a store, or a CSV,
Parquet or NDJSON file).

Estimators: pooled:0.0025 (least squares on rows within 0.25 % of their cell's best: Step Law's), cells (each cell's own
fitted optimum, weighted by its uncertainty), joint (one surface, one curvature). Intervals resample cells. Scores are
per mille of loss in cells the law has not seen, each beside its noise floor.

Example: sweeplaw hyperlaw results/surrogate --cell N,D --knob lr --knob batch_tokens --estimator joint

Example: sweeplaw hyperlaw runs.csv --let "batch_tokens=bs*2048" --cell N,D --knob lr --knob batch_tokens --y loss
"""

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="A store, or a CSV, Parquet or NDJSON file.")]
Cell = Annotated[str, typer.Option("--cell", metavar="N,D", help="The axes of the laws.")]
Knobs = Annotated[list[str], typer.Option("--knob", metavar="NAME", help="A knob to find the best of; repeat it.")]
Y = Annotated[str, typer.Option("--y", metavar="COLUMN", help="The loss.")]
Recipes = Annotated[
    list[str] | None,
    typer.Option("--recipe", metavar="COLUMN", help="A recipe column: its own cells, one offset each."),
]
Let = Annotated[
    list[str] | None, typer.Option("--let", metavar="NAME=EXPR", help="A further column, as an SQL expression.")
]
Where = Annotated[str | None, typer.Option(metavar="EXPR", help="Only trials for which this holds.")]
STEPS = "steps"
Steps = Annotated[str, typer.Option(metavar="COLUMN", help="Optimizer steps, to check the unit of the batch size.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("hyperlaw", help=HELP)(hyperlaw)


def hyperlaw(
    source: Source,
    knob: Knobs,
    cell: Cell = "N,D",
    estimator: Annotated[str, typer.Option(metavar="NAME", help="pooled:THRESHOLD, cells or joint.")] = "joint",
    y: Y = "val_loss",
    recipe: Recipes = None,
    on: Annotated[
        list[str] | None,
        typer.Option(metavar="KNOB=AXES", help="Axes of one knob's law (default: D for a batch, else all)."),
    ] = None,
    let: Let = None,
    where: Where = None,
    steps: Steps = STEPS,
    resamples: Annotated[int, typer.Option(min=0, metavar="COUNT", help="Cell resamples for the intervals.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.")] = 0,
    figures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Also draw the cells and the laws there, as SVG.")
    ] = None,
    json: Json = False,
) -> None:
    from sweeplaw.analysis.hyperlaws import hyperlaw as hyperlaws
    from sweeplaw.analysis.hyperlaws.features import default_axes
    from sweeplaw.analysis.report.hyperlaw_summary import hyperlaw_statement
    from sweeplaw.orchestrator.cli.tables.query import names, tell

    axes, recipes = names(cell), tuple(recipe or ())
    frame, notes, faults = table(source, [*axes, *knob, *recipes], y, let, where, steps)
    chosen = {name: names(value) for name, value in pairs(on, "--on").items()}
    call = {"cell": axes, "knobs": knob, "estimator": estimator, "y": y, "recipes": recipes, "seed": seed}
    with counting("resamples") as watch:
        found = hyperlaws.hyperlaw(frame, on=chosen, resamples=resamples, watch=watch, **call)  # type: ignore[arg-type]
    restricted = {name: axes for name in knob if name not in chosen and default_axes(name, axes) != axes}
    others = []
    if restricted:  # what the default leaves out, beside it: the reader sees what the further axes would change
        on_axes = {**chosen, **restricted}
        with counting("resamples") as watch:
            others.append(hyperlaws.hyperlaw(frame, on=on_axes, resamples=resamples, watch=watch, **call))  # type: ignore[arg-type]
    if figures is not None:
        from sweeplaw.analysis.report.hyperlaw_section import hyper_section

        figures.mkdir(parents=True, exist_ok=True)
        for name, figure in hyper_section(frame, axes, knob, y, estimator).figures.items():
            figure.savefig(figures / f"{name}.svg")
    if json:
        emit_json({"source": source, "y": y, **hyperlaw_statement(found, others), "reading": notes})
    else:
        _print(found, others, notes)
    tell([], faults)


def table(
    source: str, columns: list[str], y: str, let: list[str] | None, where: str | None, steps: str
) -> tuple[pl.DataFrame, list[str], tuple[str, ...]]:
    """The rows of ``source`` with these columns, what was done to get there, and what is damaged, in sentences."""
    from sweeplaw.analysis.hyperlaws.features import TOKEN_AXES, default_axes
    from sweeplaw.analysis.hyperlaws.source import check_batch_unit, prepare
    from sweeplaw.analysis.tables import tables
    from sweeplaw.analysis.tables.expressions import check_columns
    from sweeplaw.trials.errors import InputError

    loaded = tables.read(source, states=None, where=where)
    frame = prepare(loaded.trials.collect(), columns, y, pairs(let, "--let"))
    if steps not in ("", STEPS):
        check_columns(frame, [steps])
    notes = [f"{count} rows left out: {reason}" for reason, count in loaded.dropped.items()]
    if "state" in frame.columns and (frame["state"] == "completed").sum() == 0:
        raise InputError(f"{source} has no completed run")
    batches = [
        name for name in columns if default_axes(name, TOKEN_AXES) != () and name.lower().startswith(("b", "bs"))
    ]
    tokens = next((name for name in TOKEN_AXES if name in frame.columns), None)
    for batch in batches:
        if tokens and steps in frame.columns and batch in frame.columns:
            unit = check_batch_unit(frame, batch, tokens, steps)
            notes += [unit] if unit else []
    return frame, notes, loaded.faults


def pairs(options: list[str] | None, name: str) -> dict[str, str]:
    """NAME=VALUE options as a mapping. Raises InputError for one without a name or a value."""
    from sweeplaw.trials.errors import InputError

    split = [option.partition("=") for option in options or []]
    faults = [
        f"{name} {key!r} is not of the form NAME=VALUE" for key, mark, value in split if not (key and mark and value)
    ]
    if faults:
        raise InputError(faults)
    return {key.strip(): value.strip() for key, _, value in split}


def _print(found: Hyperlaw, others: list[Hyperlaw], notes: list[str]) -> None:
    used = f"{found.rows_used} of {found.rows_measured} measured rows, {found.cells_used} of {found.cells} cells"
    typer.echo(f"{found.estimator}: {used}")
    for reason, count in found.dropped.items():
        typer.echo(f"  dropped {count} rows: {reason}")
    for cell, reason in found.cells_dropped:
        typer.echo(f"  dropped cell {', '.join(f'{name}={value}' for name, value in cell.items())}: {reason}")
    for form in (found, *others):
        _print_laws(form)
    if found.row_resampled:
        mean = "; ".join(law.formula for law in found.row_resampled)
        typer.echo(f"Mean of row resamples, as Step Law's tool prints it: {mean}")
    for width in found.plateau:
        if width.threshold == 0.0025:
            typer.echo(f"{width.knob} may be off by {width.factor:.2f}x for 0.25 % of loss")
    if found.recipes:
        typer.echo(found.recipes.sentence)
    for note in (*found.notes, *notes):
        typer.echo(f"note: {note}")


def _print_laws(found: Hyperlaw) -> None:
    for law in found.laws:
        ends = [f"{axis} [{e.low:.3f}, {e.high:.3f}]" for axis, e in law.exponents.items() if e.low is not None]
        typer.echo(f"{law.formula}    95 %: {', '.join(ends)}" if ends else law.formula)
        for name, factor in law.offsets.items():
            typer.echo(f"    x {factor.value:.3f} for {name}")
    for evaluation in found.evaluations:
        scores = [
            f"{m.name} {m.score:.3f} (floor {m.floor:.3f})" if m.floor is not None else f"{m.name} {m.score:.3f}"
            for m in evaluation.metrics
            if m.score is not None
        ]
        typer.echo(f"  {evaluation.split}: {', '.join(scores)} per mille")
