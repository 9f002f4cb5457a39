"""Why a query failed, in one message: the missing column or table, or the text among the numbers of a column."""

from __future__ import annotations

import re
from collections.abc import Iterator

import polars as pl

from sweeplaw.analysis.tables.sql.expressions import ALIASES, first_line, unknown_columns, unquoted
from sweeplaw.analysis.tables.sql.sql_text import tokens
from sweeplaw.analysis.tables.tables import Tables, UnansweredError
from sweeplaw.trials.errors import InputError, nearest, shown
from sweeplaw.trials.quantities import counted

_COLUMN = re.compile(r"(?:unable to find column|no column named) [\"']([^\"']+)[\"']")
_RELATION = re.compile(r"relation '([^']+)' was not found")
_TABLES = ("trials", "curves", "best", "excluded")


def explained(error: BaseException, tables: Tables, text: str) -> InputError:
    """Return an error of Polars as an InputError that names the cause. ``text`` is the query."""
    message = str(error)
    held = {
        "trials": [*tables.trials.collect_schema().names(), *ALIASES],
        "curves": tables.curves.collect_schema().names(),
    }
    if hint := unquoted(text, [*held["trials"], *held["curves"]]):
        return InputError(f"query: {first_line(error)}; {hint}")
    if found := _COLUMN.search(message):
        name = found.group(1)
        if homes := [table for table, columns in held.items() if name in columns]:
            return InputError(f"no column {name!r} in the table that the query reads; {' and '.join(homes)} has it")
        return InputError(unknown_columns([name], sorted({*held["trials"], *held["curves"]})))
    if found := _RELATION.search(message):
        close = nearest(found.group(1), _TABLES)
        return InputError(f"no table {found.group(1)!r}{close} (tables: {', '.join(_TABLES)})")
    if isinstance(error, pl.exceptions.PanicException):
        return InputError(f"query: the SQL engine failed at {shown(text)}: {first_line(error)}")
    causes = "; ".join(_texts_among_numbers(tables.trials, text))
    if "for dtype `str`" in message and not causes and (texts := _texts(tables.trials, text)):
        causes = f"text: {', '.join(texts)}"
    kind = UnansweredError if isinstance(error, pl.exceptions.ComputeError) and not causes else InputError
    return kind(f"query: {first_line(error)}" + (f"; {causes}" if causes else ""))


def _texts_among_numbers(trials: pl.LazyFrame, text: str) -> Iterator[str]:
    """Yield a sentence on each column of ``text`` that holds numbers and text, with the first row that has text."""
    schema = trials.collect_schema()
    for name in _texts(trials, text):
        ids = ["trial_id"] if "trial_id" in schema and name != "trial_id" else []
        rows = trials.select(name, *ids).drop_nulls(name).collect()
        odd = rows.filter(pl.col(name).cast(pl.Float64, strict=False).is_null())
        if 0 < odd.height < rows.height:
            where = f" in trial {odd['trial_id'][0]}" if ids else ""
            yield (
                f"{name} is text in {counted(odd.height, 'row')} of {rows.height}, such as {shown(odd[name][0])}{where}"
                f": TRY_CAST({name} AS DOUBLE) gives its numbers, else null"
            )


def _texts(trials: pl.LazyFrame, text: str) -> list[str]:
    """Return the columns of text that the query ``text`` names."""
    named = {token.strip('"`') for kind, token in tokens(text) if kind in ("name", "quoted")}
    return [name for name, kind in trials.collect_schema().items() if name in named and kind == pl.String]
