"""`sweeplaw compare`: whether the difference between two recipes is real, what would settle it, what it is worth."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeplaw.orchestrator.cli.shared.options import names
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, report_damage
from sweeplaw.orchestrator.cli.shared.runs import Where, Y


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare")(compare)


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="The runs of the first recipe: a store or a file.")],
    b: Annotated[str | None, typer.Argument(metavar="[B]", help="The runs of the second recipe.")] = None,
    by: Annotated[
        str | None, typer.Option(metavar="KNOB", help="Compare the values of this knob in A, instead of A and B.")
    ] = None,
    y: Y = "val_loss",
    on: Annotated[
        str | None, typer.Option(metavar="A,B", help="Columns that must be equal (default: every other knob).")
    ] = None,
    also: Annotated[
        list[str] | None, typer.Option("--with", metavar="KNOB", help="Column that may also differ (repeatable).")
    ] = None,
    where: Where = None,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Level of the intervals.")] = 0.95,
    json: Json = False,
) -> None:
    """Test whether two recipes differ, over runs that are equal in every other knob. Lower is better.

    The answer is a difference with its interval, over all and by size, corrected for the number of comparisons; the
    noise of a run over seeds; the number and the cost of further runs that would settle an open comparison; and the
    difference as a speed-up in compute. Runs are paired by seed where both recipes have it.

    Example: sweeplaw compare results/demo results/again

    Example: sweeplaw compare results/demo --by lr
    """
    from sweeplaw.analysis.recipes.comparison import compare_recipes
    from sweeplaw.analysis.tables.tables import read

    sources = [None if path is None else read(path) for path in (a, b)]
    found = compare_recipes(
        sources[0], sources[1], by=by, y=y, on=list(names(on)) or None, also=also or (), where=where, level=level
    )
    if json:
        emit_json([one.to_dict() for one in found])
    else:
        typer.echo("\n\n".join(one.summary() for one in found))
    report_damage(fault for source in sources if source is not None for fault in source.faults)
