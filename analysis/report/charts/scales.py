"""Axes of a chart: from values to places on the page, with ticks at round values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sweeplaw.analysis.report.charts.numbers import people

Label = Callable[[float], str]

FARTHEST = 1e300  # ends of an axis: beyond, its length is no double


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis from ``low`` to ``high``, logarithmic if ``log``; ``title`` includes the unit, ``label`` writes a tick.

    ``marks`` are its ticks, chosen by `ticks` where there are none.
    """

    title: str
    low: float
    high: float
    log: bool = False
    label: Label = people
    marks: tuple[float, ...] = ()

    def share(self, value: float) -> float:
        """Return where ``value`` lies: 0 at ``low``, 1 at ``high``."""
        if self.log:
            return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """Return at most about ``most`` round values inside, with their labels."""
        values = [v for v in self.marks if self.inside(v)] or (_log_ticks if self.log else _ticks)(self, most)
        places = _places(values) if not self.log and self.label is people else None
        return [(value, self.label(value) if places is None else f"{value:,.{places}f}") for value in values]

    def inside(self, value: float) -> bool:
        """Return whether ``value`` lies on the axis, with room for rounding."""
        return math.isfinite(value) and (value > 0 or not self.log) and -1e-9 <= self.share(value) <= 1 + 1e-9


def axis_over(
    values: Iterable[float | None], title: str, *, log: bool = False, room: float = 0.04, label: Label = people
) -> Axis:
    """Return an axis over the finite ``values`` (positive ones if ``log``), with ``room`` as a share on both sides.

    Raise ValueError if there is no such value.
    """
    known = [float(v) for v in values if v is not None and math.isfinite(v) and (v > 0 or not log)]
    if not known:
        raise ValueError(f"{title}: no value to draw")
    least = 1 / FARTHEST if log else -FARTHEST
    low, high = (min(max(end, least), FARTHEST) for end in (min(known), max(known)))
    if log:
        grow = math.exp(min(5.0, room * (math.log(high) - math.log(low)))) if high > low else 2.0
        return Axis(title, low / grow, high * grow, True, label)
    grow = room * (high - low) if high > low else abs(high) * 0.1 or 1.0
    return Axis(title, low - grow, high + grow, False, label)


def rows(count: int) -> tuple[float, ...]:
    """Return 1 to ``count``, the marks of an axis of rows."""
    return tuple(map(float, range(1, count + 1)))


def _ticks(axis: Axis, most: int) -> list[float]:
    rough = (axis.high - axis.low) / max(1, most)
    base = 10.0 ** math.floor(math.log10(rough))
    step = next(base * m for m in (1, 2, 2.5, 5, 10) if base * m >= rough * 0.999)
    first = math.ceil(axis.low / step - 1e-9)
    count = math.floor(axis.high / step + 1e-9) - first
    digits = 12 - min(0, math.floor(math.log10(step)))
    return [round((first + k) * step, digits) for k in range(count + 1)]


def _places(values: list[float]) -> int | None:
    """Return the decimal places that all ticks share; None for ticks that need a unit."""
    if not values or not 1e-4 <= max(map(abs, values)) < 1e3:
        return None
    return max(len(f"{value:.12f}".rstrip("0").split(".")[1]) for value in values)


def _log_ticks(axis: Axis, most: int) -> list[float]:
    low, high = math.log10(axis.low), math.log10(axis.high)
    for digits in ((1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 5), (1, 2, 5), (1, 3)):
        found = [d * 10.0**e for e in range(math.floor(low), min(308, math.ceil(high)) + 1) for d in digits]
        inside = [value for value in found if axis.inside(value)]
        if len(inside) <= most:
            return inside if len(inside) >= 2 else _ticks(axis, most)
    every = math.ceil((high - low) / most)
    return [v for e in range(math.ceil(low), math.floor(high) + 1, every) if axis.inside(v := 10.0**e)]
