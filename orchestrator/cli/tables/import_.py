"""`sweeplaw import`: bring in runs that other people made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeplaw.orchestrator.cli.shared.output import Json, counting, emit_json
from sweeplaw.trials.quantities import counted

SHOWN = 10

HELP = """Bring in runs that other people made, from a CSV, Parquet or NDJSON file or a tracker, into STORE.

What a column means is said by --preset, by a TOML file (--mapping), or by --map OURS=THEIRS, where THEIRS is a column
or an expression over columns with their unit factors; N, D and our other names in it stand for what they are mapped
from. Importing the same runs again adds nothing. Rows that cannot be taken are counted and listed with the reason, and
kept in STORE/rejected.

Presets: wandb, mlflow, optuna (FILE is a storage URL), ray (FILE is an experiment folder), step-law, isoflop,
chinchilla, data-constrained, infinite-compute.

Example: sweeplaw import runs.csv results/theirs --map N=params_m*1e6 --map "D=flop/(6*N)" --map val_loss=final_loss
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import", help=HELP)(import_)


def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file, an experiment folder or a storage URL.")],
    store: Annotated[str, typer.Argument(metavar="STORE", help="Made when it is not there.")],
    preset: Annotated[str | None, typer.Option(metavar="NAME", help="A known kind of source.")] = None,
    map_: Annotated[list[str] | None, typer.Option("--map", metavar="OURS=THEIRS", help="May be repeated.")] = None,
    mapping: Annotated[Path | None, typer.Option(metavar="TOML", help="A file with the mapping.")] = None,
    run: Annotated[str | None, typer.Option(metavar="A,B", help="Their columns that identify a run.")] = None,
    where: Annotated[str | None, typer.Option(metavar="EXPR", help="Only rows for which this holds.")] = None,
    keep: Annotated[str | None, typer.Option(metavar="A,B", help="Their columns to keep (default: all).")] = None,
    source: Annotated[str | None, typer.Option(metavar="TEXT", help="What to record as the source.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be imported; write nothing.")] = False,
    json: Json = False,
) -> None:
    from dataclasses import asdict

    from sweeplaw.orchestrator.importing.importer import import_from

    with counting("importing") as tell:
        done = import_from(
            file, store, preset=preset, pairs=map_ or (), mapping=mapping, run=_names(run), where=where,
            keep=_names(keep), source=source, dry=dry_run, watch=tell,
        )  # fmt: skip
    if json:
        emit_json(asdict(done))
        return
    for ours, theirs in done.used.items():
        typer.echo(f"  {ours} = {theirs}" if ours != theirs else f"  {ours}")
    would = "would add" if dry_run else "added"
    typer.echo(f"{done.source}: {counted(done.rows, 'row')}, {would} {done.added}, {done.present} were there already,")
    typer.echo(
        f"  {done.repeated} repeat a row of the file, {len(done.rejected)} refused; {done.curve_points} curve points"
    )
    if done.left_out:
        typer.echo(f"left out: {counted(done.left_out, 'row')} for which `where` does not hold", err=True)
    for number, reason in done.rejected[:SHOWN]:
        typer.echo(f"  row {number}: {reason}", err=True)
    if len(done.rejected) > SHOWN:
        typer.echo(f"  and {len(done.rejected) - SHOWN} more", err=True)
    if done.rejects:
        typer.echo(f"refused rows: {store}/{done.rejects}", err=True)


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())
