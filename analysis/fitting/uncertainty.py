"""Uncertainty of a fit by resampling: refits, their joint covariance, percentile intervals, and prediction bands.

A resample is a vector of weights over the same rows, so a thousand of them are one batch for the solver, and each is
taken to its own optimum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sweeplaw.analysis.fitting.checks import Observations
from sweeplaw.analysis.fitting.noise import random_effects
from sweeplaw.analysis.fitting.noise.noise import INDEPENDENT, Noise
from sweeplaw.analysis.fitting.resampling import NO_RESAMPLING, Resampling, resampler
from sweeplaw.analysis.fitting.solver.newton import CONVERGED, Minimum, minimise
from sweeplaw.analysis.fitting.solver.solve import Setup, Solution, residual_scale, smoothed
from sweeplaw.trials.progress import ProgressCallback, no_progress

Array = np.ndarray

MANY_ROWS = 1 << 11  # whose resamples have their optima so near that of all rows that it needs no path of thresholds
SETTLED = 1e-10  # relative decrease still predicted there: measured, 1e-5 of the standard error of a parameter
BATCH_ELEMENTS = 1 << 24  # weights held at once, 128 MB: a thousand resamples of 16,000 rows are one batch


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval. An infinite end means that the data give no bound on that side."""

    low: float
    high: float
    level: float
    method: str
    note: str = ""

    def values(self) -> dict[str, float | str]:
        """Return the interval as plain values; the note says why an end is infinite."""
        return {"low": self.low, "high": self.high, "level": self.level, "method": self.method, "note": self.note}


@dataclass(frozen=True, slots=True)
class Draws:
    """Bootstrap refits: parameters (draws, p) in the law's units, the objective, whether each converged."""

    names: tuple[str, ...]
    params: Array
    values: Array
    converged: Array
    by: str
    units: int
    seed: int

    @property
    def covariance(self) -> Array:
        """The joint covariance of the parameters over the draws: (p, p)."""
        return np.atleast_2d(np.cov(self.params, rowvar=False))

    @property
    def standard_errors(self) -> Array:
        """The standard deviation of each parameter over the draws: (p,). Infinite if it overflows."""
        with np.errstate(over="ignore"):
            return np.asarray(self.params.std(axis=0))

    def column(self, name: str) -> Array:
        """Return one parameter's draws."""
        return self.params[:, self.names.index(name)]

    def interval(self, name: str, level: float = 0.95) -> Interval:
        """Return the percentile interval of one parameter."""
        method = f"{self.by} bootstrap, {len(self.params)} resamples of {self.units}"
        return percentile(self.column(name), level, method)


def percentile(draws: Array, level: float, method: str) -> Interval:
    """Return the central interval of the draws. Infinite draws count; the note counts NaN draws, which are excluded."""
    known = draws[~np.isnan(draws)]
    note = f"undefined in {len(draws) - len(known)} of {len(draws)} resamples" if len(known) < len(draws) else ""
    if not len(known):
        return Interval(math.nan, math.nan, level, method, "undefined in every resample")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2], method="median_unbiased")
    return Interval(float(low), float(high), level, method, note)


def bootstrap(
    setup: Setup, solution: Solution, observations: Observations, resampling: Resampling,
    progress: ProgressCallback = no_progress, noise: Noise = INDEPENDENT,
) -> Draws:  # fmt: skip
    """Refit every resample to its own optimum, in batches as large as memory allows."""
    count = resampling.count
    refitted = _refitter(setup, solution, observations, resampling, noise)
    batch = max(1, BATCH_ELEMENTS // len(observations.losses))
    parts = []
    for first in range(0, count, batch):
        parts.append(refitted(min(batch, count - first)))
        progress(min(first + batch, count), count)
    params, values, converged = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("params", "values", "converged")
    )
    return replace(parts[0], params=params, values=values, converged=converged)


def _refitter(
    setup: Setup, solution: Solution, observations: Observations, resampling: Resampling, noise: Noise
) -> Callable[[int], Draws]:
    """Return a function that draws and refits the next resamples, by what the noise calls for."""
    least = len(setup.law.names)
    if noise.few:
        losses = random_effects.drawer(setup, solution.theta, noise, resampling.seed)
        effects = replace(resampling, by=f"random {noise.names} effects")
        return lambda count: _refit_losses(setup, solution, losses(count), effects, noise.divisions[0].count)
    groups = noise.divisions[0].labels if noise.divisions else None
    draw, units = resampler(observations, resampling, least, groups)
    drawn = replace(resampling, by=noise.names or ("row" if resampling.by == "auto" else resampling.by))
    return lambda count: refit(setup, solution, draw(count) * setup.problem.weights, drawn, units)


def _refit_losses(setup: Setup, solution: Solution, losses: Array, resampling: Resampling, units: int) -> Draws:
    """Return the optimum for each row of ``losses`` (count, n), reached from the full fit's."""
    drawn = smoothed(setup, solution.theta)
    drawn = replace(drawn, problem=replace(drawn.problem, losses=losses))
    initial = residual_scale(setup.problem, solution.theta)
    start = np.tile(_off_bounds(solution.theta, setup), (len(losses), 1))
    found = minimise(drawn.problem, start, drawn.delta, drawn.box, initial_delta=initial)
    params = setup.to_law_units(found.theta)
    return Draws(setup.law.names, params, found.value, found.converged, resampling.by, units, resampling.seed)


def refit(
    setup: Setup, solution: Solution, weights: Array, resampling: Resampling = NO_RESAMPLING, units: int = 0
) -> Draws:
    """Return the optimum under each row of ``weights`` (count, n), reached from the full fit's."""
    found = _refit(smoothed(setup, solution.theta), solution.theta, weights)
    params = setup.to_law_units(found.theta)
    return Draws(setup.law.names, params, found.value, found.converged, resampling.by, units, resampling.seed)


def _refit(setup: Setup, theta: Array, weights: Array) -> Minimum:
    problem = replace(setup.problem, weights=weights)
    start = np.tile(_off_bounds(theta, setup), (len(weights), 1))
    near = setup.problem.bound.rows > MANY_ROWS
    return minimise(
        problem, start, setup.delta, setup.box, initial_delta=0.0 if near else residual_scale(setup.problem, theta),
        tolerance=SETTLED if near else CONVERGED,
    )  # fmt: skip


def _off_bounds(theta: Array, setup: Setup) -> Array:
    """Return a start a little off the bounds, so that a parameter at its bound in the full fit can leave it."""
    width = np.maximum(np.abs(theta), 1e-2) * 1e-3
    box = setup.box
    return np.where(box.frozen, theta, np.clip(theta, box.low + width, np.maximum(box.high - width, box.low + width)))


def band(predicted: Array, level: float) -> tuple[Array, Array]:
    """Return the central band of predictions (draws, n): two arrays (n,). NaN draws count as infinite."""
    filled = np.where(np.isnan(predicted), np.inf, predicted)
    low, high = np.quantile(filled, [(1 - level) / 2, (1 + level) / 2], axis=0, method="inverted_cdf")
    return low, high
