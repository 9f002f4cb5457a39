"""JSON on stdout, notes, and reports of damage."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from sweeplaw.analysis.tables.display import finite
from sweeplaw.orchestrator.cli.shared.streams import write_data
from sweeplaw.trials.errors import DAMAGED

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


def write_sweep(text: str, out: Path | None) -> None:
    """Write a sweep file to ``out``, which must be new, or to the output without one. Raise InputError."""
    from sweeplaw.trials.errors import InputError

    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        if not isinstance(error, FileExistsError):
            with contextlib.suppress(OSError):
                out.unlink()  # half of it
        raise InputError(f"{out} cannot be written: {error.strerror or error}") from None
    typer.echo(f"{out} written; sweeplaw plan {shlex.quote(str(out))} shows it", err=True)
