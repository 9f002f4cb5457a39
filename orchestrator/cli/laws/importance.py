"""`sweeplaw importance`: which knob decides the loss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.laws.hyperlaw import Knobs, Let, Source, Where, Y
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json
from sweeplaw.trials.quantities import plain, settings

if TYPE_CHECKING:
    from sweeplaw.analysis.tuning.importance import Importance

FIGURES = (".svg", ".png", ".pdf")

HELP = """The share of the variance of the loss by knob and by pair of knobs, on the grid of runs in SOURCE.

Exact where the grid is full; the share of missing points is shown. --cell decomposes each budget on its own, so that
the rankings can be compared. Each knob's cost of being frozen at its default (--default lr=0.001, else the level best
on average) is the relative loss that tuning it would have won.

Example: sweeplaw importance results/surrogate --knob lr --knob batch_tokens --cell N,D
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("importance", help=HELP)(importance)


def importance(
    source: Source,
    knob: Knobs,
    cell: Annotated[str, typer.Option("--cell", metavar="N,D", help="Decompose each of these on its own.")] = "",
    y: Y = "val_loss",
    default: Annotated[list[str] | None, typer.Option(metavar="KNOB=VALUE", help="Where a knob is frozen.")] = None,
    cap: Annotated[
        float | None,
        typer.Option(min=0, metavar="SHARE", help="Losses above (1 + SHARE) x the best count as that much."),
    ] = None,
    let: Let = None,
    where: Where = None,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw the shares (.svg, .png or .pdf).")
    ] = None,
    json: Json = False,
) -> None:
    from sweeplaw.analysis.tuning.importance import importance as decompose
    from sweeplaw.orchestrator.cli.laws.hyperlaw import pairs, table
    from sweeplaw.orchestrator.cli.tables.query import names, tell
    from sweeplaw.trials.errors import InputError

    if figure is not None and figure.suffix.lower() not in FIGURES:
        raise InputError(f"--figure {figure}: the name ends in none of {', '.join(FIGURES)}")
    axes = names(cell)
    frame, notes, faults = table(source, [*axes, *knob], y, let, where, "")
    defaults = {name: _number(value) for name, value in pairs(default, "--default").items()}
    found, dropped = decompose(frame, knob, y, axes, defaults, cap)
    if dropped:
        notes.append(f"{dropped} rows left out: no finite {y} (diverged or failed), or a null knob")
    if figure is not None:
        from sweeplaw.analysis.report.hyperlaw_figures import importance_bars

        importance_bars(found).savefig(figure)
    if json:
        cells = [
            {
                "cell": dict(one.cell),
                "rows": one.rows,
                "grid_points": one.points,
                "filled": one.filled,
                "best": one.best,
                "knobs": dict(one.knobs),
                "pairs": {f"{a} x {b}": share for (a, b), share in one.pairs.items()},
                "higher_orders": one.rest,
                "ranking": list(one.ranking),
                "frozen": {name: {"value": value, "cost": cost} for name, (value, cost) in one.frozen.items()},
            }
            for one in found
        ]
        emit_json({"source": source, "y": y, "cells": cells, "notes": notes})
    else:
        _print(found, notes)
    tell([], faults)


def _print(found: Sequence[Importance], notes: Sequence[str]) -> None:
    for one in found:
        cell = settings(one.cell) or "all rows"
        typer.echo(f"{cell}: {one.rows} rows on {one.points} grid points, {one.filled:.1%} filled")
        for name in one.ranking:
            value, cost = one.frozen[name]
            lost = (
                f"frozen at {plain(value)}: +{cost:.2%} of loss" if cost is not None else f"{plain(value)} was not run"
            )
            typer.echo(f"  {name:20s} {one.knobs[name]:7.1%}   {lost}")
        for (a, b), share in sorted(one.pairs.items(), key=lambda item: -item[1])[:5]:
            typer.echo(f"  {a} x {b}: {share:.1%}")
        typer.echo(f"  higher orders: {one.rest:.1%}")
    for note in notes:
        typer.echo(f"note: {note}")


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
