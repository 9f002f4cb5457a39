"""JSON on stdout, notes, and reports of damage."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

DAMAGED = 3  # exit code: the answer lacks the content of damaged files

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def emit_json(value: Any) -> None:
    """Print ``value`` as indented JSON. NaN and infinity have no JSON form and become null."""
    sys.stdout.write(json.dumps(finite(value), indent=2, ensure_ascii=False, default=str) + "\n")


def finite(value: Any) -> Any:
    """Return ``value`` with non-finite floats as None, and mappings and sequences as dicts and lists."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [finite(item) for item in value]
    return value


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
