"""`sweeplaw diff`: two stores, trial by trial."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeplaw.orchestrator.cli.shared.output import Json, emit_json

SHOWN = 20

HELP = """Compare the trials of two stores (or files): which are in one only, and which results differ.

Exit code 0: the same; 1: they differ. When and where a trial ran is not compared.

Example: sweeplaw diff results/demo results/again --tolerance 1e-6
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("diff", help=HELP)(diff)


def diff(
    store_a: Annotated[str, typer.Argument(metavar="STORE_A")],
    store_b: Annotated[str, typer.Argument(metavar="STORE_B")],
    tolerance: Annotated[float, typer.Option(min=0, help="Relative difference of numbers that counts as none.")] = 0.0,
    json: Json = False,
) -> None:
    from sweeplaw.analysis.tables.diff import difference
    from sweeplaw.orchestrator.cli.shared import frames
    from sweeplaw.orchestrator.cli.tables.query import tell

    found = difference(store_a, store_b, tolerance)
    if json:
        emit_json(
            {
                "only_a": found.only_a,
                "only_b": found.only_b,
                "same": found.same,
                "changes": found.changes.to_dicts(),
                "faults": found.faults,
            }
        )
    else:
        changed = found.changes["trial_id"].n_unique()
        typer.echo(f"{found.same} the same, {changed} differ, {len(found.only_a)} only in {store_a}, ", nl=False)
        typer.echo(f"{len(found.only_b)} only in {store_b}")
        for name, ids in ((store_a, found.only_a), (store_b, found.only_b)):
            if ids:
                typer.echo(f"only in {name}: {' '.join(ids[:SHOWN])}{' …' if len(ids) > SHOWN else ''}")
        if found.changes.height:
            frames.emit(found.changes.head(SHOWN), frames.Form("table"))
            if found.changes.height > SHOWN:
                typer.echo(f"({found.changes.height - SHOWN} more changes; --json for all)")
    tell([], found.faults)
    if not found.equal:
        raise typer.Exit(1)
