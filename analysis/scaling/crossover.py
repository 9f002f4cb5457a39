"""The crossing of two fitted curves, where one recipe overtakes another, as a distribution and not a number.

A recipe that is better at affordable sizes may be worse at the target size: the result is the probability that the
curves cross inside the range of interest, and where.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweeplaw.analysis.adequacy.advice import failure
from sweeplaw.analysis.fitting.derived.allocation import FLOPS_PER_ND, is_surface
from sweeplaw.analysis.fitting.derived.frontier import frontier
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.fitting.uncertainty import Interval, percentile
from sweeplaw.analysis.scaling.validation import require_same_objective
from sweeplaw.analysis.tables.display import Shown, finite
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import percent

Array = np.ndarray
Curve = Callable[[Fit, Array, Array], Array]

POINTS = 513  # on the logarithm of the range; a crossing is then interpolated between two of them


@dataclass(frozen=True, slots=True, repr=False)
class Crossing(Shown):
    """The crossing of curve A and curve B on a range of the horizontal axis.

    ``estimate`` is where the two point estimates cross, None when they do not inside the range. ``probability`` is the
    share of paired draws that cross at all; ``interval`` is of those that do. ``overtakes`` is the share in which A is
    below B at the far end though not at the near end. ``multiple`` counts draws that cross more than once (the last
    crossing is taken). ``within`` is the interval over all draws of where the ``winner`` comes to be ahead for good:
    -inf where it is ahead all along, inf where it is not ahead at the far end.
    """

    axis: str
    low: float
    high: float
    estimate: float | None
    probability: float
    interval: Interval
    a_better_at_low: float
    a_better_at_high: float
    overtakes: float
    multiple: int
    draws: Array
    within: Interval

    @property
    def winner(self) -> str:
        """The curve that is ahead (lower) at the far end in most draws, A or B."""
        return "A" if self.a_better_at_high >= 0.5 else "B"

    @property
    def located(self) -> bool:
        """Whether the draws show that one curve overtakes the other inside the range, between two finite places."""
        return bool(np.isfinite([self.within.low, self.within.high]).all())

    def verdict(self) -> str:
        """Return a sentence on what the draws show about the crossing."""
        low, high, level = self.within.low, self.within.high, percent(self.within.level)
        one, other = (self.winner, "B" if self.winner == "A" else "A")
        span = f"{self.axis} = {self.low:.3g} and {self.high:.3g}"
        if self.located:
            return (
                f"{one} overtakes {other} between {self.axis} = {low:.4g} and {high:.4g} ({level} of the paired draws)"
            )
        if low == high:
            return f"{one} is ahead of {other} everywhere between {span} ({level} of the paired draws)"
        if np.isfinite(low):
            return f"{one} does not overtake {other} before {self.axis} = {low:.4g} ({level}); if it does: cannot tell"
        if np.isfinite(high):
            return f"{one} is ahead of {other} from {self.axis} = {high:.4g} on ({level}); from where on: cannot tell"
        return f"cannot tell whether {one} overtakes {other} between {span}, nor where"

    def headline(self) -> tuple[str, ...]:
        """Return where the curves cross, how likely that is, and the verdict."""
        share = percent(self.probability, ".0f")
        ends = f"[{self.interval.low:.4g}, {self.interval.high:.4g}] in {share} of the paired draws"
        if self.estimate is None:
            ends = f"of the fitted curves; those of draws cross within {ends}" if self.probability else "in any draw"
        where = "no crossing" if self.estimate is None else f"crossing at {self.axis} = {self.estimate:.4g}"
        span = f"between {self.axis} = {self.low:.3g} and {self.high:.3g}"
        return (f"{where} {ends}", f"A overtakes B {span} in {percent(self.overtakes, '.0f')} of them", self.verdict())

    def to_dict(self) -> dict[str, Any]:
        """Return the crossing as plain values for JSON, without its draws."""
        values = {name: getattr(self, name) for name in self.__slots__ if name not in ("draws", "interval", "within")}
        intervals = {"interval": self.interval.values(), "within": self.within.values()}
        return dict(finite({**values, **intervals, "located": self.located, "verdict": self.verdict()}))


def crossover(
    a: Fit,
    b: Fit,
    low: float,
    high: float,
    *,
    fixed: dict[str, float] | None = None,
    k: float = FLOPS_PER_ND,
    seed: int = 0,
    force: bool = False,
) -> Crossing:
    """Return where A overtakes B between ``low`` and ``high``.

    The axis is the one input of two laws of one input; for two laws of N and D it is compute, each law at its own
    optimal allocation, or the one input that ``fixed`` does not fix. Both fits need bootstrap draws of the same
    objective. Raise InputError otherwise, and, without ``force``, if a law is inadequate or its optimum not verified.
    """
    require_same_objective(a, b)
    if a.draws is None or b.draws is None:
        raise InputError("a crossover needs bootstrap draws of both fits: fit with bootstrap=1000")
    if not 0 < low < high:
        raise InputError(f"the range is [{low:g}, {high:g}] (accepted: 0 < low < high)")
    grid = np.geomspace(low, high, POINTS)
    axis, curve = _curves(a, b, fixed or {}, k)
    if not force and (failures := [f"{fit.law.name}: {why}" for fit in (a, b) if (why := failure(fit.adequacy))]):
        raise InputError(failures, hints=["a crossing is not reported for such laws; force=True overrides"])
    first, second = _pair(a.draws.params, b.draws.params, seed)
    difference = curve(a, grid, first) - curve(b, grid, second)
    point = curve(a, grid, a.theta[None]) - curve(b, grid, b.theta[None])
    places, crossings = last_crossing(np.log(grid), difference)
    crossed = crossings > 0
    estimate = last_crossing(np.log(grid), point)[0][0]
    method = f"{int(crossed.sum())} of {len(first)} paired draws that cross"
    interval = percentile(np.exp(places[crossed]) if crossed.any() else np.array([np.nan]), a.level, method)
    below_first, below_last = difference[:, 0] < 0, difference[:, -1] < 0
    return Crossing(
        axis, low, high, None if np.isnan(estimate) else float(np.exp(estimate)), float(crossed.mean()), interval,
        float(below_first.mean()), float(below_last.mean()), float((~below_first & below_last).mean()),
        int(np.sum(crossings > 1)), np.exp(places), _ahead(np.exp(places), crossed, below_last, a.level),
    )  # fmt: skip


def _ahead(places: Array, crossed: Array, below_last: Array, level: float) -> Interval:
    """Return the interval of where the curve that is ahead at the far end in most draws comes to be so, over all."""
    wins = below_last if below_last.mean() >= 0.5 else ~below_last
    ahead = np.where(~wins, np.inf, np.where(crossed, places, -np.inf))
    low, high = np.quantile(ahead, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return Interval(float(low), float(high), level, f"{len(ahead)} paired draws")


def _pair(a: Array, b: Array, seed: int) -> tuple[Array, Array]:
    """Return two sets of draws paired at random, the smaller one repeated."""
    rng, count = np.random.default_rng(seed), max(len(a), len(b))
    first, second = (draws[rng.permutation(np.resize(np.arange(len(draws)), count))] for draws in (a, b))
    return first, second


def _curves(a: Fit, b: Fit, fixed: dict[str, float], k: float) -> tuple[str, Curve]:
    """Return the axis and a function (fit, grid, parameters) -> losses (batch, points)."""
    if is_surface(a) and is_surface(b) and not fixed:
        return "C", lambda fit, grid, theta: frontier(fit, grid, k, theta)[1]
    free = [sorted(set(fit.law.inputs) - set(fixed)) for fit in (a, b)]
    if free[0] != free[1] or len(free[0]) != 1:
        raise InputError(
            f"curves need one common axis: {a.law.name} has {', '.join(a.law.inputs)}, {b.law.name} "
            f"{', '.join(b.law.inputs)}, fixed {', '.join(fixed) or 'nothing'}"
        )
    axis = free[0][0]
    return axis, lambda fit, grid, theta: fit.predictions({axis: grid, **fixed}, theta)


def last_crossing(places: Array, difference: Array) -> tuple[Array, Array]:
    """Return the last place where each row (batch, points) changes sign, NaN if none, and the number of changes."""
    sign = difference < 0
    changes = sign[:, 1:] != sign[:, :-1]
    count = changes.sum(axis=1)
    after = changes.shape[1] - np.argmax(changes[:, ::-1], axis=1)
    rows = np.arange(len(difference))
    left, right = difference[rows, after - 1], difference[rows, after]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = left / (left - right)
        place = places[after - 1] + share * (places[after] - places[after - 1])
    return np.where(count > 0, place, np.nan), count
