"""Column names and Polars SQL expressions as users write them, such as ``tokens / params_non_embedding > 20``.

N, D and C stand for the columns of `ALIASES` unless the table has a column of that name (which in a store holds the
same, see `tables.launches.with_own_quantities`); every result that used one reports it.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

import polars as pl

from sweeplaw.analysis.tables.sql.float_arithmetic import in_floats
from sweeplaw.analysis.tables.sql.sql_text import require_expression, tokens
from sweeplaw.trials.errors import InputError, nearest, shown

ALIASES: Mapping[str, str] = {"N": "params_non_embedding", "D": "tokens", "C": "flops"}

_TEXT_AND_NUMBER = re.compile(r"t(?=[<>=!]+[-+]?0)|(?<=0[<>=])t|(?<=0[<>=!][=>])t")
_ENGINE_TOKEN = re.compile(r'Word\(Word \{ value: "([^"]*)"[^}]*\}\)|\b[A-Z]\w+\("([^"]*)"[^)]*\)')
_COLUMNS_SHOWN = 10  # of a table, in the message on an unknown one
_SHOWN = 5  # rows of a fault that are listed; further ones are counted


def aliases_in(sql: str, columns: Iterable[str]) -> dict[str, str]:
    """Return the column of each alias that ``sql`` uses as a bare name and that is not itself a column."""
    present = set(columns)
    names = {text for kind, text in tokens(sql) if kind == "name"}
    return {alias: name for alias, name in ALIASES.items() if alias in names - present and name in present}


def resolve_columns(names: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Return ``names`` with aliases resolved. Raise InputError with the nearest column for each unknown name."""
    resolved = [name if name in columns else ALIASES.get(name, name) for name in names]
    if faults := unknown_columns(resolved, columns):
        raise InputError(faults)
    return resolved


def unknown_columns(names: Iterable[str], columns: Sequence[str]) -> list[str]:
    """Return a fault for each of ``names`` that is no column, with the nearest one; the last lists `some_columns`."""
    missing = [name for name in dict.fromkeys(names) if name not in columns]
    faults = [f"no column {name!r}{nearest(name, columns)}" for name in missing]
    return [*faults[:-1], f"{faults[-1]} (columns: {some_columns(columns, missing[-1])})"] if faults else []


def some_columns(columns: Sequence[str], near: str) -> str:
    """Return the columns as a list; of many, those most like the name ``near``, and the number of the others."""
    if len(columns) <= _COLUMNS_SHOWN:
        return ", ".join(sorted(columns))
    close = difflib.get_close_matches(near, columns, n=_COLUMNS_SHOWN, cutoff=0.0)
    return f"{', '.join(sorted(close))} and {len(columns) - len(close)} more; `sweeplaw columns` lists them"


def unquoted(text: str, columns: Iterable[str]) -> str | None:
    """Return why ``text`` cannot be read if it has a column with a dot, a space or the like without quotes."""
    bare = "".join(token if kind not in ("text", "quoted") else "''" for kind, token in tokens(text))
    odd = [name for name in columns if re.match(r"[^\W\d]\w*\W", name)]
    found = [f'"{name}"' for name in odd if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", bare)]
    rule = "a column's name with a dot, a space or another sign needs double quotes"
    return f"{rule}: {', '.join(found)}" if found else None


def condition(text: str, schema: pl.Schema) -> pl.Expr:
    """Return the boolean expression ``text``. Raise InputError if it is invalid or not boolean."""
    expression = parse(text, schema)
    refuse_text_as_number(text, schema)
    read = {name: schema[name] for name in expression.meta.root_names()}
    try:
        kind = pl.DataFrame(schema=read).select(expression.alias("holds")).dtypes[0]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise InputError(f"condition {shown(text)}: {first_line(error)}{_numbers_in(read)}") from None
    if kind not in (pl.Boolean, pl.Null):
        raise InputError(f"condition {shown(text)} is not boolean: it gives {kind}")
    return expression


def refuse_text_as_number(sql: str, schema: pl.Schema) -> None:
    """Raise InputError if a text column is compared with a number: Polars would compare its text with the digits."""
    words = [(kind, token.strip('"`')) for kind, token in tokens(sql) if kind != "space"]
    renamed = {name for (_, before), (_, name) in pairwise(words) if before.upper() == "AS"}
    texts = {name for name, kind in schema.items() if kind == pl.String} - renamed
    spelled = "".join(_kind_of_word(kind, token, texts) for kind, token in words)
    found = dict.fromkeys(words[match.start()][1] for match in _TEXT_AND_NUMBER.finditer(spelled))
    if faults := [
        f"{name} is text and compared with a number; TRY_CAST({name} AS DOUBLE) gives its numbers, else null"
        for name in found
    ]:
        raise InputError(faults)


def _kind_of_word(kind: str, token: str, texts: Collection[str]) -> str:
    """Return one character for a word: t for a text column, 0 for a number, the word itself if it has one character."""
    if kind in ("name", "quoted"):
        return "t" if token in texts else "n"
    return "0" if kind == "number" else token if kind == "other" else "'"


def first_line(error: BaseException) -> str:
    """Return the first line of an error of Polars, whose further ones are its plan; its type if it has no text.

    A word of the query stands in quotes, without the parser's own type around it.
    """
    line = next(iter(str(error).splitlines()), "") or type(error).__name__
    spelled = _ENGINE_TOKEN.sub(lambda found: f"'{found[1] or found[2] or ''}'", line)
    return re.sub(r"No (?:infix|prefix) parser for token", "the query cannot be read at", spelled)


def _numbers_in(read: Mapping[str, pl.DataType]) -> str:
    """Return how to compute with those of the columns that are text, or an empty string."""
    texts = [name for name, kind in read.items() if kind == pl.String]
    return "".join(f"; {name} is text: TRY_CAST({name} AS DOUBLE) gives its numbers, else null" for name in texts)


def check_columns(frame: pl.DataFrame, names: Sequence[str], numbers: Sequence[str] = ()) -> None:
    """Raise InputError if one of ``names`` occurs twice or is no column, or one of ``numbers`` is not numeric.

    The error suggests the nearest column and lists the first rows that are not numbers (counted from 1).
    """
    faults = [f"{name!r} is named twice" for name, count in Counter(names).items() if count > 1]
    faults += unknown_columns(names, frame.columns)
    faults += [
        f"{name!r} holds {frame[name].dtype}; expected a single value in each row"
        for name in dict.fromkeys(names)
        if name in frame.columns and name not in numbers and frame[name].dtype.is_nested()
    ]
    faults += [
        fault for name in dict.fromkeys(numbers) if name in frame.columns and (fault := not_numeric(frame[name]))
    ]
    if faults:
        raise InputError(faults)


def not_numeric(column: pl.Series, rows: pl.Series | None = None) -> str | None:
    """Return why ``column`` is not numeric, or None if it is.

    ``rows`` are the numbers of the rows to report, if they are not counted from 1.
    """
    if column.dtype.is_numeric() or column.dtype == pl.Null:
        return None
    if column.dtype != pl.String or not column.count():
        return f"{column.name!r} holds {column.dtype}; expected numbers"
    if column.cast(pl.Float64, strict=False).count() == column.count():
        return f"{column.name!r} holds numbers written as text, such as {column.drop_nulls()[0]!r}; expected numbers"
    odd = (column.is_not_null() & column.cast(pl.Float64, strict=False).is_null()).arg_true()
    shown = ", ".join(f"row {row + 1 if rows is None else rows[row]} holds {column[row]!r}" for row in odd.head(_SHOWN))
    more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
    return f"{column.name!r}: {shown}{more}; expected numbers"


def parse(text: str, columns: Sequence[str] | pl.Schema) -> pl.Expr:
    """Return the expression ``text``, e.g. ``tokens / N > 20 AND workload = 'language_model'``. Raise InputError.

    Its arithmetic is in floats (`sql.float_arithmetic`); that of times and texts needs a schema for ``columns``.
    """
    require_expression(text)
    names = list(columns)
    aliases = aliases_in(text, names)
    try:
        expression = pl.sql_expr(in_floats(_resolved(text, aliases), columns if isinstance(columns, pl.Schema) else {}))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = unquoted(text, names) or shown(first_line(error))[1:-1]
        raise InputError(f"expression {shown(text)}: {reason}") from None
    if faults := unknown_columns(expression.meta.root_names(), names):
        faults = [hint] if (hint := unquoted(text, names)) else faults
        raise InputError(faults, where=f"expression {shown(text)}")
    return expression


def values_of(column: str, text: str) -> list[str] | None:
    """Return the texts to which the expression ``text`` restricts ``column``, or None if it does not.

    A restriction is ``column = 'a'`` or ``column IN ('a', 'b')``, alone or joined to other conditions by AND.
    """
    words = [(kind, token) for kind, token in tokens(text) if kind != "space"]
    if {token.upper() for kind, token in words if kind == "name"} & {"OR", "XOR", "BETWEEN", "CASE"}:
        return None
    for condition in _conjuncts(words):
        spelled = [token.strip('"`') if kind != "text" else "''" for kind, token in condition]
        texts = [token[1:-1].replace("''", "'") for kind, token in condition if kind == "text"]
        rest = " ".join(spelled).upper().removeprefix(column.upper()) if spelled[:1] == [column] else ""
        if re.fullmatch(r" = ''| IN \( ''( , '')* \)", rest):
            return texts
    return None


def _conjuncts(words: Sequence[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Yield the conditions joined by the outermost ANDs."""
    depth, condition = 0, list[tuple[str, str]]()
    for kind, token in words:
        depth += {"(": 1, ")": -1}.get(token, 0)
        if depth == 0 and kind == "name" and token.upper() == "AND":
            yield condition
            condition = []
        else:
            condition.append((kind, token))
    yield condition


def _resolved(text: str, aliases: Mapping[str, str]) -> str:
    """Return the SQL with aliases replaced by their columns."""
    return "".join(aliases.get(token, token) if kind == "name" else token for kind, token in tokens(text))
