"""JSON on stdout, notes, and reports of damage."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from sweeplaw.analysis.tables.display import finite
from sweeplaw.orchestrator.cli.shared.streams import write_data

DAMAGED = 3  # exit code: the answer lacks the content of damaged files

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def emit_json(value: Any) -> None:
    """Print ``value`` as indented JSON. NaN and infinity have no JSON form and become null."""
    write_data(json.dumps(finite(value), indent=2, ensure_ascii=False, default=str) + "\n")


def print_notes(notes: Iterable[str]) -> None:
    """Print remarks that belong to the answer."""
    for note in notes:
        typer.echo(f"note: {note}")


def report_damage(faults: Iterable[str]) -> None:
    """Print the damage to stderr and end the command with exit code 3. Do nothing without damage."""
    found = list(faults)
    for fault in found:
        typer.echo(f"damaged: {fault}", err=True)
    if found:
        raise typer.Exit(DAMAGED)
