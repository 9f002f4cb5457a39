"""How much larger than its columns the values of an expression may be, by its words alone.

An expression of a few words can ask for more memory than a machine has: a range of any length, or a text that is
replaced by a longer one within another replacement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

MOST_TIMES = 1000.0  # that a text may be longer than those of its columns; assumption: 1,000 rows of 1 kB are 1 GB

Words = Sequence[tuple[str, str]]  # kind and text of each token but space, as `sql_text.tokens` yields them

_ANY_LENGTH = {"LPAD", "RPAD", "GENERATE_SERIES", "RANGE"}
_ALL_ROWS = {"ARRAY_AGG", "STRING_AGG", "LISTAGG", "GROUP_CONCAT"}  # a value of each row could hold those of all rows
_ALL_COLUMNS = {"COLUMNS"}
_REFUSED = _ANY_LENGTH | _ALL_ROWS | _ALL_COLUMNS
_JOINS = {"CONCAT", "CONCAT_WS"}
_REPLACES = {"REPLACE", "REGEXP_REPLACE"}


def unbounded(words: Words) -> str | None:
    """Return why the values of an expression may be of any length, None if their length is bounded."""
    called = [_name(token) for (_, token), (_, after) in pairwise(words) if after == "("]
    if found := next((name for name in called if name in _REFUSED), None):
        return f"{found} is not accepted in an expression of columns"
    times = 1.0 + sum((one[1], two[1]) == ("|", "|") for one, two in pairwise(words))
    for name, arguments in _calls(words):
        if name in _JOINS:
            times += len(arguments)
    for name, arguments in _calls(words):
        if name in _REPLACES:
            longer = _longer(name, arguments)
            if longer is None:
                return f"{name} is accepted with what is replaced, and by what, as texts in single quotes"
            times *= longer
    return f"its texts could be more than {MOST_TIMES:g} times as long as the columns'" if times > MOST_TIMES else None


def _calls(words: Words) -> Iterator[tuple[str, list[Words]]]:
    """Yield the name and the arguments of each call of a function that joins or replaces texts."""
    for at, ((_, token), (_, after)) in enumerate(pairwise(words)):
        if after == "(" and (name := _name(token)) in _JOINS | _REPLACES:
            yield name, _arguments(words, at + 2)


def _arguments(words: Words, begin: int) -> list[Words]:
    """Return the arguments that begin at this word, up to the parenthesis that closes them."""
    depth, found = 0, [list[tuple[str, str]]()]
    for kind, token in words[begin:]:
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(token, 0)
        if depth < 0:
            break
        if token == "," and depth == 0:
            found.append([])
        else:
            found[-1].append((kind, token))
    return list(found)


def _longer(name: str, arguments: Sequence[Words]) -> float | None:
    """Return how many times longer than its text a replacement may be, None if that is not known."""
    if len(arguments) < 3 or any([kind for kind, _ in words] != ["text"] for words in arguments[1:3]):
        return None
    old, new = (len(words[0][1][1:-1].replace("''", "'")) for words in arguments[1:3])
    if name == "REPLACE" and old:
        return max(1.0, new / old)
    # Put between any two characters. A pattern's match may be repeated in its place, which is shorter to ask for.
    return 1.0 + new


def _name(token: str) -> str:
    return token.strip('"`').upper()
