"""SQL whose arithmetic is in floats: integers of Polars wrap at the end of their type, 6 N D at 2^63, silently.

The first operand of a chain of operators is multiplied by a float, so that the whole chain is one of floats; so are
what SUM adds up, the base of POWER, and what a minus negates. Nothing else changes: a plain column, a comparison and a
count stay whole, and sums of times and texts are what they were.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from sweeplaw.analysis.tables.sql.sql_text import require_shallow, tokens

_Word = tuple[str, str]
_Span = tuple[int, int]  # positions of words, the second one exclusive

MOST_WORDS = 1250  # within one another with what is added here; Polars 2.1 overflows 8 MiB of stack beyond 1400

_COMPUTES = re.compile(r"[-+*/%]|\b(?:SUM|POW|POWER)\b", re.IGNORECASE)
_FLOAT = " * 1e0"
_SUMS, _PRODUCTS = ("+", "-"), ("*", "/", "%")
_CALLS = ("SUM", "POW", "POWER")
_CLOSES = {")": "(", "]": "[", "END": "CASE"}
_COMPARISONS = ("=", "<", ">", "!", "NOT", "IN", "LIKE", "ILIKE", "RLIKE", "IS", "BETWEEN", "AND", "OR", "XOR")
_BEFORE_OPERAND = (  # keywords after which a sign is none of an operator: that of a number, or the * of all columns
    *_COMPARISONS, "SELECT", "DISTINCT", "ALL", "WHERE", "THEN", "ELSE", "WHEN", "CASE", "ON", "BY", "HAVING", "LIMIT",
    "OFFSET", "FROM", "AS", "QUALIFY",
)  # fmt: skip
_MOMENTS = ("INTERVAL", "DATE", "TIME", "TIMESTAMP", "DATETIME")
_NUMBERS_OF_ANYTHING = ("COUNT", "EXTRACT", "DATE_PART", "LENGTH")
_NO_OPERAND = ("FROM", "EXCLUDE", "EXCEPT", "RENAME", "REPLACE", "ILIKE")  # after the * of all columns
_AFTER_KEYS = ("WHERE", "GROUP", "ORDER", "HAVING", "LIMIT", "JOIN", "INNER", "FULL", "CROSS", "UNION", "SELECT")
_KEY_ENDS = ("ON", "AND", "OR", "NOT", ";", "", *_AFTER_KEYS, "SEMI", "ANTI", "ASOF", "OUTER")
_SIDES = ("LEFT", "RIGHT")  # of a join, unless they are called


def in_floats(sql: str, columns: Mapping[str, pl.DataType]) -> str:
    """Return the SQL with its arithmetic in floats. ``columns`` are those of its tables, for times, texts and flags.

    Raise InputError if the result is nested too deeply.
    """
    if not _COMPUTES.search(sql):
        return sql
    texts = list(tokens(sql))
    places = [place for place, (kind, _) in enumerate(texts) if kind != "space"]
    added = _Rewriting([texts[place] for place in places], columns).additions()
    written = [token for _, token in texts]
    for word, (before, after) in added.items():
        written[places[word]] = before + written[places[word]] + after
    result = "".join(written)
    if added:
        require_shallow(sql, list(tokens(result)), MOST_WORDS)
    return result


class _Rewriting:
    """The words of a query, and what is written before and after some of them."""

    def __init__(self, words: Sequence[_Word], columns: Mapping[str, pl.DataType]) -> None:
        self.kinds = [kind for kind, _ in words] + ["end"]
        self.words = [token.upper() if kind == "name" else token for kind, token in words] + [""]
        self.names = [token[1:-1] if kind == "quoted" else token for kind, token in words] + [""]
        self.moments = {name for name, kind in columns.items() if kind.is_temporal()}
        self.texts = {name for name, kind in columns.items() if kind == pl.String}
        self.flags = {name for name, kind in columns.items() if kind == pl.Boolean}
        self.partner = _nesting(self.words)
        self.added: dict[int, tuple[str, str]] = {}

    def additions(self) -> Mapping[int, tuple[str, str]]:
        """Return what to write before and after each word, by its position."""
        for at, word in enumerate(self.words):
            if word == "AS" and at and self._is_moment((self._begin(at - 1), at)):
                self.moments.add(self.names[at + 1])
        for at in reversed(range(len(self.words) - 1)):  # inner parts before those around them
            if self.words[at] in (*_SUMS, *_PRODUCTS):
                self._sign(at)
            elif self.words[at] in _CALLS and self.words[at + 1] == "(":
                self._argument(at)
        self._join_keys()
        return self.added

    def _sign(self, at: int) -> None:
        """Make the arithmetic of this sign one of floats, if it is arithmetic, and of numbers."""
        right = (at + 1, self._end(at + 1))
        other = self.words[at] in _SUMS and self._is_other(right)
        if other or self.words[at + 1] == ">" or right[0] == right[1]:  # an arrow of a JSON path, the * of all columns
            return
        if not self._ends_operand(at - 1):
            if self.words[at] == "-":
                self._negated(right)
            return
        left = (self._begin(at - 1), at)
        before = left[0] - 1
        chained = self._ends_operand(before - 1) and (
            self.words[before] in _PRODUCTS or (self.words[before] in _SUMS and self.words[at] in _SUMS)
        )
        if not chained and not (self.words[at] in _SUMS and self._is_other(left)):
            self._write((at - 1, at), "", _FLOAT)

    def _negated(self, span: _Span) -> None:
        first, last = span[0], span[1] - 1
        if self.words[first] == "(":
            inside = (first + 1, last)
            if inside[0] < inside[1] and not self._is_float(inside):
                self._write(inside, "", _FLOAT)
        elif self.kinds[first] != "number" and not self._is_float(span):
            self._write(span, "(", f"{_FLOAT})")

    def _argument(self, at: int) -> None:
        """Make the first argument of POWER a float, and that of SUM unless it is a condition or counts rows."""
        first, last = at + 2, self.partner.get(at + 1, at + 2)
        first += self.words[first] in ("DISTINCT", "ALL")
        last = next((place for place in self._top((first, last)) if self.words[place] == ","), last)
        counts = self.words[at] == "SUM" and self._counts((first, last))
        if first < last and not self._is_float((first, last)) and not counts:
            self._write((first, last), "(", f"){_FLOAT}")

    def _counts(self, span: _Span) -> bool:
        """Return whether these words are a condition, a flag, or a CASE that gives literal numbers only."""
        first, last = span
        if last - first == 1:
            return self.names[first] in self.flags or self.kinds[first] == "number"
        if self.words[first] == "CASE" and self.partner.get(first) == last - 1:
            given = [at for at in range(first, last) if self.words[at] in ("THEN", "ELSE")]
            return all(self.kinds[at + 1] == "number" and self.words[at + 2] in ("WHEN", "ELSE", "END") for at in given)
        return any(self.words[at] in _COMPARISONS for at in self._top(span))

    def _join_keys(self) -> None:
        """Make both keys of a join floats if one of them is computed: keys are compared in one type."""
        inside = False
        for at, word in enumerate(self.words):
            inside = word == "ON" or (inside and word not in _AFTER_KEYS)
            if inside and word == "=":
                keys = self._keys(at)
                if any(place in self.added for key in keys for place in range(*key)):
                    for key in keys:
                        self._write(key, "(", f"){_FLOAT}")

    def _keys(self, at: int) -> tuple[_Span, _Span]:
        """Return the two sides of the equation with its sign at this place."""
        first, last = at, at + 1
        while self.words[first - 1] not in (*_KEY_ENDS, "("):
            first = self.partner.get(first - 1, first - 1)
        while self.words[last] not in (*_KEY_ENDS, ")"):
            if self.words[last] in _SIDES and self.words[last + 1] != "(":
                break
            last = self.partner.get(last, last) + 1
        return (first, at), (at + 1, last)

    def _write(self, span: _Span, before: str, after: str) -> None:
        """Write around the words, outside of what is already written there."""
        first, last = span[0], span[1] - 1
        old = self.added.get(first, ("", ""))
        self.added[first] = (before + old[0], old[1])
        old = self.added.get(last, ("", ""))
        self.added[last] = (old[0], old[1] + after)

    def _top(self, span: _Span) -> Iterator[int]:
        """Yield the places of the words, without those inside parentheses or a CASE."""
        at = span[0]
        while at < span[1]:
            yield at
            at = max(self.partner.get(at, at), at) + 1

    def _ends_operand(self, at: int) -> bool:
        if at < 0:
            return False
        kind, word = self.kinds[at], self.words[at]
        return (
            kind in ("text", "number", "quoted") or word in _CLOSES or (kind == "name" and word not in _BEFORE_OPERAND)
        )

    def _begin(self, at: int) -> int:
        """Return where the operand that ends with this word begins: a name with its table, a call, a group."""
        at = self.partner.get(at, at)
        if self.words[at] == "(" and self.kinds[at - 1] == "name" and self._ends_operand(at - 1):
            at -= 1
        while at > 1 and self.words[at - 1] == ".":
            at -= 2
        return at

    def _end(self, at: int) -> int:
        """Return where the operand that begins with this word ends, ``at`` if none does."""
        if at in self.partner:
            return self.partner[at] + 1 if self.partner[at] > at else at
        if self.kinds[at] not in ("text", "number", "quoted", "name") or self.words[at] in _NO_OPERAND:
            return at
        while self.words[at + 1] == ".":
            at += 2
        return self.partner.get(at + 1, at) + 1 if self.words[at + 1] == "(" else at + 1

    def _is_float(self, span: _Span) -> bool:
        """Return whether these words are arithmetic already, or a power."""
        call = self.words[span[0]] in ("POW", "POWER") and self.partner.get(span[0] + 1) == span[1] - 1
        return call or any(self.words[at] in (*_SUMS, *_PRODUCTS) for at in self._top(span))

    def _is_other(self, span: _Span) -> bool:
        """Return whether these words are a text or a time, whose sums are not of numbers."""
        last = span[1] - 1
        plain = last == span[0] or self.words[last - 1] == "."
        text = plain and (self.kinds[last] == "text" or self.names[last] in self.texts)
        return text or self._is_moment(span)

    def _is_moment(self, span: _Span) -> bool:
        if self.words[span[0]] in _NUMBERS_OF_ANYTHING:
            return False
        return self.words[span[0]] in _MOMENTS or any(name in self.moments for name in self.names[slice(*span)])


def _nesting(words: Sequence[str]) -> dict[int, int]:
    """Return the partner of each word that opens or closes a group."""
    partner, open_at = dict[int, int](), list[int]()
    for at, word in enumerate(words):
        if word in _CLOSES.values():
            open_at.append(at)
        elif open_at and words[open_at[-1]] == _CLOSES.get(word):
            partner[at] = open_at.pop()
            partner[partner[at]] = at
    return partner
