"""`sweeplaw columns`: what every column means."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeplaw.orchestrator.cli.shared.output import Json, emit_json

HELP = """Say what every column of the tables is: its type, unit and meaning; with STORE, the columns that store has.

Example: sweeplaw columns results/demo
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("columns", help=HELP)(columns)


def columns(
    store: Annotated[str | None, typer.Argument(metavar="[STORE]", help="A store or a file.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the reference page.")] = False,
    json: Json = False,
) -> None:
    import polars as pl

    from sweeplaw.orchestrator.cli.shared import frames
    from sweeplaw.orchestrator.monitor import column_reference

    entries = column_reference.entries() if store is None else column_reference.present(store)
    if json:
        emit_json(column_reference.as_rows(entries))
    elif markdown:
        typer.echo(column_reference.markdown(entries), nl=False)
    else:
        frames.emit(pl.DataFrame(column_reference.as_rows(entries)), frames.Form("table"))
