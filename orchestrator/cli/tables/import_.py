"""`sweeplaw import`: add runs made elsewhere to a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.shared.options import names
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json, report_damage
from sweeplaw.orchestrator.cli.shared.progress import progress_bar
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted

if TYPE_CHECKING:
    from sweeplaw.orchestrator.importing.importer import Imported

SHOWN = 10
REFUSED = 2  # exit code: bad input


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import")(import_)


def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file, a folder of a tracker or a storage URL.")],
    store: Annotated[str, typer.Argument(metavar="STORE", help="Created if it does not exist.")],
    preset: Annotated[str | None, typer.Option(metavar="NAME", help="A known kind of source.")] = None,
    map_: Annotated[
        list[str] | None, typer.Option("--map", metavar="OURS=THEIRS", help="Map one column (repeatable).")
    ] = None,
    mapping: Annotated[Path | None, typer.Option(metavar="TOML", help="A file with the mapping.")] = None,
    run: Annotated[str | None, typer.Option(metavar="A,B", help="Their columns that identify a run.")] = None,
    where: Annotated[str | None, typer.Option(metavar="EXPR", help="Only rows for which this holds.")] = None,
    keep: Annotated[str | None, typer.Option(metavar="A,B", help="Their columns to keep (default: all).")] = None,
    source: Annotated[str | None, typer.Option(metavar="TEXT", help="Text to record as the source.")] = None,
    update: Annotated[bool, typer.Option("--update", help="Update runs that the store already has from FILE.")] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the runs of an earlier import of FILE from the data.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would be imported; write nothing.")] = False,
    json: Json = False,
) -> None:
    """Import runs made elsewhere into STORE. The source is a CSV, Parquet or NDJSON file or an experiment tracker.

    Columns are mapped by --preset, by a TOML file (--mapping), or by --map OURS=THEIRS, where THEIRS is a column or an
    expression of columns with unit factors; N, D and our other names in it stand for the columns they are mapped from.
    Importing the same runs again adds nothing, however the mapping is written; --update replaces what a wrong mapping
    made of them, and --remove takes them out of the data. A loss that is NaN or infinite is a diverged run. Rejected
    rows are counted, listed with the reason, and kept in STORE/rejected. The exit code is 2 if all are.
    Several rows of one run (--run) are its history: the last values by step are its result, each step a curve point.

    Presets: wandb (the runs table or a chart as CSV), mlflow (an mlruns folder, its SQLite file, or what search_runs()
    returns), optuna (a storage URL, an SQLite or journal file), ray (an experiment folder), step-law, isoflop,
    chinchilla, data-constrained, infinite-compute.

    Example: sweeplaw import runs.csv results/theirs --map N=params_m*1e6 --map "D=flop/(6*N)" --map val_loss=final_loss
    """
    from dataclasses import asdict

    from sweeplaw.orchestrator.importing.importer import import_from

    if update and remove:
        raise InputError("give only one of --update and --remove")
    with progress_bar("importing") as progress:
        done = import_from(
            file, store, preset=preset, pairs=map_ or (), mapping=mapping, run=None if run is None else names(run),
            where=where, keep=None if keep is None else names(keep), source=source, dry=dry_run, update=update,
            removes=remove, progress=progress,
        )  # fmt: skip
    if json:
        emit_json(asdict(done))
    elif remove:
        typer.echo(
            f"{done.source}: {counted(done.removed, 'run')} {'would be ' if dry_run else ''}removed from the data"
        )
    else:
        _print(done, store, "would be " if dry_run else "")
    report_damage(done.faults)
    if done.rejected and not (done.added or done.updated or done.present):
        typer.echo(f"sweeplaw: nothing was imported: {counted(len(done.rejected), 'row')} rejected", err=True)
        raise typer.Exit(REFUSED)


def _print(done: Imported, store: str, would: str) -> None:
    for ours, theirs in done.used.items():
        typer.echo(f"  {ours} = {theirs}" if ours != theirs else f"  {ours}")
    typer.echo(
        f"{done.source}: {counted(done.rows, 'row')}, {'would add' if would else 'added'} {done.added}, "
        f"{done.present} already in the store,"
    )
    typer.echo(
        f"  {done.repeated} repeat a row of the file, {len(done.rejected)} rejected; {done.curve_points} curve points"
    )
    if done.merged:
        typer.echo(f"  {counted(done.merged, 'earlier row')} of the same runs, merged into their last")
    if done.updated:
        typer.echo(f"  {counted(done.updated, 'run')} of the store {would}updated")
    if done.wider:
        typer.echo(f"  {done.wider} of those in the store lack values that the file has (--update adds them)", err=True)
    for warning in done.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if done.left_out:
        typer.echo(f"left out: {counted(done.left_out, 'row')} for which `where` does not hold", err=True)
    for number, reason in done.rejected[:SHOWN]:
        typer.echo(f"  row {number}: {reason}", err=True)
    if any("already exists with different content" in reason for _, reason in done.rejected):
        typer.echo("  --update replaces runs of the store by those of the file", err=True)
    if len(done.rejected) > SHOWN:
        typer.echo(f"  and {len(done.rejected) - SHOWN} more", err=True)
    if done.rejects:
        typer.echo(f"rejected rows: {store}/{done.rejects}", err=True)
