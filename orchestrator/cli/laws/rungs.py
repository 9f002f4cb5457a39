"""`sweeplaw rungs`: the sizes or budgets whose runs a law through all the others does not expect."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeplaw.orchestrator.cli.shared.options import pairs
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, report_damage
from sweeplaw.orchestrator.cli.shared.runs import Source, Where


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rungs")(rungs)


def rungs(
    source: Source,
    axis: Annotated[str, typer.Option(metavar="NAME", help="The rungs: an input of the law, or C.")] = "N",
    law: Annotated[str, typer.Option(metavar="LAW", help="Law to compare the rungs with.")] = "additive",
    x: Annotated[
        list[str] | None, typer.Option("--x", metavar="INPUT=COLUMN", help="Column of an input (repeatable).")
    ] = None,
    y: Annotated[str | None, typer.Option("--y", metavar="COLUMN", help="Column of the loss.")] = None,
    knob: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Knob to check for edge optima (repeatable; default: the tuned knobs)."),
    ] = None,
    where: Where = None,
    json: Json = False,
) -> None:
    """Find mistuned rungs: fit the law without each size (or budget) in turn, and test whether that rung deviates.

    For each rung: the mean excess of its runs over the law of the others, in standard errors, and the knobs whose best
    value is the lowest or highest tried there. P values are corrected for the number of rungs.

    Example: sweeplaw rungs results/surrogate

    Example: sweeplaw rungs runs.csv --axis C --law skaling --x N=params --x D=tokens --y loss --knob lr
    """
    from sweeplaw.analysis.recipes.rungs import rungs as held_against
    from sweeplaw.analysis.tables.tables import read

    runs = read(source)
    found = held_against(runs, axis, law=law, knobs=knob, x=pairs(x, "--x", "x") or None, y=y, where=where)
    if json:
        emit_json({"source": source, **found.to_dict()})
    else:
        typer.echo(found.summary())
    report_damage(runs.faults)
