"""Digits of a value that its interval deserves."""

from __future__ import annotations

import math

WITHOUT = 4  # significant digits of a value without an interval
MOST = 8  # of any value


def in_step(value: float, low: float | None, high: float | None) -> tuple[str, str, str]:
    """Return a value and the ends of its interval, rounded where the interval's half width has two digits.

    An unknown end is empty. A value whose interval is unknown, open or a point has `WITHOUT` digits, as its ends do.
    """
    ends = [end for end in (low, high) if end is not None and math.isfinite(end)]
    half = (ends[1] - ends[0]) / 2 if len(ends) == 2 else 0.0
    place = 1 - math.floor(math.log10(half)) if 0 < half < math.inf else None
    texts = ["" if number is None else _rounded(number, place) for number in (value, low, high)]
    return texts[0], texts[1], texts[2]


def _rounded(number: float, place: int | None) -> str:
    """Return a number with its last digit at a decimal place: 2 is that of hundredths."""
    if place is None or not number or not math.isfinite(number):
        return f"{number:.{WITHOUT}g}"
    rounded = round(number, place)
    return f"{rounded:.{MOST}g}" if rounded else f"{number:.1g}"
