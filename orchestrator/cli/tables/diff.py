"""`sweeplaw diff`: compare two stores trial by trial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, report_damage
from sweeplaw.trials.quantities import counted

if TYPE_CHECKING:
    from sweeplaw.analysis.tables.diff import Difference

SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("diff")(diff)


def diff(
    store_a: Annotated[str, typer.Argument(metavar="STORE_A")],
    store_b: Annotated[str, typer.Argument(metavar="STORE_B")],
    tolerance: Annotated[float, typer.Option(min=0, help="Relative difference up to which numbers are equal.")] = 0.0,
    json: Json = False,
) -> None:
    """Compare the trials of two stores or files. List trials that only one of them has, and results that differ.

    The time and place of a run are not compared. Exit code 0: no difference; 1: they differ.

    Example: sweeplaw diff results/demo results/again --tolerance 1e-6
    """
    from sweeplaw.analysis.tables.diff import difference

    found = difference(store_a, store_b, tolerance)
    if json:
        emit_json(_values(found))
    else:
        _print(found, store_a, store_b)
    report_damage(found.faults)
    if not found.equal:
        raise typer.Exit(1)


def _values(found: Difference) -> dict[str, object]:
    return {
        "only_a": found.only_a,
        "only_b": found.only_b,
        "same": found.same,
        "changes": found.changes.to_dicts(),
        "faults": found.faults,
        "excluded": found.excluded,
    }


def _print(found: Difference, store_a: str, store_b: str) -> None:
    from sweeplaw.orchestrator.cli.shared import frames

    changed = found.changes["trial_id"].n_unique()
    only = f"{len(found.only_a)} only in {store_a}, {len(found.only_b)} only in {store_b}"
    typer.echo(f"{found.same} the same, {changed} differ, {only}")
    for name, excluded in zip((store_a, store_b), found.excluded, strict=True):
        if excluded:
            typer.echo(f"left out: {counted(excluded, 'trial')} that {name} excludes", err=True)
    for name, ids in ((store_a, found.only_a), (store_b, found.only_b)):
        if ids:
            typer.echo(f"only in {name}: {' '.join(ids[:SHOWN])}{' …' if len(ids) > SHOWN else ''}")
    if found.changes.height:
        frames.print_table(found.changes.head(SHOWN))
    if found.changes.height > SHOWN:
        typer.echo(f"({counted(found.changes.height - SHOWN, 'more change')}; --json for all)")
