"""The text of SQL before Polars parses it: its tokens, and what is refused.

Polars resolves a query while it parses: its table functions open files and addresses before there is a plan to inspect,
and a deep enough expression overflows the stack, which ends the process. So the text is checked first. Each construct
that Polars would read differently from `tokens` (dollar quotes, text with a prefix, nested comments) is refused, so the
two agree on everything before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sweeplaw.analysis.tables.sql import text_growth
from sweeplaw.trials.errors import InputError, shown

MAX_LENGTH = 200_000  # characters
MAX_WORDS = 1000  # within one another; measured: Polars 2.1 overflows 8 MiB of stack beyond 700 operators of two words
MAX_SELECTS = 250  # measured: a chain of 250 takes half a second to plan, 1000 take over ten seconds

# By the text alone, quotes and comments aside: it must hold wherever a token begins or ends.
_OPENS_FILES = re.compile(r"((?:read|scan)_\w+)[\"'`]?\s*(?:\(|--|/\*)", re.IGNORECASE)
_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?(?:\*/|\Z))
      | (?P<text>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")*"|`(?:[^`]|``)*`)
      | (?P<name>[^\W\d]\w*)
      | (?P<number>\d[\w.]*(?:(?<=[eE])[+-]\d+)?)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)


def tokens(sql: str) -> Iterator[tuple[str, str]]:
    """Yield (kind, text) of each token: space (and comments), text, quoted, name, number or other.

    The texts joined are ``sql``.
    """
    for match in _TOKEN.finditer(sql):
        yield str(match.lastgroup), match.group()


def require_query(sql: str) -> None:
    """Raise InputError unless ``sql`` may be one query: it begins as a SELECT and passes `require_safe`."""
    require_safe(sql)
    first = next((token for kind, token in tokens(sql) if kind != "space"), "")
    if first.upper() not in ("SELECT", "WITH", "FROM", "("):
        raise InputError(f"only SELECT queries are accepted: SQL begins with SELECT or WITH, not {sql.strip()[:20]!r}")


def require_expression(text: str) -> None:
    """Raise InputError unless ``text`` may be an expression of columns: `require_safe`, no query within, and no text
    or list of any length (`text_growth`).

    An expression is evaluated without the limits on time and memory of a query.
    """
    require_safe(text)
    words = [(kind, token) for kind, token in tokens(text) if kind != "space"]
    if any((kind, token.upper()) == ("name", "SELECT") for kind, token in words):
        raise InputError(f"expression {shown(text)}: SELECT is not accepted in an expression of columns")
    if fault := text_growth.unbounded(words):
        raise InputError(f"expression {shown(text)}: {fault}")


def require_safe(sql: str) -> None:
    """Raise InputError if ``sql`` calls a function that opens files, may overflow the stack, or is ambiguous."""
    if not sql.strip():
        raise InputError(f"an empty expression: {sql!r}")
    if len(sql) > MAX_LENGTH:
        raise InputError(f"SQL of {len(sql)} characters (accepted: at most {MAX_LENGTH})")
    if found := _OPENS_FILES.search(sql):
        raise InputError(f"{found[1]}() opens files; a query reads only its store (accepted: trials, curves, best)")
    words = list(tokens(sql))
    if fault := _ambiguous(words):
        raise InputError(f"SQL {shown(sql)}: {fault}")
    require_shallow(sql, words)


def require_shallow(sql: str, words: Sequence[tuple[str, str]], most: int = MAX_WORDS) -> None:
    """Raise InputError if more than ``most`` words of the SQL lie within one another, or too many SELECTs."""
    selects = sum(kind == "name" and token.upper() == "SELECT" for kind, token in words)
    if selects > MAX_SELECTS or deepest(words) > most:
        raise InputError(
            f"SQL {shown(sql)} is nested too deeply (accepted: {MAX_WORDS} words in one item of a list, with the parts "
            f"in parentheses, and {MAX_SELECTS} SELECTs; IN takes a list of any length)"
        )


def deepest(words: Sequence[tuple[str, str]]) -> int:
    """Return the number of words that may lie within one another: those of one item of a list and its deepest part."""
    here, outer = _Item(), list[_Item]()
    for kind, token in words:
        if token in ("(", "[", "{"):
            outer.append(here)
            here = _Item()
        elif token in (")", "]", "}") and outer:
            inner, here = here.depth(), outer.pop()
            here.add(1, inner)
        elif token == ",":
            here.end()
        elif kind != "space":
            here.add(1)
    return sum(item.depth() for item in (here, *outer))


class _Item:
    """The items of one list so far: the deepest, and the words and the deepest part of the one being read."""

    def __init__(self) -> None:
        self.deepest = self.words = self.part = 0

    def add(self, words: int, part: int = 0) -> None:
        self.words, self.part = self.words + words, max(self.part, part)

    def end(self) -> None:
        self.deepest, self.words, self.part = self.depth(), 0, 0

    def depth(self) -> int:
        return max(self.deepest, self.words + self.part)


def _ambiguous(words: Sequence[tuple[str, str]]) -> str | None:
    """Return the first construct that Polars would read differently from `tokens`, or None."""
    for (kind, token), (after, _) in zip(words, [*words[1:], ("space", "")], strict=False):
        if token == "$":
            return "`$` is not accepted (accepted: text in single quotes, names with $ in double quotes)"
        if token.startswith("/*") and "/*" in token[2:]:
            return "a comment in a comment is not accepted"
        if kind == "name" and after == "text":
            return f"text with a letter before its quote ({token}'…') is not accepted; after a keyword, put a space"
    return None
