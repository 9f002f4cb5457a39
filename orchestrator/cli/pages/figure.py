"""`sweeplaw figure`: one figure of a report as a file for a paper."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sweeplaw.orchestrator.cli.shared.options import pairs
from sweeplaw.orchestrator.cli.shared.output import report_damage
from sweeplaw.orchestrator.cli.shared.progress import progress_bar


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("figure")(figure)


def figure(
    source: Annotated[str, typer.Argument(metavar="STORE", help="A store, or a CSV, Parquet or NDJSON file.")],
    name: Annotated[str, typer.Argument(help="Name of the figure; an unknown name lists the names of this store.")],
    out: Annotated[Path, typer.Option(help="File to write: .pdf, .svg, .png, .eps or .ps.")],
    width: Annotated[float | None, typer.Option(metavar="INCHES", help="Width (with --height).")] = None,
    height: Annotated[float | None, typer.Option(metavar="INCHES", help="Height (with --width).")] = None,
    style: Annotated[Path | None, typer.Option(help="A matplotlib style file of your own.")] = None,
    x: Annotated[
        list[str] | None, typer.Option("--x", metavar="INPUT=COLUMN", help="Column of N or D (repeatable).")
    ] = None,
    y: Annotated[str, typer.Option("--y", metavar="COLUMN", help="Column of the loss.")] = "val_loss",
    where: Annotated[str | None, typer.Option(help='SQL condition on the trials, such as "tokens > 1e6".')] = None,
) -> None:
    """Write one figure of the report as a file for a paper, its fonts embedded.

    Example: sweeplaw figure results/demo loss_n --out loss.pdf --width 3.3 --height 2.4
    """
    from sweeplaw.analysis.report.paper.named import file_style, write_figure
    from sweeplaw.analysis.report.paper.possible import refuse_impossible
    from sweeplaw.analysis.report.report import Report, make
    from sweeplaw.analysis.tables.tables import unless_damaged
    from sweeplaw.trials.errors import InputError, require_positive

    if (width is None) != (height is None):
        raise InputError("--width and --height go together: give both, or neither")
    size = None if width is None or height is None else (width, height)
    if size is not None:
        require_positive({"--width": size[0], "--height": size[1]})
    file_style(out, style)  # before the laws, which take a while

    check = partial(refuse_impossible, name)

    def made(verify: bool) -> Report:
        return make(source, where=where, loss=y, x=pairs(x, "--x"), verify=verify, check=check, progress=progress)

    with progress_bar("laws") as progress:
        report = unless_damaged(made)
    write_figure(report, name, out, size, style)
    typer.echo(str(out))
    report_damage(report.faults)
