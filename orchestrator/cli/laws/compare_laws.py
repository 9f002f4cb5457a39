"""`sweeplaw compare-laws`: rank published hyperparameter laws on your own runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.shared.options import names
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, print_notes, report_damage
from sweeplaw.orchestrator.cli.shared.runs import STEPS, Cell, Knobs, Let, Recipes, Source, Steps, Where, Y, read_runs

if TYPE_CHECKING:
    from sweeplaw.analysis.hyperlaws.comparison import LawScore


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare-laws")(compare_laws)


def compare_laws(
    source: Source,
    knob: Knobs,
    cell: Cell = "N,D",
    y: Y = "val_loss",
    recipe: Recipes = None,
    law: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this law (repeatable).")] = None,
    let: Let = None,
    where: Where = None,
    steps: Steps = STEPS,
    json: Json = False,
) -> None:
    """Rank published laws on the runs in SOURCE. The score is the regret of each law's prediction.

    Regret is per mille of loss above each cell's best, averaged over cells, less what the noise of the runs adds. A
    knob that a law does not predict, or that has no effect beyond the noise, is set to the cell's best given the
    others. Batch sizes are in tokens: name the knob batch_tokens.

    Example: sweeplaw compare-laws results/surrogate --cell N,D --knob lr --knob batch_tokens
    """
    from sweeplaw.analysis.hyperlaws.comparison import KNOBS, compare
    from sweeplaw.analysis.hyperlaws.evaluation import Scorer
    from sweeplaw.analysis.hyperlaws.published import LAWS
    from sweeplaw.analysis.tuning.cells import cell_table
    from sweeplaw.trials.errors import InputError

    if not set(knob) & set(KNOBS):
        raise InputError(f"published laws predict {', '.join(KNOBS)}; --knob names none of them (--let can derive one)")
    runs = read_runs(source, [*names(cell), *knob, *(recipe or ())], y, let, where, steps)
    cells = cell_table(runs.frame, names(cell), knob, y, recipe or (), runs.launches)
    scorer = Scorer.of(cells)
    ranked = compare(runs.frame, cells, scorer, law or tuple(LAWS))
    notes = [*cells.notes, *runs.notes]
    if json:
        laws = [one.to_dict() for one in ranked]
        emit_json({"source": source, "cells": len(cells.cells), "laws": laws, "notes": notes})
    else:
        scored = any(quadratic is not None for quadratic in scorer.quadratics)
        _print(ranked, f"{len(cells.cells)} cells" if scored else None, notes)
    report_damage(runs.faults)


def _print(ranked: Sequence[LawScore], cells: str | None, notes: Sequence[str]) -> None:
    """Print the laws and the unit of their scores; ``cells`` is None if no cell has a fitted optimum."""
    for one in ranked:
        typer.echo(one.headline()[0])
    if cells is None:
        typer.echo("no cell has a fitted optimum")
    else:
        floors = [one.noise_floor for one in ranked if one.noise_floor is not None]
        ends = dict.fromkeys(f"{end:.3f}" for end in (min(floors), max(floors))) if floors else {}
        noise = f"less its noise floor ({' to '.join(ends)})" if ends else "with unknown noise"
        typer.echo(f"regret in per mille of loss on each cell's quadratic, {noise}, {cells}; the laws are not refitted")
    print_notes(notes)
