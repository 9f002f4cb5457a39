"""`sweeplaw export`: write a table of a store as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeplaw.orchestrator.cli.shared.options import names
from sweeplaw.orchestrator.cli.shared.output import report_damage
from sweeplaw.trials.quantities import counted


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    table: Annotated[str, typer.Option(metavar="NAME", help="trials or curves.")] = "trials",
    where: Annotated[str | None, typer.Option(metavar="EXPR", help="Only trials for which this holds.")] = None,
    columns: Annotated[str | None, typer.Option(metavar="A,B", help="Only these columns.")] = None,
) -> None:
    """Write a table of STORE to FILE. The suffix selects the format: .parquet, .arrow, .csv or .ndjson.

    Rows are streamed, so a table may exceed the memory.

    Example: sweeplaw export results/demo demo.csv --where "state = 'completed'"
    """
    from sweeplaw.analysis.tables.files.export import write
    from sweeplaw.orchestrator.cli.shared.frames import refuse_inside

    refuse_inside(file, store)
    exported = write(store, file, table=table, where=where, columns=names(columns))
    typer.echo(f"{counted(exported.rows, 'row')} of {table} written to {file}", err=True)
    for reason, count in exported.dropped.items():
        typer.echo(f"left out: {counted(count, 'row')} ({reason})", err=True)
    report_damage(exported.faults)
