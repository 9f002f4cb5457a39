"""`sweeplaw export`: a table of a store as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HELP = """Write a table of STORE to FILE: .parquet, .arrow, .csv or .ndjson by its name. Tables of any size are
streamed.

Example: sweeplaw export results/demo demo.csv --where "state = 'completed'"
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export", help=HELP)(export)


def export(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    table: Annotated[str, typer.Option(metavar="NAME", help="trials or curves.")] = "trials",
    where: Annotated[str | None, typer.Option(metavar="EXPR", help="Only trials for which this holds.")] = None,
    columns: Annotated[str | None, typer.Option(metavar="A,B", help="Only these columns.")] = None,
) -> None:
    from sweeplaw.analysis.tables.export import write
    from sweeplaw.orchestrator.cli.tables.query import names, refuse_inside, tell

    refuse_inside(file, store)
    exported = write(store, file, table=table, where=where, columns=names(columns))
    typer.echo(f"{exported.rows} rows of {table} in {file}", err=True)
    tell([f"left out: {count} rows ({reason})" for reason, count in exported.dropped.items()], exported.faults)
