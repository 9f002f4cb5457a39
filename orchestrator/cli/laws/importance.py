"""`sweeplaw importance`: the effect of each knob on the loss."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.shared.options import names, pairs
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, print_notes, report_damage
from sweeplaw.orchestrator.cli.shared.pictures import check_picture
from sweeplaw.orchestrator.cli.shared.runs import Knobs, Let, Source, Where, Y, read_runs, recipes_apart
from sweeplaw.trials.quantities import counted, percent

if TYPE_CHECKING:
    from sweeplaw.analysis.tuning.importance import Importance


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("importance")(importance)


def importance(
    source: Source,
    knob: Knobs,
    cell: Annotated[
        str, typer.Option("--cell", metavar="N,D", help="Decompose the loss in each of these cells separately.")
    ] = "",
    y: Y = "val_loss",
    default: Annotated[
        list[str] | None, typer.Option(metavar="KNOB=VALUE", help="Value at which a knob is frozen (repeatable).")
    ] = None,
    cap: Annotated[
        float | None,
        typer.Option(min=0, metavar="SHARE", help="Cap losses at (1 + SHARE) x the best."),
    ] = None,
    let: Let = None,
    where: Where = None,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw the shares (.svg, .png or .pdf).")
    ] = None,
    json: Json = False,
) -> None:
    """Measure how much each knob affects the loss. The runs should form a grid of the knobs.

    The measure is the share of the variance of the loss by knob and by pair of knobs. It is exact on a full grid;
    otherwise the share of points that were filled in is reported. --cell decomposes each budget separately, so that
    rankings can be compared. A knob's cost of being frozen at its default (--default lr=0.001, else the level best on
    average) is the relative loss that tuning it would have gained. What the noise of a run adds to shares and costs is
    subtracted where it can be estimated from repeats or grid lines; a knob whose share may be noise alone is named.

    Example: sweeplaw importance results/surrogate --knob lr --knob batch_tokens --cell N,D
    """
    from sweeplaw.analysis.tuning.importance import importance as decompose

    check_picture(figure, "--figure")
    axes: Sequence[str] = names(cell)
    runs = read_runs(source, [*axes, *knob], y, let, where, "")
    axes = recipes_apart(runs, axes, knob, y) if axes else ()
    notes = runs.notes
    defaults = {name: _number(value) for name, value in pairs(default, "--default").items()}
    found, dropped = decompose(runs.frame, knob, y, axes, defaults, cap)
    if dropped:
        notes.append(
            f"{counted(dropped, 'row')} left out: no finite {y} (diverged, failed or out of range), or a null knob"
        )
    if figure is not None:
        from sweeplaw.analysis.report.paper.hyperlaw_figures import importance_bars
        from sweeplaw.analysis.tables.files.output_file import write_file

        write_file(figure, partial(importance_bars(found).savefig, format=figure.suffix[1:].lower()))
    if json:
        emit_json({"source": source, "y": y, "cells": [one.to_dict() for one in found], "notes": notes})
    else:
        for one in found:
            _print(one)
        print_notes(notes)
    report_damage(runs.faults)


def _print(one: Importance) -> None:
    typer.echo(one.headline()[0])
    for name in one.ranking:
        typer.echo(f"  {name:20s} {percent(one.knobs[name], '.1f'):>8}   {one.remark(name)}")
    for (a, b), share in one.largest_pairs():
        typer.echo(f"  {a} x {b}: {percent(share, '.1f')}")
    typer.echo(f"  higher orders: {percent(one.rest, '.1f')}")
    typer.echo(f"  {one.noise_sentence()}")


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
