"""Questions to the tables: SQL over `trials`, `curves` and `best`, or filters and columns by name. Nothing is written.

Polars runs the SQL and sees three frames and nothing else. Its functions that open files are refused, first by name in
the text, then by the files the resolved plan would read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from polars import selectors

from sweeplaw.analysis.tables.expressions import ALIASES, aliases_in, condition, known, tokens, unknown, values_of
from sweeplaw.analysis.tables.tables import Tables, UnansweredError, best
from sweeplaw.trials.errors import InputError, nearest
from sweeplaw.trials.quantities import counted
from sweeplaw.trials.store_format.layout import locate

_OPENS_FILES = re.compile(r"(read|scan)_\w+", re.IGNORECASE)
_COLUMN = re.compile(r"(?:unable to find column|no column named) [\"']([^\"']+)[\"']")
_RELATION = re.compile(r"relation '([^']+)' was not found")
_SCANNED = re.compile(r"SCAN \[([^\],]+)")


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked. ``sql`` alone, or any of the others: they apply in the order where, best_per, columns, sort,
    limit.

    ``best_per`` are the cells (scientific axes) of the table `best`; ``sort`` are columns, `-` in front for descending.
    """

    sql: str | None = None
    where: str | None = None
    columns: tuple[str, ...] = ()
    sort: tuple[str, ...] = ()
    best_per: tuple[str, ...] = ()
    limit: int | None = None
    loss: str = "val_loss"


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The rows, and sentences that belong beside them: what a name stood for, what was left out."""

    frame: pl.DataFrame
    notes: tuple[str, ...]


def ask(tables: Tables, question: Query) -> QueryResult:
    """The answer to ``question``. Raises InputError: an unknown column or table, SQL that is not a question."""
    names = tables.trials.collect_schema().names()
    text = " ".join(filter(None, [question.sql, question.where, *question.columns, *question.sort, *question.best_per]))
    stand_ins = aliases_in(text, names)
    notes = [f"{alias} = {column}" for alias, column in stand_ins.items()]
    notes += [f"left out: {counted(count, 'row')} ({reason})" for reason, count in tables.dropped.items()]
    try:
        frame = _by_sql(tables, question, names) if question.sql is not None else _by_name(tables, question)
    except pl.exceptions.PolarsError as error:
        raise _explained(error, tables) from None
    return QueryResult(frame, tuple(notes))


def named(question: Query, columns: Sequence[str]) -> list[str]:
    """The ``columns`` that a question without SQL is about: its cells and their loss, its order, its filter."""
    sort = [name.removeprefix("-") for name in question.sort]
    where = [text.strip('"`') for kind, text in tokens(question.where or "") if kind in ("name", "quoted")]
    loss = [question.loss] if question.best_per else []
    about = [*question.best_per, *loss, *sort, *where]
    resolved = [name if name in columns else ALIASES.get(name, name) for name in about]
    return [name for name in dict.fromkeys(resolved) if name in columns]


def scientific_axes(tables: Tables) -> tuple[str, ...]:
    """The cells of `best` unless told otherwise: the scientific axes the newest launch recorded, else N and D."""
    columns = tables.trials.collect_schema().names()
    for launch in reversed(tables.launches):
        axes = [axis for axis in launch.get("scientific", ()) if axis in columns]
        if axes:
            return tuple(axes)
    return tuple(ALIASES.get(name, name) for name in ("N", "D"))


def refuse_unless_question(sql: str) -> None:
    """Raises InputError unless ``sql`` only asks: one SELECT, no function that opens a file."""
    words = [(kind, text) for kind, text in tokens(sql) if kind != "space"]
    if not words or words[0][1].upper() not in ("SELECT", "WITH", "FROM", "("):
        raise InputError(f"only questions are answered: SQL begins with SELECT or WITH, not {sql.strip()[:20]!r}")
    for (kind, text), (_, after) in zip(words, [*words[1:], ("other", "")], strict=True):
        if kind in ("name", "quoted") and _OPENS_FILES.fullmatch(text.strip('"`')) and after == "(":
            raise InputError(f"{text}() opens files; a query reads its store alone (tables: trials, curves, best)")
    if re.search(r"[A-Za-z_]'", "".join("''" if kind == "text" else text for kind, text in tokens(sql))):
        raise InputError("text with a letter before its quote (E'…') is not accepted")


def _by_sql(tables: Tables, question: Query, columns: Sequence[str]) -> pl.DataFrame:
    sql = question.sql or ""
    refuse_unless_question(sql)
    stand_ins = aliases_in(sql, columns)
    used = {text.strip('"`').lower() for kind, text in tokens(sql) if kind in ("name", "quoted")}
    # As floats: 6 * N * D passes 2^63 soon, and integers would wrap without a word.
    aliases = [pl.col(column).cast(pl.Float64).alias(alias) for alias, column in stand_ins.items()]
    trials = tables.trials.with_columns(aliases) if aliases else tables.trials
    frames = {"trials": trials, "curves": tables.curves}
    if "best" in used:
        frames["best"] = _best(tables, question).lazy().with_columns(aliases)
    answer = pl.SQLContext(frames, eager=False).execute(sql)
    if not isinstance(answer, pl.LazyFrame):
        raise InputError("only questions are answered")
    _refuse_other_files(answer, tables.source)
    frame = (answer if question.limit is None else answer.limit(question.limit)).collect()
    return frame.cast({selectors.decimal(): pl.Float64})  # 0.1 in SQL is a decimal, which JSON would hold as text


def _refuse_other_files(answer: pl.LazyFrame, source: str) -> None:
    root = locate(source).root
    for scanned in _SCANNED.findall(answer.explain(optimized=False)):
        if not scanned.strip().startswith(root):
            raise InputError(f"the query would read {scanned}, which is outside {source}")


def _best(tables: Tables, question: Query) -> pl.DataFrame:
    cells = question.best_per or scientific_axes(tables)
    return best(_completed(tables.trials), cells, question.loss)


def _completed(trials: pl.LazyFrame) -> pl.LazyFrame:
    """A diverged trial may show a low loss on its way; only a completed one can be best."""
    if "state" not in trials.collect_schema().names():
        return trials
    return trials.filter(pl.col("state") == "completed")


def _by_name(tables: Tables, question: Query) -> pl.DataFrame:
    trials = tables.trials
    columns = trials.collect_schema()
    names = columns.names()
    if question.where is not None:
        asked = None if tables.narrowed is None else values_of("trial_id", question.where)
        near = trials if asked is None or tables.narrowed is None else tables.narrowed(asked)
        trials = near.filter(condition(question.where, columns))
    sort = [name.removeprefix("-") for name in question.sort]
    cells = [*question.best_per, question.loss] if question.best_per else []
    resolved = known([*sort, *question.columns, *cells], names)  # every fault in one message
    order, wanted = resolved[: len(sort)], resolved[len(sort) : len(sort) + len(question.columns)]
    if question.best_per:
        trials = _completed(trials)
        if wanted:  # read nothing else: the spec of a trial is longer than all its numbers
            needed = [*resolved, "trial_id"]
            trials = trials.select([name for name in dict.fromkeys(needed) if name in names])
        trials = best(trials, question.best_per, question.loss).lazy()
    if order:
        descending = [name.startswith("-") for name in question.sort]
        trials = trials.sort(order, descending=descending, nulls_last=True, maintain_order=True)
    if wanted:
        shown = dict(zip(question.columns, wanted, strict=True))
        trials = trials.select([pl.col(column).alias(name) for name, column in shown.items()])
    return (trials if question.limit is None else trials.limit(question.limit)).collect()


def _explained(error: pl.exceptions.PolarsError, tables: Tables) -> InputError:
    """Polars' complaint in our words: the column or table that is not there, with the nearest that is."""
    message = str(error)
    held = {
        "trials": [*tables.trials.collect_schema().names(), *ALIASES],
        "curves": tables.curves.collect_schema().names(),
    }
    if found := _COLUMN.search(message):
        name = found.group(1)
        if homes := [table for table, columns in held.items() if name in columns]:
            return InputError(f"no column {name!r} where the query looks for it; {' and '.join(homes)} has it")
        return InputError(unknown([name], sorted({*held["trials"], *held["curves"]})))
    if found := _RELATION.search(message):
        known_tables = ("trials", "curves", "best")
        close = nearest(found.group(1), known_tables)
        return InputError(f"no table {found.group(1)!r}{close} (tables: {', '.join(known_tables)})")
    kind = UnansweredError if isinstance(error, pl.exceptions.ComputeError) else InputError
    return kind(f"query: {message.splitlines()[0]}")
