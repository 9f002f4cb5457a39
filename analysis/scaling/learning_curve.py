"""Forecast of a run's final loss from the beginning of its curve, and the first step at which it was predictable.

Several families are fitted to the prefix and averaged by their errors in forecasting the prefix's own later part. The
interval comes from the same backtests: the error of a forecast grows with the logarithm of its horizon, and its rate is
measured on this run (assumption: the rest of the run behaves as its prefix did; a schedule that decays only after the
prefix does not).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import t as student

from sweeplaw.analysis.fitting.solver.newton import minimise
from sweeplaw.analysis.fitting.solver.objectives import Objective
from sweeplaw.analysis.fitting.solver.solve import QUICK_TOLERANCE, START_STEPS, Setup, quick, residual_scale, set_up
from sweeplaw.analysis.laws.catalog import ASYMPTOTE
from sweeplaw.analysis.laws.law import MAX_EXPONENT, Law, Param
from sweeplaw.trials.errors import InputError

Array = np.ndarray

_C = Param("C", "nats/token")
_A = Param("A", start=(0.01, 10.0))
FAMILIES: tuple[Law, ...] = (
    ASYMPTOTE,
    Law(
        "exponential", "C + A * exp(-x / tau)", ("x",),
        (_C, _A, Param("tau", "x", scale="x", start=(0.05, 20.0), log=True, low=1e-300)),
        "C + A exp(-t/tau)",
    ),
    Law(
        "shifted_power", "C + A * (x + s)**-alpha", ("x",),
        (_C, Param("A", scale="x**alpha", start=(0.01, 10.0)),
         Param("s", "x", scale="x", start=(0.01, 5.0), log=True, low=1e-300),
         Param("alpha", high=MAX_EXPONENT)),
        "C + A (t + s)^-alpha",
    ),
    Law(
        "stretched", "C + A * exp(-(x / tau)**g)", ("x",),
        (_C, _A, Param("tau", "x", scale="x", start=(0.01, 20.0), log=True, low=1e-300),
         Param("g", low=0.05, high=3.0, start=(0.1, 2.0))),
        "C + A exp(-(t/tau)^g); Weibull growth, Domhan et al. 2015",
    ),
)  # fmt: skip
UNCHANGED = "unchanged"  # the forecast that the last point stays, which is right where a curve has levelled off
MIN_POINTS = 8  # the largest family has four parameters, and a backtest leaves out points
LEAST_SHARE = 1e-6  # of a prefix's least loss, below which no family's forecast is followed
CUTS = 8  # backtests: shorter prefixes that later points are forecast from
FIRST_CUT = 0.4  # of the points: the shortest of these prefixes
OBJECTIVE = Objective("huber", 1e-2, "log")  # a spike in the curve pulls no harder than one per cent


@dataclass(frozen=True, slots=True)
class Forecast:
    """The final loss forecast from a prefix: the geometric mean of the families' ``finals``, by ``shares``.

    ``low`` and ``high`` bound the loss of the last evaluation. ``backtests`` is the number of forecasts of known points
    that the interval is based on.
    """

    final_step: float
    loss: float
    low: float
    high: float
    level: float
    shares: Mapping[str, float]
    finals: Mapping[str, float]
    points: int
    last_step: float
    backtests: int


def forecast(
    steps: Sequence[float] | Array, losses: Sequence[float] | Array, final_step: float, level: float = 0.95
) -> Forecast:
    """Forecast the loss at ``final_step`` from a curve's first points. Raise InputError for a short or faulty curve.

    Fits, backtests and the interval are of the logarithm of the loss, so that a curve that falls by decades has errors
    in proportion to what is left of it.
    """
    steps, losses = _curve(steps, losses)
    logs = np.log(losses)
    if final_step < steps[-1]:
        raise InputError(f"final_step = {final_step:g} is before the last point of the curve, {steps[-1]:g}")
    cuts = np.unique(np.round(np.linspace(FIRST_CUT, 1.0, CUTS + 1) * len(steps)).astype(int))
    past = [_forecasts(law, steps, losses, cuts, np.append(steps, final_step)) for law in FAMILIES]
    past.append(np.tile(logs[cuts - 1, None], len(steps) + 1))  # nothing changes
    scores = [float(np.mean(_backtest(item[:-1, :-1], cuts[:-1], steps, logs)[0] ** 2)) for item in past]
    shares = _shares(np.maximum(np.array(scores), 1e-20))
    finals = np.array([item[-1, -1] for item in past])
    loss = float(np.sum(shares * finals))
    ahead = math.log(final_step / steps[-1])
    noise = float(np.sum(shares * np.array([_noise(item[-1, :-1], logs) for item in past])))
    average = _average(np.stack(past), shares)
    errors, distance = _backtest(average[:-1, :-1], cuts[:-1], steps, logs)
    rate = _rate(errors, distance, noise)
    cautious = np.sqrt(shares) / np.sum(np.sqrt(shares))  # a family that lost the backtests may still be right later
    between = float(np.sum(cautious * (finals - loss) ** 2))
    quantile = float(student.ppf((1 + level) / 2, max(len(cuts) - 1, 1)))
    width = quantile * math.sqrt((rate * ahead) ** 2 + between + noise**2)
    names = [*(law.name for law in FAMILIES), UNCHANGED]
    return Forecast(
        float(final_step), math.exp(loss), math.exp(loss - width), math.exp(loss + width), level,
        dict(zip(names, shares.tolist(), strict=True)), dict(zip(names, np.exp(finals).tolist(), strict=True)),
        len(steps), float(steps[-1]), len(errors),
    )  # fmt: skip


def _curve(steps: Sequence[float] | Array, losses: Sequence[float] | Array) -> tuple[Array, Array]:
    try:
        steps, losses = np.asarray(steps, dtype=float), np.asarray(losses, dtype=float)
    except (TypeError, ValueError) as error:
        raise InputError(f"a curve is two lists of numbers: {error}") from None
    if steps.shape != losses.shape or steps.ndim != 1:
        raise InputError(f"a curve is two lists of one length; {steps.shape} steps and {losses.shape} losses given")
    bad = np.flatnonzero(~(np.isfinite(steps) & np.isfinite(losses) & (steps > 0) & (losses > 0)))
    if bad.size:
        shown = ", ".join(str(index) for index in bad[:8])
        raise InputError(f"points {shown} of the curve have no positive finite step and loss")
    order = np.argsort(steps, kind="stable")
    if len(np.unique(steps)) < MIN_POINTS:
        raise InputError(f"a forecast needs {MIN_POINTS} points of different steps; {len(np.unique(steps))} given")
    return steps[order], losses[order]


def _forecasts(law: Law, steps: Array, losses: Array, cuts: Array, ahead: Array) -> Array:
    """Return the log losses at the steps ``ahead`` by a family fitted to the first ``cut`` points: (cuts, ahead)."""
    setup = set_up(law, OBJECTIVE, {"x": steps}, losses, np.ones(len(steps)))
    full = quick(setup)
    weights = (np.arange(len(steps))[None, :] < cuts[:, None]).astype(float)
    predicted = law.function.bind([ahead / setup.centre[0]]).predict(_refit(setup, full, weights))
    return np.asarray(np.log(np.maximum(predicted, losses.min() * LEAST_SHARE)))


def _refit(setup: Setup, theta: Array, weights: Array) -> Array:
    problem, start = replace(setup.problem, weights=weights), np.tile(theta, (len(weights), 1))
    return minimise(
        problem, start, setup.delta, setup.box, initial_delta=max(residual_scale(setup.problem, theta), 1e-3),
        tolerance=QUICK_TOLERANCE, max_steps=START_STEPS,
    ).theta  # fmt: skip


def _backtest(predicted: Array, cuts: Array, steps: Array, logs: Array) -> tuple[Array, Array]:
    """Return the errors in log loss of forecasts of known points, and their horizons on the logarithm of the step."""
    rows, columns = np.nonzero(np.arange(len(steps))[None, :] >= cuts[:, None])
    distance = np.log(steps[columns] / steps[cuts[rows] - 1])
    return predicted[rows, columns] - logs[columns], distance


def _rate(errors: Array, distance: Array, noise: float) -> float:
    """Return the error for a unit of log step ahead, beyond the noise of the points themselves."""
    systematic = max(float(np.mean(errors**2)) - noise**2, 0.0)
    return math.sqrt(systematic / max(float(np.mean(distance**2)), 1e-12))


def _shares(scores: Array) -> Array:
    """Return the families' weights: the inverse fourth power of their backtests' root mean square error."""
    weights = (np.min(scores) / scores) ** 2
    return np.asarray(weights / weights.sum())


def _average(past: Array, shares: Array) -> Array:
    return np.asarray(np.einsum("f,fct->ct", shares, past))


def _noise(predicted: Array, logs: Array) -> float:
    """Return the standard deviation of the points about the curve over the later half of the prefix."""
    late = slice(len(logs) // 2, None)
    return float(np.sqrt(np.mean((logs[late] - predicted[late]) ** 2)))


def prediction_level(
    steps: Sequence[float] | Array, losses: Sequence[float] | Array, tolerance: float = 0.01, prefixes: int = 20
) -> float | None:
    """Return the first step from which every longer prefix predicts the curve's last loss within ``tolerance``.

    The tolerance is relative. None if no proper prefix does. Prefixes are spaced evenly on the logarithm of the step.
    """
    steps, losses = _curve(steps, losses)
    cuts = np.unique(np.searchsorted(steps, np.geomspace(steps[MIN_POINTS - 1], steps[-1], prefixes), side="right"))
    reached = None
    for cut in cuts[::-1]:
        if cut < MIN_POINTS or len(np.unique(steps[:cut])) < MIN_POINTS or cut == len(steps):
            continue
        predicted = forecast(steps[:cut], losses[:cut], float(steps[-1])).loss
        if abs(predicted / losses[-1] - 1) > tolerance:
            break
        reached = float(steps[cut - 1])
    return reached
