"""Number formats by their codes and rounding by comparison with every number, in exact arithmetic: slow and plain."""

from __future__ import annotations

from bisect import bisect_left
from fractions import Fraction


def numbers(mantissa_bits: int, bias: int, codes: int) -> list[Fraction]:
    """The values of the first ``codes`` codes without a sign, in ascending order: a code is exponent, then mantissa."""
    values = []
    for code in range(codes):
        exponent, mantissa = divmod(code, 2**mantissa_bits)
        significand = Fraction(mantissa, 2**mantissa_bits) + (exponent > 0)
        values.append(significand * Fraction(2) ** (max(exponent, 1) - bias))
    return values


# E4M3 has one NaN, its last code; E5M2 keeps its last exponent for infinity and NaN; E2M1 has neither
E4M3 = numbers(3, 7, 127)
E5M2 = numbers(2, 15, 124)
E2M1 = numbers(1, 1, 8)


def nearest(value: float | Fraction, values: list[Fraction]) -> Fraction:
    """The number nearest to ``value``, of two the one with an even code; the largest of its sign beyond it."""
    exact = Fraction(value)
    size = abs(exact)
    above = bisect_left(values, size)
    if above == len(values):
        size = values[-1]
    elif values[above] != size:
        down, up = size - values[above - 1], values[above] - size
        size = values[above - 1] if down < up or (down == up and above % 2) else values[above]
    return size if exact > 0 else -size
