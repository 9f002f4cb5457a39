"""`sweeplaw columns`: the reference of every column."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, report_damage


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("columns")(columns)


def columns(
    store: Annotated[str | None, typer.Argument(metavar="[STORE]", help="A store or a file.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the reference page in Markdown.")] = False,
    json: Json = False,
) -> None:
    """Describe the columns of the tables. Each has a type, a unit and a meaning; with STORE, only the columns in it.

    Example: sweeplaw columns results/demo
    """
    import polars as pl

    from sweeplaw.orchestrator.cli.shared import frames
    from sweeplaw.orchestrator.monitor import column_reference

    faults: list[str] = []
    entries = column_reference.entries() if store is None else column_reference.present(store, faults)
    if json:
        emit_json(column_reference.as_rows(entries))
    elif markdown:
        typer.echo(column_reference.markdown(entries), nl=False)
    else:
        frames.print_table(pl.DataFrame(column_reference.as_rows(entries)))
    report_damage(faults)
