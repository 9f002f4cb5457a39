"""Which of many dots a chart draws: as many as a page can hold, spread evenly over all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

MOST_DOTS = 1_500  # of one chart


def most_even(values: Sequence[T], most: int) -> list[T]:
    """Return the ordered ``values``, of more than ``most`` this many spread evenly, ends included."""
    if len(values) <= most:
        return list(values)
    return [values[round(k * (len(values) - 1) / (most - 1))] for k in range(most)]


def drawn_dots(count: int) -> list[int]:
    """Return which of ``count`` dots in order are drawn: all, or `MOST_DOTS` of them, spread evenly."""
    return most_even(range(count), MOST_DOTS)


def dots_note(count: int, *, listed: bool = True) -> str:
    """Return how many of ``count`` dots are drawn, and ``listed`` in the table, as a sentence; empty if all are."""
    table = " and in the table" if listed else ""
    return f" {MOST_DOTS:,} of {count:,} are drawn{table}." if count > MOST_DOTS else ""
