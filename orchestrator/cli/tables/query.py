"""`sweeplaw query`: query the tables of a store or a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.shared import frames
from sweeplaw.orchestrator.cli.shared.frames import Csv, Latex, Ndjson, Out
from sweeplaw.orchestrator.cli.shared.limited_child import SECONDS, continue_in_limited_child
from sweeplaw.orchestrator.cli.shared.options import names
from sweeplaw.orchestrator.cli.shared.output import Json, report_damage

if TYPE_CHECKING:
    import polars as pl

    from sweeplaw.analysis.tables.query import Query, QueryResult
    from sweeplaw.analysis.tables.tables import Tables

TERMINAL_ROWS = 50
BULKY = ("spec", "versions")
FIRST = ("state", "params_non_embedding", "tokens", "val_loss", "seeds", "seed_std", "batch_tokens")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("query")(query)


def query(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    sql: Annotated[str | None, typer.Argument(metavar="[SQL]", help="A SELECT over these tables.")] = None,
    where: Annotated[str | None, typer.Option(metavar="EXPR", help="Only trials for which this holds.")] = None,
    columns: Annotated[str | None, typer.Option(metavar="A,B", help="Only these columns.")] = None,
    sort: Annotated[str | None, typer.Option(metavar="A,-B", help="Sort by these columns; - for descending.")] = None,
    best_per: Annotated[str | None, typer.Option(metavar="N,D", help="Only the best setting of each cell.")] = None,
    loss: Annotated[str, typer.Option(metavar="COLUMN", help="Loss by which a trial is best.")] = "val_loss",
    states: Annotated[str | None, typer.Option("--state", metavar="A,B", help="Only trials in these states.")] = None,
    limit: Annotated[int | None, typer.Option(min=0, metavar="ROWS", help="Maximum number of rows; 0 for all.")] = None,
    timeout: Annotated[
        float, typer.Option(min=0.001, max=1e6, metavar="SECONDS", help="End a query that takes longer.")
    ] = SECONDS,
    json: Json = False,
    csv: Csv = False,
    ndjson: Ndjson = False,
    latex: Latex = False,
    out: Out = None,
) -> None:
    """Query the tables of STORE. It may also be a CSV, Parquet or NDJSON file.

    SQL runs over `trials` (one row per trial, its latest attempt), `curves` (one row per evaluation) and `best` (of
    each cell, whose columns --best-per names, and each family of runs the setting of least mean loss over seeds, with
    the number of seeds and their deviation, seed_std; what differs between seeds is null); `excluded` has what
    `sweeplaw exclude` took out. N, D and C stand for params_non_embedding, tokens and flops. `sweeplaw columns`
    describes every column. A query may use half of the machine's memory. Exit code 3: a damaged file was left out of
    the answer.

    Example: sweeplaw query results/demo "SELECT N, D, val_loss, lr FROM best ORDER BY N, D"

    Example: sweeplaw query results/demo --where "val_loss < 2.5" --sort val_loss --limit 5
    """
    continue_in_limited_child(timeout, sql or where or f"all of {store}")
    from sweeplaw.analysis.tables import tables
    from sweeplaw.analysis.tables.query import Query
    from sweeplaw.orchestrator.monitor.column_reference import with_null_metrics
    from sweeplaw.trials.errors import InputError

    form = frames.output_format(json=json, csv=csv, ndjson=ndjson, latex=latex, out=out)
    frames.refuse_inside(out, store)
    if sql is not None and (where or columns or sort):
        raise InputError("give either SQL or --where, --columns and --sort (--best-per defines `best` for both)")
    question = Query(sql, where, names(columns), names(sort), names(best_per), limit or None, loss)
    brief = form.name == "table" and sql is None and not columns

    def ask(verify: bool) -> tuple[QueryResult, list[str], tuple[str, ...]]:
        loaded = tables.load(store, states=names(states) or None, verify=verify)
        try:
            return _answer(loaded, question, brief)
        except InputError:
            known = with_null_metrics(loaded, question.text)
            if known is loaded:
                raise
        return _answer(known, question, brief)

    result, mentioned, faults = tables.unless_damaged(ask)
    notes, frame = list(result.notes), result.frame
    if brief:
        frame, constant = _varying(frame, mentioned)
        notes += constant
    if form.name == "table" and limit is None and frame.height > TERMINAL_ROWS:
        notes.append(f"the first {TERMINAL_ROWS} of {frame.height} rows (--limit 0 for all)")
        frame = frame.head(TERMINAL_ROWS)
    frames.emit(frame, form)
    for note in notes:
        typer.echo(note, err=True)
    report_damage(faults)


def _answer(loaded: Tables, question: Query, brief: bool) -> tuple[QueryResult, list[str], tuple[str, ...]]:
    """Return the rows, the columns that a brief question mentions, and the damage to the tables."""
    from sweeplaw.analysis.tables.query import columns_of, mentioned_columns, run_query

    if not brief:
        return run_query(loaded, question), [], loaded.faults
    every = columns_of(loaded, question)
    mentioned = mentioned_columns(question, every)
    return run_query(loaded, replace(question, columns=_ordered(every, mentioned))), mentioned, loaded.faults


def _ordered(every: Sequence[str], mentioned: Sequence[str]) -> tuple[str, ...]:
    """Return the columns in the order of a terminal, id, query columns, losses and knobs first, without long JSON."""
    from sweeplaw.trials.record import TRIAL_COLUMNS

    core = {column.name for column in TRIAL_COLUMNS}
    ordered = ["trial_id", *mentioned, *FIRST, *(name for name in every if name not in core), *every]
    return tuple(name for name in dict.fromkeys(ordered) if name in every and name not in BULKY)


def _varying(frame: pl.DataFrame, mentioned: Sequence[str]) -> tuple[pl.DataFrame, list[str]]:
    """Return ``frame`` without unmentioned columns that are equal in every row, and notes that name each of these."""
    kept = [name for name in frame.columns if frame.height < 2 or name in mentioned or frame[name].n_unique() > 1]
    constant = {name: value for row in frame.head(1).drop(kept).to_dicts() for name, value in row.items()}
    values = [f"{name} = {frames.cell(value)}" for name, value in constant.items() if value is not None]
    nulls = [name for name, value in constant.items() if value is None]
    notes = [("in every row", values), ("null in every row", nulls)]
    left_out = [f"{head}: {', '.join(items)}" for head, items in notes if items]
    return frame.select(kept or frame.columns[:1]), left_out
