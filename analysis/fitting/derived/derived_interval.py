"""The interval of a quantity that a fit implies, such as the best N for a budget, without a bootstrap.

The interval holds the values that the quantity takes on all parameter vectors whose deviance is within the threshold
of one parameter: its profile likelihood interval, found as two constrained optimisations from the ends that the delta
method predicts (Venzon & Moolgavkar 1988 solve the same problem for a parameter). Beyond MANY_ROWS rows the delta
method alone is used: there the two agree. Where the residuals hint at a smooth misfit of the law, the threshold
grows by what that adds to the variance (`noise.misfit`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from scipy.optimize import minimize

from sweeplaw.analysis.fitting.deviance import DevianceScale, deviance_scale
from sweeplaw.analysis.fitting.noise.noise import INDEPENDENT, Noise
from sweeplaw.analysis.fitting.solver.derivatives import differentiate, mean_penalties
from sweeplaw.analysis.fitting.solver.solve import Setup, residual_scale, smoothed
from sweeplaw.analysis.fitting.uncertainty import Interval

Array = np.ndarray

MANY_ROWS = 1 << 16
STEP = 1e-4  # of finite differences, in standard errors of the parameters
FARTHEST = 30.0  # standard errors a parameter may move; a quantity still moving there has no end
SLACK = 0.05  # relative error of the deviance at an end that counts as reached
PRECISION = 1e-7  # of an end, in half widths of the interval: the same on every processor
MOST_STEPS = 300
STARTS = (0.9, 0.3)  # of the way to the end that the delta method predicts; the second if the first leads nowhere
MISFIT = ", widened for the misfit that the residuals hint at"  # appended to the method of an interval
MAX_CONDITION = 1e8  # of the curvature in which directions are measured


@dataclass(frozen=True, slots=True)
class Quantity:
    """A quantity implied by a law. Both functions take vectors (batch, p + m): parameters in the law's units, unknowns.

    ``value`` returns (batch,); ``zero`` returns (batch, m), which vanishes where the m unknowns (such as log N*) are
    what the parameters imply. ``unknowns`` are those at the optimum.
    """

    value: Callable[[Array], Array]
    zero: Callable[[Array], Array]
    unknowns: Array


@dataclass(frozen=True, slots=True)
class _Space:
    """Standardised coordinates around an optimum: parameters in standard errors, then the unknowns as they are."""

    setup: Setup
    theta: Array
    free: Array
    covariance: Array
    scale: DevianceScale
    best: float
    delta: float
    quantity: Quantity

    @property
    def errors(self) -> Array:
        return np.sqrt(np.diag(self.covariance))

    def centred(self, places: Array) -> Array:
        """Return parameter vectors in centred units at the places (batch, f + m)."""
        theta = np.tile(self.theta, (len(places), 1))
        theta[:, self.free] += places[:, : len(self.free)] * self.errors
        return np.asarray(np.clip(theta, self.setup.box.low, self.setup.box.high))

    def extended(self, places: Array) -> Array:
        """Return vectors in the law's units with the unknowns behind them."""
        law = self.setup.to_law_units(self.centred(places))
        return np.concatenate([law, self.quantity.unknowns + places[:, len(self.free) :]], axis=1)


@np.errstate(all="ignore")
def derived_interval(
    setup: Setup, theta: Array, quantity: Quantity, level: float, noise: Noise = INDEPENDENT
) -> Interval:
    """Return the interval of a quantity at the optimum ``theta`` (p,), in centred units, under this noise."""
    space = _space(smoothed(setup, theta), theta, quantity)
    if space is None:
        return Interval(-math.inf, math.inf, level, "profile likelihood", "the rows do not determine the parameters")
    middle, slope = _delta_method(space)
    direction = np.zeros(len(theta))
    direction[space.free] = slope
    if wider := noise.spread(space.setup, theta, direction):
        space = replace(space, scale=wider.widen(space.scale), covariance=space.covariance * wider.ratio)
    method = noise.method
    plain = float(slope @ space.covariance @ slope)
    if plain > 0 and (added := noise.variance_of_misfit(direction)):
        ratio = 1 + added / plain
        scale = replace(space.scale, factor=space.scale.factor / ratio)
        space, method = replace(space, scale=scale, covariance=space.covariance * ratio), f"{method}{MISFIT}"
    reach = math.sqrt(space.scale.threshold(level))
    error = math.sqrt(max(float(slope @ space.covariance @ slope), 0.0))
    if error == 0 or not math.isfinite(error * reach) or setup.problem.bound.rows > MANY_ROWS:
        wide = reach * error if math.isfinite(error * reach) else math.inf
        return Interval(middle - wide, middle + wide, level, f"delta method{method}")
    low, high = (_end(space, sign, slope, error, reach, middle) for sign in (-1.0, 1.0))
    note = "" if math.isfinite(low) and math.isfinite(high) else "no end was found on one side or both"
    return Interval(low, high, level, f"profile likelihood{method}", note)


def _space(setup: Setup, theta: Array, quantity: Quantity) -> _Space | None:
    """Return the coordinates around the optimum; None if the rows do not determine the parameters there."""
    box = setup.box
    free = np.flatnonzero(~box.frozen & (theta > box.low) & (theta < box.high))
    delta = max(setup.delta, float(residual_scale(setup.problem, theta) * setup.problem.bound.rows**-0.2))
    curvature = differentiate(setup.problem, theta[None], np.array([delta])).curvature[0][np.ix_(free, free)]
    scale = deviance_scale(setup, theta)
    size = np.sqrt(np.maximum(np.abs(np.diag(curvature)), 1e-300))
    scaled = curvature / size[:, None] / size
    if not scale.freedom or not free.size or not np.isfinite(scaled).all() or not scale.factor > 0:
        return None
    values, vectors = np.linalg.eigh(scaled)
    known = np.maximum(np.abs(values), np.abs(values).max() / MAX_CONDITION)  # only a scale: the ends are sought
    covariance = (vectors / known) @ vectors.T / size[:, None] / size * 2 / scale.factor
    best = float(differentiate(setup.problem, theta[None], np.array([setup.delta])).value[0])
    return _Space(setup, theta, free, covariance, scale, best, setup.delta, quantity)


def _jacobian(function: Callable[[Array], Array], place: Array) -> Array:
    """Return the central differences of a function of places (batch, k): (values, k)."""
    steps = STEP * np.eye(len(place))
    ends = function(np.concatenate([place + steps, place - steps])).reshape(2, len(place), -1)
    return np.asarray((ends[0] - ends[1]).T / (2 * STEP))


def _value(space: _Space, places: Array) -> Array:
    return space.quantity.value(space.extended(places))


def _zero(space: _Space, places: Array) -> Array:
    return space.quantity.zero(space.extended(places))


def _delta_method(space: _Space) -> tuple[float, Array]:
    """Return the quantity at the optimum and its slopes by the free parameters, in centred units, unknowns solved."""
    count, unknowns = len(space.free), len(space.quantity.unknowns)
    here = np.zeros(count + unknowns)
    slope = _jacobian(partial(_value, space), here)[0]
    direct = slope[:count]
    if unknowns:
        bend = _jacobian(partial(_zero, space), here)
        direct = direct - slope[count:] @ np.linalg.lstsq(bend[:, count:], bend[:, :count], rcond=None)[0]
    return float(_value(space, here[None])[0]), direct / space.errors


def _end(space: _Space, sign: float, slope: Array, error: float, reach: float, middle: float) -> float:
    """Return the least (sign -1) or largest (+1) value of the quantity within the deviance, infinite without one."""
    ahead = sign * reach * (space.covariance @ slope) / error / space.errors
    start = np.concatenate([ahead, np.zeros(len(space.quantity.unknowns))])
    for share in STARTS:
        found = minimize(
            lambda place: -sign * float(_value(space, place[None])[0] - middle) / (error * reach), share * start,
            jac=lambda place: -sign * _jacobian(partial(_value, space), place)[0] / (error * reach),
            bounds=_bounds(space), constraints=_constraints(space, reach * reach), method="SLSQP",
            options={"maxiter": MOST_STEPS, "ftol": PRECISION},
        )  # fmt: skip
        if _is_end(space, found.x, bool(found.success), reach * reach):
            return float(_value(space, found.x[None])[0])
    return sign * math.inf


def _is_end(space: _Space, place: Array, settled: bool, threshold: float) -> bool:
    """Return whether a place is within the deviance, and an end: found as one, or at the threshold itself.

    At the kinks of a penalty the steps may not settle. Near FARTHEST there is no end.
    """
    left = _room(space, place, threshold)
    near = bool(np.all(np.abs(place[: len(space.free)]) < FARTHEST * 0.999))
    return near and left > -SLACK and (settled or left < SLACK) and math.isfinite(float(_value(space, place[None])[0]))


def _constraints(space: _Space, threshold: float) -> list[dict[str, Any]]:
    """Return that the deviance is within the threshold, and the unknowns are what the parameters imply."""
    within = {"type": "ineq", "fun": partial(_room, space, threshold=threshold),
              "jac": partial(_room_slope, space, threshold=threshold)}  # fmt: skip
    implied = {"type": "eq", "fun": lambda place: _zero(space, place[None])[0],
               "jac": lambda place: _jacobian(partial(_zero, space), place)}  # fmt: skip
    return [within, implied] if len(space.quantity.unknowns) else [within]


def _room(space: _Space, place: Array, threshold: float) -> float:
    """Return one minus the deviance at a place over the threshold."""
    value = mean_penalties(space.setup.problem, space.centred(place[None]), np.array([space.delta]))[0]
    return float(1 - (value - space.best) * space.scale.factor / threshold)


def _room_slope(space: _Space, place: Array, threshold: float) -> Array:
    at = differentiate(space.setup.problem, space.centred(place[None]), np.array([space.delta]))
    ahead = -at.gradient[0][space.free] * space.errors * space.scale.factor / threshold
    return np.concatenate([ahead, np.zeros(len(place) - len(space.free))])


def _bounds(space: _Space) -> list[tuple[float | None, float | None]]:
    """Return the bounds of the places: those of the search, and FARTHEST; none for the unknowns."""
    low, high = (side[space.free] - space.theta[space.free] for side in (space.setup.box.low, space.setup.box.high))
    ends = zip(np.maximum(low / space.errors, -FARTHEST), np.minimum(high / space.errors, FARTHEST), strict=True)
    return [*((float(one), float(other)) for one, other in ends), *[(None, None)] * len(space.quantity.unknowns)]
