"""What people write about columns: names, and expressions in Polars SQL such as ``tokens / params_non_embedding > 20``.

N, D and C stand for the columns of `ALIASES` unless the table has a column of that name; every answer made with one
says so.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import polars as pl

from sweeplaw.trials.errors import InputError, nearest

ALIASES: Mapping[str, str] = {"N": "params_non_embedding", "D": "tokens", "C": "flops"}

_SHOWN = 5  # rows of a fault; more are counted
_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)
      | (?P<text>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")*"|`[^`]*`)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<number>\d[\w.]*(?:(?<=[eE])[+-]\d+)?)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)


def tokens(sql: str) -> Iterator[tuple[str, str]]:
    """(kind, text) of each token: space (comments too), text, quoted, name, number, other. Joined they are ``sql``."""
    for match in _TOKEN.finditer(sql):
        yield str(match.lastgroup), match.group()


def aliases_in(sql: str, columns: Iterable[str]) -> dict[str, str]:
    """The aliases ``sql`` uses as bare names, each with its column, where the table has no column of that name."""
    present = set(columns)
    names = {text for kind, text in tokens(sql) if kind == "name"}
    return {alias: name for alias, name in ALIASES.items() if alias in names - present and name in present}


def known(names: Sequence[str], columns: Sequence[str]) -> list[str]:
    """``names`` as columns, aliases resolved. Raises InputError with the nearest column for each that is none."""
    resolved = [name if name in columns else ALIASES.get(name, name) for name in names]
    if faults := unknown(resolved, columns):
        raise InputError(faults)
    return resolved


def unknown(names: Iterable[str], columns: Sequence[str]) -> list[str]:
    """A sentence about each of ``names`` that is no column, with the nearest name; the last tells all there are."""
    missing = [name for name in dict.fromkeys(names) if name not in columns]
    faults = [f"no column {name!r}{nearest(name, columns)}" for name in missing]
    return [*faults[:-1], f"{faults[-1]} (columns: {', '.join(sorted(columns))})"] if faults else []


def condition(text: str, schema: pl.Schema) -> pl.Expr:
    """The expression ``text``, which is true or false of a row. Raises InputError, also for any other expression."""
    expression = parse(text, schema)
    read = {name: schema[name] for name in expression.meta.root_names()}
    try:
        kind = pl.DataFrame(schema=read).select(expression.alias("holds")).dtypes[0]
    except pl.exceptions.PolarsError as error:
        raise InputError(f"condition {text!r}: {str(error).splitlines()[0]}") from None
    if kind not in (pl.Boolean, pl.Null):
        raise InputError(f"condition {text!r} is neither true nor false of a row: it gives {kind}")
    return expression


def check_columns(frame: pl.DataFrame, names: Sequence[str], numbers: Sequence[str] = ()) -> None:
    """Raises InputError naming every one of ``names`` that is given twice or is no column, with the nearest that is,
    and every one of ``numbers`` that holds something else, with the first rows that do (0 is the first)."""
    faults = [f"{name!r} is named twice" for name, count in Counter(names).items() if count > 1]
    faults += unknown(names, frame.columns)
    faults += [fault for name in dict.fromkeys(numbers) if name in frame.columns and (fault := no_numbers(frame[name]))]
    if faults:
        raise InputError(faults)


def no_numbers(column: pl.Series, rows: pl.Series | None = None) -> str | None:
    """What keeps ``column`` from being numbers, in a sentence; None for a column of numbers. ``rows`` are the numbers
    of its rows, where they are not counted from 0."""
    if column.dtype.is_numeric() or column.dtype == pl.Null:
        return None
    if column.dtype != pl.String or not column.count():
        return f"{column.name!r} holds {column.dtype}; numbers are wanted"
    odd = (column.is_not_null() & column.cast(pl.Float64, strict=False).is_null()).arg_true()
    shown = ", ".join(f"row {row if rows is None else rows[row]} holds {column[row]!r}" for row in odd.head(_SHOWN))
    more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
    return f"{column.name!r}: {shown}{more}; numbers are wanted"


def parse(text: str, columns: Sequence[str] | pl.Schema) -> pl.Expr:
    """The expression ``text``, for example ``tokens / N > 20 AND workload = 'language_model'``. Raises InputError.

    Given a schema, an expression that multiplies reads whole-number columns as floats: 6 N D passes 2^63 soon,
    silently.
    """
    names = list(columns)
    stand_ins = aliases_in(text, names)
    try:
        expression = pl.sql_expr(_spelled(text, stand_ins, _whole(columns) if "*" in text else ()))
    except pl.exceptions.PolarsError as error:
        raise InputError(f"expression {text!r}: {error}") from None
    if faults := unknown(expression.meta.root_names(), names):
        raise InputError(faults, where=f"expression {text!r}")
    return expression


def values_of(column: str, text: str) -> list[str] | None:
    """The texts one of which ``column`` must be for the expression ``text`` to hold; None where it does not say so.

    It says so by ``column = 'a'`` or ``column IN ('a', 'b')``, alone or joined to other conditions by AND.
    """
    words = [(kind, token) for kind, token in tokens(text) if kind != "space"]
    if {token.upper() for kind, token in words if kind == "name"} & {"OR", "XOR", "BETWEEN", "CASE"}:
        return None
    for condition in _joined(words):
        spelled = [token.strip('"`') if kind != "text" else "''" for kind, token in condition]
        texts = [token[1:-1].replace("''", "'") for kind, token in condition if kind == "text"]
        asked = " ".join(spelled).upper().removeprefix(column.upper()) if spelled[:1] == [column] else ""
        if re.fullmatch(r" = ''| IN \( ''( , '')* \)", asked):
            return texts
    return None


def _joined(words: Sequence[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """The conditions that the outermost ANDs join."""
    depth, condition = 0, list[tuple[str, str]]()
    for kind, token in words:
        depth += {"(": 1, ")": -1}.get(token, 0)
        if depth == 0 and kind == "name" and token.upper() == "AND":
            yield condition
            condition = []
        else:
            condition.append((kind, token))
    yield condition


def _spelled(text: str, stand_ins: Mapping[str, str], as_float: Sequence[str]) -> str:
    written = []
    for kind, token in tokens(text):
        name = {"name": stand_ins.get(token, token), "quoted": token[1:-1]}.get(kind, token)
        if kind in ("name", "quoted") and name in as_float:
            written.append(f'CAST("{name}" AS DOUBLE)')
        else:
            written.append(name if kind == "name" else token)
    return "".join(written)


def _whole(columns: Sequence[str] | pl.Schema) -> tuple[str, ...]:
    if not isinstance(columns, pl.Schema):
        return ()
    return tuple(name for name, kind in columns.items() if kind.is_integer())
