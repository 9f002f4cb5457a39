"""Profile likelihood: how far one parameter can move while the others stay optimal.

A flat profile is a finding: the data do not identify the parameter on that side, whatever the point estimate is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from sweeplaw.analysis.fitting.deviance import deviance_scale
from sweeplaw.analysis.fitting.noise.noise import INDEPENDENT, Noise
from sweeplaw.analysis.fitting.solver.derivatives import BLOCK, differentiate
from sweeplaw.analysis.fitting.solver.newton import Minimum, minimise
from sweeplaw.analysis.fitting.solver.solve import Setup, Solution, residual_scale, smoothed, with_frozen
from sweeplaw.analysis.fitting.solver.starts import project
from sweeplaw.analysis.fitting.uncertainty import Interval

Array = np.ndarray

POINTS = 41  # on a profile; its ends are interpolated on the root of the deviance, which is nearly straight
MANY_ROWS = 1 << 11  # beyond which the quadratic model predicts the other parameters, and FEW_POINTS suffice:
FEW_POINTS = 9  # measured at 4,000 rows: they move an end by a thousandth of the interval
REACH_ERRORS = 3.0 ** np.arange(0, 8)  # standard errors at which the threshold is sought before a side counts as open
NEAR_OFFSETS = 3  # tried together; farther ones, which take many steps, only if the threshold is not passed by then
STEPS, NEIGHBOUR_STEPS = 100, 30  # of the solver, from the quadratic model and from the optimum of a neighbour
ROUNDS, LOWER = 6, 1e-4  # of both neighbours, and by which part of itself a value must fall for another round
TOLERANCE = 1e-9  # relative Newton decrease of a profile point; thresholds are of relative order 1/n
LEAST_ERROR = 1e-12  # relative: rows without noise leave a smaller one, of which no multiple moves a double
NO_END = "no end of an interval was found"
MAX_FACTOR = 1e3  # on each side of the estimate, for a parameter searched on its logarithm


@dataclass(frozen=True, slots=True)
class ProfileLikelihood:
    """The profile of one parameter: values in the law's units, relative excess of the objective, deviance at each."""

    name: str
    estimate: float
    values: Array
    excess: Array
    deviance: Array
    threshold: float
    interval: Interval
    identified: bool
    verdict: str


@dataclass(frozen=True, slots=True)
class _Line:
    """One coordinate of a fit in the law's own units: the setup, the optimum, and the slopes of the others along it."""

    setup: Setup
    theta: Array
    index: int
    error: float
    slopes: Array

    @property
    def log(self) -> bool:
        """Whether the coordinate is searched on its logarithm."""
        return bool(self.setup.box.log[self.index])


def profile(
    setup: Setup, solution: Solution, name: str, level: float = 0.95, points: int | None = None,
    noise: Noise = INDEPENDENT,
) -> ProfileLikelihood:  # fmt: skip
    """Return the profile of one parameter over a range wide enough for its interval, or up to the search limits.

    It has ``points`` points: by default POINTS, or FEW_POINTS beyond MANY_ROWS rows. Under ``noise`` that runs
    share, or whose spread changes, the deviance is divided by the sandwich variance over that of independent noise
    (Chandler & Bate 2007).
    """
    points = points or (FEW_POINTS if _has_many_rows(setup) else POINTS)
    index = setup.law.names.index(name)
    line = _line(setup, solution.theta, index)
    if line.log and not 0 < line.theta[index] < math.inf:
        return _without_logarithm(name, float(line.theta[index]), level)
    best = float(_at(line, np.zeros(1)).value[0])
    scale = deviance_scale(line.setup, line.theta)
    if wider := noise.spread(line.setup, line.theta, np.eye(len(line.theta))[index]):
        scale = wider.widen(scale)
    threshold = scale.threshold(level)
    low, high = (_reach(line, side, best, scale.factor, threshold) for side in (-1.0, 1.0))
    half = points // 2
    offsets = np.concatenate([np.linspace(low, 0, half + 1)[:-1], np.linspace(0, high, points - half)])
    found = _along(line, offsets)
    best = min(best, float(np.min(found.value)))
    deviance = (found.value - best) * scale.factor
    values = found.theta[:, index]
    interval, identified, verdict = _interval(line, name, values, deviance, threshold, level)
    interval = replace(interval, method=f"{interval.method}{noise.method}")
    excess = found.value / max(best, 1e-300) - 1
    return ProfileLikelihood(
        name, float(line.theta[index]), values, excess, deviance, threshold, interval, identified, verdict
    )


def _has_many_rows(setup: Setup) -> bool:
    return setup.problem.bound.rows > MANY_ROWS


def _without_logarithm(name: str, estimate: float, level: float) -> ProfileLikelihood:
    """Return the profile of a coefficient that vanished or overflowed, and so has no logarithm to move along."""
    note = f"not identified: it is {estimate:g} at the optimum"
    interval = Interval(0.0, math.inf, level, "profile likelihood", note)
    none = np.array([])
    return ProfileLikelihood(name, estimate, none, none, none, math.nan, interval, False, f"{name} is {note}")


def _line(setup: Setup, theta: Array, index: int) -> _Line:
    """Return the line through an optimum along coordinate ``index``, as the law's own parameter."""
    setup, vectors = own_units(smoothed(setup, theta), theta[None], index)
    theta = vectors[0]
    at = differentiate(setup.problem, theta[None], np.array([_smoothing_delta(setup, theta)]))
    chain = np.where(setup.box.log, theta, 1.0)
    free = ~setup.box.frozen & ((theta > setup.box.low) | (np.arange(len(theta)) == index))
    curvature = (at.curvature[0] * chain * chain[:, None])[np.ix_(free, free)]
    place = int(np.sum(free[:index]))
    size = np.sqrt(np.maximum(np.abs(np.diag(curvature)), 1e-300))  # coordinates of any size get unit curvature
    inverse = np.linalg.pinv(curvature / size[:, None] / size, rcond=1e-12, hermitian=True)
    column = inverse[:, place] / size / size[place]
    slopes = np.zeros(len(theta))
    if column[place] > 0:
        slopes[free] = column / column[place]
    slopes[index] = 1.0
    factor = deviance_scale(setup, theta).factor
    error = math.sqrt(max(column[place], 0.0) * 2 / factor) if factor > 0 else 0.0
    natural = 0.1 if setup.box.log[index] else 0.05 * (abs(theta[index]) or 1.0)
    least = LEAST_ERROR * 10 * natural
    return _Line(setup, theta, index, max(min(error, 10 * natural), least) if error > 0 else natural, slopes)


def own_units(setup: Setup, theta: Array, index: int) -> tuple[Setup, Array]:
    """Return the setup and vectors (batch, p) in which coordinate ``index`` is the law's own parameter.

    A coefficient such as A mixes the centred coordinates, so its law is bound to uncentred inputs, where its logarithm
    and the exponent form a straight valley.
    """
    if not setup.law.scaled or setup.law.free[index].scale == "1":
        return setup, theta.copy()
    return _uncentred(setup), setup.to_law_units(theta)


def _smoothing_delta(setup: Setup, theta: Array) -> float:
    return max(setup.delta, float(residual_scale(setup.problem, theta) * setup.problem.bound.rows**-0.2))


def _uncentred(setup: Setup) -> Setup:
    function = setup.law.function
    columns = {str(function.graph.nodes[node][2]): column for node, column in setup.problem.bound.columns.items()}
    data = [columns[name][0] * middle for name, middle in zip(function.variables, setup.centre, strict=True)]
    log = setup.box.log | np.array([param.scale != "1" for param in setup.law.free])
    box = replace(setup.box, log=log, low=np.where(log, np.maximum(setup.box.low, 1e-300), setup.box.low))
    problem = replace(setup.problem, bound=function.bind(data))
    return replace(setup, problem=problem, box=box, centre=(1.0,) * len(data))


def _at(line: _Line, offsets: Array, starts: Array | None = None) -> Minimum:
    """Return the optimum of the others with the coordinate, or its logarithm, moved by each offset."""
    setup, index, theta = line.setup, line.index, line.theta
    held = with_frozen(setup, index).box
    steps = STEPS if starts is None else NEIGHBOUR_STEPS
    fresh = starts is None and not _has_many_rows(setup)
    starts = np.clip(_quadratic_model(line, offsets) if starts is None else starts, held.low, held.high)
    moved = theta[index] * np.exp(offsets) if held.log[index] else theta[index] + offsets
    starts[:, index] = np.clip(moved, held.low[index], held.high[index])
    linear = tuple(item for item in setup.problem.bound.function.linear if not held.frozen[item])
    if fresh and linear:
        with np.errstate(all="ignore"):
            starts = project(setup.problem, starts, linear, held, setup.delta)
    initial = residual_scale(setup.problem, theta) if fresh else 0.0
    return minimise(
        setup.problem, starts, setup.delta, held, initial_delta=initial, tolerance=TOLERANCE, max_steps=steps
    )


def _quadratic_model(line: _Line, offsets: Array) -> Array:
    """Return the vectors that the quadratic model of the objective predicts when the coordinate moves."""
    log = line.setup.box.log
    inner = np.where(log, np.log(np.maximum(line.theta, 1e-300)), line.theta)
    moved = inner + offsets[:, None] * line.slopes
    return np.where(log, np.exp(np.where(log, moved, 0.0)), moved)


def _along(line: _Line, offsets: Array) -> Minimum:
    """Return the optimum at every offset, reached also from its neighbours' optima, as often as that lowers any."""
    found = _at(line, offsets)
    for _ in range(ROUNDS):
        before = found.value
        for shift in (1, -1):
            found = found.lower(_at(line, offsets, np.roll(found.theta, shift, axis=0)))
        if np.all(found.value >= before * (1 - LOWER)):
            break
    return found


def _reach(line: _Line, side: float, best: float, factor: float, threshold: float) -> float:
    """Return the first offset at which the deviance is well above the threshold, or else the farthest one tried."""
    limit = _limit(line, side)
    offsets = np.unique(np.minimum(REACH_ERRORS * line.error, limit))
    batch = min(NEAR_OFFSETS, max(1, BLOCK // line.setup.problem.bound.rows))
    for first in range(0, len(offsets), batch):
        some = offsets[first : first + batch]
        deviance = (_at(line, side * some).value - best) * factor
        over = np.flatnonzero(deviance > 1.3 * threshold)
        if over.size:
            return side * float(some[over[0]])
    return side * float(offsets[-1])


def _limit(line: _Line, side: float) -> float:
    box, index, value = line.setup.box, line.index, float(line.theta[line.index])
    end = float(box.high[index] if side > 0 else box.low[index])
    if box.log[index]:
        return min(math.log(MAX_FACTOR), abs(math.log(max(end, 1e-300)) - math.log(value)))
    return abs(end - value) if math.isfinite(end) else MAX_FACTOR * (abs(value) or 1.0)


def _interval(
    line: _Line, name: str, values: Array, deviance: Array, threshold: float, level: float
) -> tuple[Interval, bool, str]:
    """Return the interval where the deviance crosses the threshold, whether both ends exist, and the verdict."""
    index, bound = line.index, line.setup.box.low[line.index] * (1 + 1e-9)
    centre = int(np.argmin(np.abs(values - line.theta[index])))
    scale = np.log(values) if line.log else values
    low = _crossing(scale[: centre + 1][::-1], deviance[: centre + 1][::-1], threshold)
    high = _crossing(scale[centre:], deviance[centre:], threshold)
    low, high = (math.exp(end) if line.log and end is not None else end for end in (low, high))
    low = None if low is not None and low <= bound else low
    note = _open(low, high, float(values[0]), float(values[-1]), bound)
    lowest = float(values[0]) if values[0] <= bound else -math.inf
    lowest = max(lowest, 0.0) if line.setup.law.free[index].low >= 0 else lowest
    ends = (lowest if low is None else float(low), math.inf if high is None else float(high))
    interval = Interval(*ends, level, "profile likelihood", note)
    return interval, not note, f"{name} is {note or 'identified on both sides'}"


def _open(low: float | None, high: float | None, first: float, last: float, bound: float) -> str:
    """Return which ends are missing, given the ends found and the range searched; empty if only the bound is reached.

    A range that has no width in three digits is not named.
    """
    if high is None:
        least = first if low is None else low
        known = "" if low is None else f"it is at least {low:.3g}, and "
        range_tried = f"any larger value up to {last:.3g}" if known else f"any value from {least:.3g} to {last:.3g}"
        wide = f"{least:.3g}" != f"{last:.3g}"
    elif low is None and first > bound:
        known = f"it is at most {high:.3g}, and "
        range_tried, wide = f"any smaller value down to {first:.3g}", f"{high:.3g}" != f"{first:.3g}"
    else:
        return ""
    return f"not identified: {known}{range_tried} fits as well" if wide else f"not identified: {NO_END}"


def _crossing(places: Array, deviance: Array, threshold: float) -> float | None:
    """Return where the deviance, away from the estimate, first passes the threshold; None if it never does."""
    over = np.flatnonzero(deviance > threshold)
    if not over.size or over[0] == 0:
        return None if not over.size else float(places[0])
    after = int(over[0])
    roots = np.sqrt(np.maximum(deviance[after - 1 : after + 1], 0.0))
    share = (math.sqrt(threshold) - roots[0]) / max(roots[1] - roots[0], 1e-300)
    return float(places[after - 1] + share * (places[after] - places[after - 1]))
