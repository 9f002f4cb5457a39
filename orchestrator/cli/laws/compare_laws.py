"""`sweeplaw compare-laws`: published hyperparameter laws ranked on your own runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from sweeplaw.orchestrator.cli.laws.hyperlaw import STEPS, Cell, Knobs, Let, Source, Steps, Where, Y
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json

HELP = """What each published law's prediction would have cost on the runs in SOURCE, ranked by regret.

Per mille of loss above each cell's best, averaged over cells, beside the noise floor. A law that is silent about a knob
has it set to the cell's best given the rest. Batch sizes are in tokens: name the knob batch_tokens.

Example: sweeplaw compare-laws results/surrogate --cell N,D --knob lr --knob batch_tokens
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare-laws", help=HELP)(compare_laws)


def compare_laws(
    source: Source,
    knob: Knobs,
    cell: Cell = "N,D",
    y: Y = "val_loss",
    law: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this law; repeat it.")] = None,
    let: Let = None,
    where: Where = None,
    steps: Steps = STEPS,
    json: Json = False,
) -> None:
    from sweeplaw.analysis.hyperlaws.comparison import KNOBS, compare
    from sweeplaw.analysis.hyperlaws.evaluation import Scorer
    from sweeplaw.analysis.hyperlaws.published import LAWS
    from sweeplaw.analysis.tuning.cells import cell_table
    from sweeplaw.orchestrator.cli.laws.hyperlaw import table
    from sweeplaw.orchestrator.cli.tables.query import names, tell
    from sweeplaw.trials.errors import InputError

    if not set(knob) & set(KNOBS):
        raise InputError(
            f"published laws speak of {', '.join(KNOBS)}; --knob names none of them (--let can derive one)"
        )
    frame, notes, faults = table(source, [*names(cell), *knob], y, let, where, steps)
    cells = cell_table(frame, names(cell), knob, y)
    ranked = [_statement(contest) for contest in compare(frame, cells, Scorer.of(cells), law or tuple(LAWS))]
    told = [*cells.notes, *notes]
    if json:
        emit_json({"source": source, "cells": len(cells.cells), "laws": ranked, "notes": told})
    else:
        _print(ranked, len(cells.cells), told)
    tell([], faults)


def _print(ranked: Sequence[Mapping[str, Any]], cells: int, notes: Sequence[str]) -> None:
    for place in ranked:
        regret = place["regret_permille"]
        if regret is None:
            typer.echo(f"      -  {place['law']}: {place['remark']}")
            continue
        off = ", ".join(f"{name} {factor:.2f}x" for name, factor in place["off_by"].items())
        mark = "" if place["verified"] else " [second-hand]"
        score = "      -" if regret["quadratic"] is None else f"{regret['quadratic']:7.3f}"
        typer.echo(f"{score}  {place['law']}{mark}  {place['formula']}  (off: {off}) {place['remark']}")
    typer.echo(f"per mille of loss on each cell's quadratic, {cells} cells; not refitted")
    for note in notes:
        typer.echo(f"note: {note}")


def _statement(contest: Any) -> dict[str, Any]:
    law, evaluation = contest.law, contest.evaluation
    return {
        "law": law.name,
        "title": law.title,
        "formula": law.formula,
        "units": law.units,
        "parameters": law.parameters,
        "source": law.source,
        "verified": law.verified,
        "standing": law.standing,
        "regret_permille": None if evaluation is None else {m.name: m.score for m in evaluation.metrics},
        "noise_floor_permille": None if evaluation is None else {m.name: m.floor for m in evaluation.metrics},
        "off_by": dict(contest.off),
        "remark": contest.remark,
    }
