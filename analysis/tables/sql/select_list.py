"""Names of the columns of an SQL answer as databases give them: a function call without AS is named by its text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeplaw.analysis.tables.sql.sql_text import tokens

_Token = tuple[str, str]
_ENDS = ("FROM", "UNION", "INTERSECT", "EXCEPT", "ORDER", "LIMIT")
_OPEN, _CLOSE = ("(", "[", "{"), (")", "]", "}")


def renamed(sql: str, columns: Sequence[str]) -> dict[str, str]:
    """Return new names for those of an answer's ``columns`` that are a mere function call in ``sql``: `max(step)`.

    Polars names such a column by the function's first argument. Empty if the items of the SELECT are not the columns
    one by one (`*`), or if names would repeat.
    """
    items = [item for item in _items(list(tokens(sql))) if item]
    if len(items) != len(columns):
        return {}
    names = {column: _text(item) for column, item in zip(columns, items, strict=True) if _is_call(item)}
    result = [names.get(column, column) for column in columns]
    return names if len(set(result)) == len(result) else {}


def _items(words: Sequence[_Token]) -> Iterator[list[_Token]]:
    """Yield the items of the outermost SELECT, without the space around them."""
    depth, inside, item = 0, False, list[_Token]()
    for kind, token in words:
        depth += (token in _OPEN) - (token in _CLOSE)
        outermost = depth == 0 and kind == "name"
        if outermost and token.upper() in ("SELECT", "DISTINCT", "ALL"):
            inside = True
        elif inside and outermost and token.upper() in _ENDS:
            break
        elif inside and depth == 0 and token == ",":
            yield _stripped(item)
            item = []
        elif inside:
            item.append((kind, token))
    yield _stripped(item)


def _stripped(item: list[_Token]) -> list[_Token]:
    kept = [index for index, (kind, token) in enumerate(item) if kind != "space" and token != ";"]
    return item[kept[0] : kept[-1] + 1] if kept else []


def _is_call(item: Sequence[_Token]) -> bool:
    """Return whether the item is a name and one pair of parentheses with what they hold, and nothing else."""
    words = [token for kind, token in item if kind != "space"]
    if item[0][0] != "name" or words[1:2] != ["("]:
        return False
    depth = 0
    for index, token in enumerate(words[1:], start=1):
        depth += (token in _OPEN) - (token in _CLOSE)
        if depth == 0:
            return index == len(words) - 1
    return False


def _text(item: Sequence[_Token]) -> str:
    """Return the item as it is written, on one line; the name of the function in lower case."""
    name, rest = item[0][1].lower(), "".join(" " if kind == "space" else token for kind, token in item[1:])
    return name + rest
