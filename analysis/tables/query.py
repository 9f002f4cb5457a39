"""Read-only queries: SQL over the tables `trials`, `curves` and `best`, or filters and columns by name.

Polars runs the SQL on these frames only. Its functions that open files are rejected twice: by the text, before Polars
sees it (`analysis.tables.sql.sql_text`), and by the files that the resolved plan would read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import polars as pl
from polars import selectors

from sweeplaw.analysis.tables.launches import without_scores
from sweeplaw.analysis.tables.query_errors import explained
from sweeplaw.analysis.tables.roles.best import best, seed_columns
from sweeplaw.analysis.tables.sql.expressions import (
    ALIASES,
    aliases_in,
    condition,
    refuse_text_as_number,
    resolve_columns,
    values_of,
)
from sweeplaw.analysis.tables.sql.float_arithmetic import in_floats
from sweeplaw.analysis.tables.sql.select_list import renamed
from sweeplaw.analysis.tables.sql.sql_text import require_query, tokens
from sweeplaw.analysis.tables.tables import Tables
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted

_MOST_ROWS = 2**32 - 1  # that Polars counts with
_SCAN = re.compile(r"\w+ SCAN \[.*")  # a line of a plan: the first of the files, and the number of others


@dataclass(frozen=True, slots=True)
class Query:
    """``sql`` alone, or any of the others; these apply in the order where, best_per, columns, sort, limit.

    ``best_per`` are the cells (scientific axes) of the table `best`; ``sort`` are columns, with a leading `-` for
    descending order.
    """

    sql: str | None = None
    where: str | None = None
    columns: tuple[str, ...] = ()
    sort: tuple[str, ...] = ()
    best_per: tuple[str, ...] = ()
    limit: int | None = None
    loss: str = "val_loss"

    @property
    def text(self) -> str:
        """What may name columns."""
        return " ".join(filter(None, [self.sql, self.where, *self.columns, *self.sort, *self.best_per]))


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The rows, and notes on them: the columns that aliases stood for, and the rows left out."""

    frame: pl.DataFrame
    notes: tuple[str, ...]


def run_query(tables: Tables, query: Query) -> QueryResult:
    """Run ``query``. Raise InputError if a column or table is unknown or the SQL is not a SELECT."""
    names = tables.trials.collect_schema().names()
    aliases = aliases_in(query.text, names)
    notes = [f"{alias} = {column}" for alias, column in aliases.items()]
    notes += [f"left out: {counted(count, 'row')} ({reason})" for reason, count in tables.dropped.items()]
    try:
        frame = _by_sql(tables, query, names) if query.sql is not None else _by_name(tables, query)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise explained(error, tables, query.text) from None
    return QueryResult(frame, tuple(notes))


def mentioned_columns(query: Query, columns: Sequence[str]) -> list[str]:
    """Return the ``columns`` that a query without SQL mentions: its cells and their loss, its order, its filter."""
    sort = [name.removeprefix("-") for name in query.sort]
    where = [text.strip('"`') for kind, text in tokens(query.where or "") if kind in ("name", "quoted")]
    loss = [query.loss] if query.best_per else []
    mentioned = [*query.best_per, *loss, *sort, *where]
    resolved = [name if name in columns else ALIASES.get(name, name) for name in mentioned]
    return [name for name in dict.fromkeys(resolved) if name in columns]


def columns_of(tables: Tables, query: Query) -> list[str]:
    """Return the columns that a query without SQL may name: those of `trials`, with cells also those of `best`."""
    names = tables.trials.collect_schema().names()
    return [*names, *(seed_columns(names) if query.best_per else ())]


def scientific_axes(tables: Tables) -> tuple[str, ...]:
    """Return the default cells of `best`: the scientific axes recorded by the newest launch, else N and D."""
    columns = tables.trials.collect_schema().names()
    for launch in reversed(tables.launches):
        axes = [axis for axis in launch.get("scientific", ()) if axis in columns]
        if axes:
            return tuple(axes)
    return tuple(name if name in columns else ALIASES.get(name, name) for name in ("N", "D"))


def _by_sql(tables: Tables, query: Query, columns: Sequence[str]) -> pl.DataFrame:
    sql = query.sql or ""
    require_query(sql)
    refuse_text_as_number(sql, tables.trials.collect_schema())
    aliases = aliases_in(sql, columns)
    used = {text.strip('"`').lower() for kind, text in tokens(sql) if kind in ("name", "quoted")}
    stand_ins = [pl.col(column).alias(alias) for alias, column in aliases.items()]
    trials = tables.trials.with_columns(stand_ins) if stand_ins else tables.trials
    frames = {"trials": trials, "curves": tables.curves, "excluded": tables.excluded}
    if "best" in used:
        frames["best"] = _best(tables, query).lazy().with_columns(stand_ins)
    kinds = {name: kind for frame in frames.values() for name, kind in frame.collect_schema().items()}
    result = pl.SQLContext(frames, eager=False).execute(in_floats(sql, kinds))
    if not isinstance(result, pl.LazyFrame):
        raise InputError("only SELECT queries are accepted")
    _reject_other_files(result, frames.values(), tables.source)
    frame = _limited(result, query).collect()
    # 0.1 in SQL is a decimal, which JSON writes as text.
    return frame.rename(renamed(sql, frame.columns)).cast({selectors.decimal(): pl.Float64})


def _reject_other_files(result: pl.LazyFrame, frames: Iterable[pl.LazyFrame], source: str) -> None:
    if other := _scans(result) - set[str]().union(*map(_scans, frames)):
        raise InputError(f"the query would read {min(other)}, which is outside {source}")


def _scans(frame: pl.LazyFrame) -> set[str]:
    return {line.strip() for line in _SCAN.findall(frame.explain(optimized=False))}


def _best(tables: Tables, query: Query) -> pl.DataFrame:
    trials, launches = without_scores(_completed(tables.trials), tables.launches)
    cells = query.best_per or scientific_axes(replace(tables, launches=launches))
    return best(trials, cells, query.loss, launches)


def _completed(trials: pl.LazyFrame) -> pl.LazyFrame:
    """Return the completed trials: a diverged trial may record a low loss, but cannot be best."""
    if "state" not in trials.collect_schema().names():
        return trials
    return trials.filter(pl.col("state") == "completed")


def _by_name(tables: Tables, query: Query) -> pl.DataFrame:
    trials = _filtered(tables, query)
    names = columns_of(tables, query)
    sort = [name.removeprefix("-") for name in query.sort]
    cells = [*query.best_per, query.loss] if query.best_per else []
    resolved = resolve_columns([*sort, *query.columns, *cells], names)  # all faults in one message
    order, wanted = resolved[: len(sort)], resolved[len(sort) : len(sort) + len(query.columns)]
    if query.best_per:
        # Only what is asked for: the spec of a trial is longer than all its numbers.
        read = resolved if wanted else None
        runs, launches = without_scores(_completed(trials), tables.launches)
        trials = best(runs, query.best_per, query.loss, launches, read).lazy()
    if order:
        descending = [name.startswith("-") for name in query.sort]
        trials = trials.sort(order, descending=descending, nulls_last=True, maintain_order=True)
    if wanted:
        shown = dict(zip(query.columns, wanted, strict=True))
        trials = trials.select([pl.col(column).alias(name) for name, column in shown.items()])
    return _limited(trials, query).collect()


def _limited(frame: pl.LazyFrame, query: Query) -> pl.LazyFrame:
    """Return the first rows; a limit beyond what Polars counts with is none."""
    return frame if query.limit is None or query.limit > _MOST_ROWS else frame.limit(query.limit)


def _filtered(tables: Tables, query: Query) -> pl.LazyFrame:
    """Return the trials that satisfy ``query.where``, from the files that may contain them."""
    if query.where is None:
        return tables.trials
    trial_ids = values_of("trial_id", query.where)
    near = tables.trials if trial_ids is None or tables.narrowed is None else tables.narrowed(trial_ids)
    return near.filter(condition(query.where, tables.trials.collect_schema()))
