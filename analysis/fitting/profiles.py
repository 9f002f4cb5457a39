"""Profile likelihood: how far one parameter can move while the others do their best, and whether anything stops it.

A flat profile is a finding: the data do not identify the parameter on that side, whatever the point estimate says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from sweeplaw.analysis.fitting.derivatives import BLOCK, moments
from sweeplaw.analysis.fitting.deviance import yardstick
from sweeplaw.analysis.fitting.newton import Minimum, minimise
from sweeplaw.analysis.fitting.solve import Setup, Solution, frozen, residual_scale, smoothed
from sweeplaw.analysis.fitting.starts import project
from sweeplaw.analysis.fitting.uncertainty import Interval

Array = np.ndarray

POINTS = 41  # on a profile; its ends are interpolated on the root of the deviance, which is nearly straight
MANY = 1 << 16  # rows beyond which the quadratic model says where the others go, and FEW points are enough:
FEW = 5  # at 100,000 rows they move an end by a thousandth of the interval
REACHES = 3.0 ** np.arange(0, 8)  # standard errors looked at before a side is called open
TOLERANCE = 1e-9  # relative Newton decrease of a profile point; thresholds are of relative order 1/n
WIDEST = 1e3  # factor to each side of the estimate that a parameter searched on its logarithm is followed


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
    """One coordinate of a fit, in the law's own units: the setup, the optimum there, and the way the others follow."""

    setup: Setup
    theta: Array
    index: int
    error: float
    follow: Array


def profile(
    setup: Setup, solution: Solution, name: str, level: float = 0.95, points: int | None = None
) -> ProfileLikelihood:
    """The profile of one parameter over a range wide enough for its interval, or to where it is given up.

    ``points`` on it: by default POINTS, or FEW for MANY rows.
    """
    points = points or (FEW if _many(setup) else POINTS)
    index = setup.law.names.index(name)
    line = _line(setup, solution.theta, index)
    if line.setup.box.log[index] and not 0 < line.theta[index] < math.inf:
        return _no_scale(name, float(line.theta[index]), level)
    best = float(_at(line, np.zeros(1)).value[0])
    measure = yardstick(line.setup, line.theta)
    threshold = measure.threshold(level)
    low, high = (_reach(line, side, best, measure.factor, threshold) for side in (-1.0, 1.0))
    half = points // 2
    offsets = np.concatenate([np.linspace(low, 0, half + 1)[:-1], np.linspace(0, high, points - half)])
    found = _along(line, offsets)
    best = min(best, float(np.min(found.value)))
    deviance = (found.value - best) * measure.factor
    values = found.theta[:, index]
    interval, identified, verdict = _read(line, name, values, deviance, threshold, level)
    excess = found.value / max(best, 1e-300) - 1
    return ProfileLikelihood(
        name, float(line.theta[index]), values, excess, deviance, threshold, interval, identified, verdict
    )


def _many(setup: Setup) -> bool:
    return setup.problem.bound.rows > MANY


def _no_scale(name: str, estimate: float, level: float) -> ProfileLikelihood:
    """A coefficient that vanished (or overflowed) at the optimum has no logarithm to move along."""
    note = f"not identified: it is {estimate:g} at the optimum"
    interval = Interval(0.0, math.inf, level, "profile likelihood", note)
    none = np.array([])
    return ProfileLikelihood(name, estimate, none, none, none, math.nan, interval, False, f"{name} {note}")


def _line(setup: Setup, theta: Array, index: int) -> _Line:
    """The line through an optimum along coordinate ``index``, as the law's own parameter."""
    setup, vectors = own_units(smoothed(setup, theta), theta[None], index)
    theta = vectors[0]
    at = moments(setup.problem, theta[None], np.array([_smooth(setup, theta)]))
    chain = np.where(setup.box.log, theta, 1.0)
    free = ~setup.box.frozen & ((theta > setup.box.low) | (np.arange(len(theta)) == index))
    curvature = (at.curvature[0] * chain * chain[:, None])[np.ix_(free, free)]
    place = int(np.sum(free[:index]))
    column = np.linalg.pinv(curvature, rcond=1e-12, hermitian=True)[:, place]
    follow = np.zeros(len(theta))
    if column[place] > 0:
        follow[free] = column / column[place]
    follow[index] = 1.0
    factor = yardstick(setup, theta).factor
    error = math.sqrt(max(column[place], 0.0) * 2 / factor) if factor > 0 else 0.0
    natural = 0.1 if setup.box.log[index] else 0.05 * (abs(theta[index]) or 1.0)
    return _Line(setup, theta, index, min(error, 10 * natural) if error > 0 else natural, follow)


def own_units(setup: Setup, theta: Array, index: int) -> tuple[Setup, Array]:
    """The setup and vectors (batch, p) in which coordinate ``index`` is the law's own parameter.

    A coefficient such as A mixes the centred coordinates, so its law is bound to uncentred inputs, where its logarithm
    and the exponent form a straight valley.
    """
    if not setup.law.scaled or setup.law.free[index].scale == "1":
        return setup, theta.copy()
    return _uncentred(setup), setup.outward(theta)


def _smooth(setup: Setup, theta: Array) -> float:
    return max(setup.delta, residual_scale(setup.problem, theta) * setup.problem.bound.rows**-0.2)


def _uncentred(setup: Setup) -> Setup:
    function = setup.law.function
    columns = {str(function.graph.nodes[node][2]): column for node, column in setup.problem.bound.columns.items()}
    data = [columns[name][0] * middle for name, middle in zip(function.variables, setup.centre, strict=True)]
    log = setup.box.log | np.array([param.scale != "1" for param in setup.law.free])
    box = replace(setup.box, log=log, low=np.where(log, np.maximum(setup.box.low, 1e-300), setup.box.low))
    problem = replace(setup.problem, bound=function.bind(data))
    return replace(setup, problem=problem, box=box, centre=(1.0,) * len(data))


def _at(line: _Line, offsets: Array, starts: Array | None = None) -> Minimum:
    """The optimum of the others with the coordinate moved by each offset (log for those searched on it)."""
    setup, index, theta = line.setup, line.index, line.theta
    held = frozen(setup, index).box
    fresh = starts is None and not _many(setup)
    starts = np.clip(_follow(line, offsets) if starts is None else starts, held.low, held.high)
    moved = theta[index] * np.exp(offsets) if held.log[index] else theta[index] + offsets
    starts[:, index] = np.clip(moved, held.low[index], held.high[index])
    linear = tuple(item for item in setup.problem.bound.function.linear if not held.frozen[item])
    if fresh and linear:
        with np.errstate(all="ignore"):
            starts = project(setup.problem, starts, linear, held, setup.delta)
    begin = residual_scale(setup.problem, theta) if fresh else 0.0
    return minimise(setup.problem, starts, setup.delta, held, begin=begin, tolerance=TOLERANCE, steps=100)


def _follow(line: _Line, offsets: Array) -> Array:
    """Where the quadratic model of the objective puts the others when the coordinate moves."""
    log = line.setup.box.log
    inner = np.where(log, np.log(np.maximum(line.theta, 1e-300)), line.theta)
    moved = inner + offsets[:, None] * line.follow
    return np.where(log, np.exp(np.where(log, moved, 0.0)), moved)


def _along(line: _Line, offsets: Array) -> Minimum:
    """The optimum at every offset; each also starts from where its neighbours ended."""
    found = _at(line, offsets)
    for shift in (1, -1):
        again = _at(line, offsets, np.roll(found.theta, shift, axis=0))
        better = again.value < found.value
        found = Minimum(
            np.where(better[:, None], again.theta, found.theta), np.where(better, again.value, found.value),
            found.decrement, found.converged | again.converged, again.iterations,
        )  # fmt: skip
    return found


def _reach(line: _Line, side: float, best: float, factor: float, threshold: float) -> float:
    """The offset at which the deviance first passes the threshold well, or the farthest that is looked at."""
    limit = _limit(line, side)
    offsets = np.unique(np.minimum(REACHES * line.error, limit))
    together = max(1, BLOCK // line.setup.problem.bound.rows)  # with few rows all cost what one costs
    for first in range(0, len(offsets), together):
        some = offsets[first : first + together]
        deviance = (_at(line, side * some).value - best) * factor
        over = np.flatnonzero(deviance > 1.3 * threshold)
        if over.size:
            return side * float(some[over[0]])
    return side * float(offsets[-1])


def _limit(line: _Line, side: float) -> float:
    box, index, value = line.setup.box, line.index, float(line.theta[line.index])
    end = float(box.high[index] if side > 0 else box.low[index])
    if box.log[index]:
        return min(math.log(WIDEST), abs(math.log(max(end, 1e-300)) - math.log(value)))
    return abs(end - value) if math.isfinite(end) else WIDEST * (abs(value) or 1.0)


def _read(
    line: _Line, name: str, values: Array, deviance: Array, threshold: float, level: float
) -> tuple[Interval, bool, str]:
    """The interval where the deviance crosses the threshold, and what it says about the parameter."""
    centre = int(np.argmin(np.abs(values - line.theta[line.index])))
    scale = np.log(values) if line.setup.box.log[line.index] else values
    low = _crossing(scale[: centre + 1][::-1], deviance[: centre + 1][::-1], threshold)
    high = _crossing(scale[centre:], deviance[centre:], threshold)
    ends = [math.exp(end) if line.setup.box.log[line.index] and end is not None else end for end in (low, high)]
    notes = []
    if ends[0] is None and values[0] > line.setup.box.low[line.index] * (1 + 1e-9):
        notes.append(f"not identified below {_shown(ends[1] or values[-1])}: down to {_shown(values[0])} fits as well")
    if ends[1] is None:
        notes.append(f"not identified above {_shown(ends[0] or values[0])}: up to {_shown(values[-1])} fits as well")
    floor = float(values[0]) if values[0] <= line.setup.box.low[line.index] * (1 + 1e-9) else -math.inf
    floor = max(floor, 0.0) if line.setup.law.free[line.index].low >= 0 else floor
    interval = Interval(
        floor if ends[0] is None else float(ends[0]), math.inf if ends[1] is None else float(ends[1]), level,
        "profile likelihood", "; ".join(notes),
    )  # fmt: skip
    return interval, not notes, f"{name} " + ("; ".join(notes) if notes else "is identified on both sides")


def _shown(value: float) -> str:
    return f"{value:.3g}"


def _crossing(places: Array, deviance: Array, threshold: float) -> float | None:
    """Where the deviance, followed away from the estimate, first passes the threshold: None when it never does."""
    over = np.flatnonzero(deviance > threshold)
    if not over.size or over[0] == 0:
        return None if not over.size else float(places[0])
    after = int(over[0])
    roots = np.sqrt(np.maximum(deviance[after - 1 : after + 1], 0.0))
    share = (math.sqrt(threshold) - roots[0]) / max(roots[1] - roots[0], 1e-300)
    return float(places[after - 1] + share * (places[after] - places[after - 1]))
