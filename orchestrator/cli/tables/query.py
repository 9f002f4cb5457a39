"""`sweeplaw query`: ask the tables of a store or a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.shared.frames import Csv, Ndjson, Out
from sweeplaw.orchestrator.cli.shared.output import Json

if TYPE_CHECKING:
    import polars as pl

DAMAGED = 3  # exit code: answered, but from what is left of a damaged store
TERMINAL_ROWS = 50
_BULKY = ("spec", "versions")
_FIRST = ("state", "params_non_embedding", "tokens", "val_loss", "batch_tokens")

HELP = """Ask the tables of STORE (a store, or a CSV, Parquet or NDJSON file).

SQL runs over `trials` (a row a trial, its latest attempt), `curves` (a row an evaluation) and `best` (the best trial of
each cell of --best-per: over all nuisance axes). N, D and C stand for params_non_embedding, tokens and flops.
`sweeplaw columns` says what each column means. Exit code 3: answered, but a damaged file was left out.

Example: sweeplaw query results/demo "SELECT N, D, val_loss, lr FROM best ORDER BY N, D"

Example: sweeplaw query results/demo --where "val_loss < 2.5" --sort val_loss --limit 5
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("query", help=HELP)(query)


def query(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    sql: Annotated[str | None, typer.Argument(metavar="[SQL]", help="A SELECT over trials, curves and best.")] = None,
    where: Annotated[str | None, typer.Option(metavar="EXPR", help="Only trials for which this holds.")] = None,
    columns: Annotated[str | None, typer.Option(metavar="A,B", help="Only these columns.")] = None,
    sort: Annotated[str | None, typer.Option(metavar="A,-B", help="By these columns; - for descending.")] = None,
    best_per: Annotated[str | None, typer.Option(metavar="N,D", help="Only the best trial for each of these.")] = None,
    loss: Annotated[str, typer.Option(metavar="COLUMN", help="What is best is least in this column.")] = "val_loss",
    states: Annotated[str | None, typer.Option("--state", metavar="A,B", help="Only trials in these states.")] = None,
    limit: Annotated[int | None, typer.Option(min=0, metavar="ROWS", help="At most so many rows; 0 for all.")] = None,
    json: Json = False,
    csv: Csv = False,
    ndjson: Ndjson = False,
    out: Out = None,
) -> None:
    from sweeplaw.analysis.tables import tables
    from sweeplaw.analysis.tables.query import Query, QueryResult, ask, named
    from sweeplaw.orchestrator.cli.shared import frames
    from sweeplaw.trials.errors import InputError

    form = frames.chosen(json=json, csv=csv, ndjson=ndjson, out=out)
    refuse_inside(out, store)
    if sql is not None and (where or columns or sort):
        raise InputError("give SQL, or --where, --columns and --sort, not both (--best-per says what `best` is)")
    question = Query(sql, where, names(columns), names(sort), names(best_per), limit or None, loss)
    terse = form.name == "table" and sql is None and not columns

    def answered(verify: bool) -> tuple[QueryResult, list[str], tuple[str, ...]]:
        loaded = tables.load(store, states=names(states) or None, verify=verify)
        if not terse:
            return ask(loaded, question), [], loaded.faults
        every = loaded.trials.collect_schema().names()
        asked = named(question, every)
        return ask(loaded, replace(question, columns=_brief(every, asked))), asked, loaded.faults

    answer, asked, faults = tables.unless_damaged(answered)
    notes, frame = list(answer.notes), answer.frame
    if form.name == "table":
        if terse:
            frame, alike = _telling(frame, asked)
            notes += alike
        if limit is None and frame.height > TERMINAL_ROWS:
            notes.append(f"the first {TERMINAL_ROWS} of {frame.height} rows (--limit 0 for all)")
            frame = frame.head(TERMINAL_ROWS)
    frames.emit(frame, form)
    tell(notes, faults)


def names(text: str | None) -> tuple[str, ...]:
    """The names in a comma-separated option."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def tell(notes: list[str], faults: tuple[str, ...]) -> None:
    """Notes and damage on standard error; with damage the command ends with exit code 3."""
    for note in notes:
        typer.echo(note, err=True)
    for fault in faults:
        typer.echo(f"damaged: {fault}", err=True)
    if faults:
        raise typer.Exit(DAMAGED)


def refuse_inside(out: object, store: str) -> None:
    """Raises InputError when the output file lies in the store, which nobody but its launches writes."""
    from pathlib import Path

    from sweeplaw.trials.errors import InputError

    if out is not None and Path(str(out)).resolve().is_relative_to(Path(store).resolve()):
        raise InputError(f"--out {out} lies inside {store}; a store is written by its launches alone")


def _brief(every: Sequence[str], asked: Sequence[str]) -> tuple[str, ...]:
    """All but long JSON; first what a terminal must show: which trial, what was asked about, how good, which knobs."""
    from sweeplaw.trials.record import TRIAL_COLUMNS

    core = {column.name for column in TRIAL_COLUMNS}
    ordered = ["trial_id", *asked, *_FIRST, *(name for name in every if name not in core), *every]
    return tuple(name for name in dict.fromkeys(ordered) if name in every and name not in _BULKY)


def _telling(frame: pl.DataFrame, asked: Sequence[str]) -> tuple[pl.DataFrame, list[str]]:
    """Without the columns that say the same in every row and were not asked about; and what the first of these say."""
    telling = [name for name in frame.columns if frame.height < 2 or name in asked or frame[name].n_unique() > 1]
    alike = {name: value for row in frame.head(1).drop(telling).to_dicts() for name, value in row.items()}
    told = [f"{name} = {'null' if alike[name] is None else alike[name]}" for name in _FIRST if name in alike]
    return frame.select(telling or frame.columns[:1]), [f"in every row: {', '.join(told)}"] if told else []
