"""`sweeplaw mcp`: a store for agents, over the Model Context Protocol."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("mcp")(mcp)


def mcp(
    store: Annotated[str, typer.Argument(metavar="STORE", help="A store, or a CSV, Parquet or NDJSON file.")],
) -> None:
    """Serve STORE to an agent over stdin and stdout, by the Model Context Protocol. Nothing is written.

    The tools are status, query, columns, fit, suggest and report. Their answers are those of the commands with --json.
    Needs pip install 'sweeplaw[mcp]'. An agent starts this command itself; in its settings: command "sweeplaw",
    arguments "mcp" and the store.

    Example: sweeplaw mcp results/demo
    """
    from sweeplaw.orchestrator.agents.server import serve

    serve(store)
