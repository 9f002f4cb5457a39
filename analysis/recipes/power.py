"""Tests of a mean difference: its interval and p value, how many runs would settle it, and corrections for many tests.

Student's t and its noncentral form (scipy.stats); Holm 1979 for several comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize, stats

POWER = 0.8  # chance that a test finds a true difference of the size in question
CERTAIN = 60.0  # standard errors of a mean at which two runs or more always show it
MOST_RUNS = 10_000  # a recipe; beyond that a difference is called out of reach


def half_width(error: float, dof: float, level: float) -> float:
    """Return half the width of the interval of a mean with this standard error."""
    return float(stats.t.ppf((1 + level) / 2, dof) * error)


def p_value(mean: float, error: float, dof: float) -> float:
    """Return the two-sided p value of a mean being zero."""
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(mean) / error, dof))


def chance(effect: float, deviation: float, runs: int, level: float) -> float:
    """Return the chance that ``runs`` differences of standard ``deviation`` show a mean difference of ``effect``."""
    if effect and abs(effect) * math.sqrt(runs) > CERTAIN * deviation:
        return 1.0
    dof = runs - 1
    threshold = stats.t.ppf((1 + level) / 2, dof)
    shift = abs(effect) / deviation * math.sqrt(runs)
    found = float(stats.nct.sf(threshold, dof, shift) + stats.nct.cdf(-threshold, dof, shift))
    return found if math.isfinite(found) else _approximate(threshold, dof, shift)


def _approximate(threshold: float, dof: float, shift: float) -> float:
    """Return the chance by the normal approximation of the noncentral t (Abramowitz and Stegun 26.7.10).

    scipy has no number for some small shifts, and for some chances of almost one.
    """
    scale = math.sqrt(1 + threshold**2 / (2 * dof))
    middle = threshold * (1 - 1 / (4 * dof))
    return float(stats.norm.sf((middle - shift) / scale) + stats.norm.cdf((-middle - shift) / scale))


def runs_needed(effect: float, deviation: float, level: float, power: float = POWER) -> int | None:
    """Return the least number of differences that show ``effect`` with this power; None above `MOST_RUNS`."""
    if effect == 0 or chance(effect, deviation, MOST_RUNS, level) < power:
        return None
    low, high = 1, 2
    while chance(effect, deviation, high, level) < power:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if chance(effect, deviation, middle, level) >= power else (middle, high)
    return high


def detectable(deviation: float, runs: int, level: float, power: float = POWER) -> float | None:
    """Return the smallest difference that ``runs`` differences would show with this power; None for fewer than two."""
    if runs < 2:
        return None
    if deviation == 0:
        return 0.0
    high = deviation
    while chance(high, deviation, runs, level) < power:
        high *= 2
    return float(optimize.brentq(lambda effect: chance(effect, deviation, runs, level) - power, 0.0, high, rtol=1e-6))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Return the p values corrected for their number by Holm's method; None (no test) stays None."""
    known = [index for index, value in enumerate(values) if value is not None]
    corrected: list[float | None] = [None] * len(values)
    order = sorted(known, key=lambda index: values[index] or 0.0)
    steps = [(len(known) - rank) * (values[index] or 0.0) for rank, index in enumerate(order)]
    for index, value in zip(order, np.maximum.accumulate(steps) if steps else (), strict=True):
        corrected[index] = min(1.0, float(value))
    return corrected


def p_text(value: float | None) -> str:
    """Return a p value for a table: – for None, and a bound for one that is smaller than a float can be."""
    if value is None:
        return "–"
    return f"{value:.2g}" if value else "< 1e-300"
