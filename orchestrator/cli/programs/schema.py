"""`sweeplaw schema`: the JSON Schema of what people write, and of what commands print."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("schema")(schema)


def schema(
    name: Annotated[str, typer.Argument(metavar="NAME", help="sweep, profile, or a command with --json.")],
) -> None:
    """Print a JSON Schema: of sweep files or profiles, for editors, or of what a command prints with --json.

    An editor that knows TOML (Taplo, Even Better TOML) reads it from the first line of a file: #:schema sweep.json

    Example: sweeplaw schema sweep
    """
    from sweeplaw.orchestrator.cli.shared.streams import write_data
    from sweeplaw.orchestrator.schemas import catalog

    write_data(catalog.text(name))
