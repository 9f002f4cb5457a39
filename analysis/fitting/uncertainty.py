"""How sure the numbers are: resampling by row, cell or seed, the joint covariance, and bands of the prediction.

A resample is a vector of weights over the same rows, so a thousand of them are one batch for the solver, and each is
taken to its own optimum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl

from sweeplaw.analysis.fitting.checks import Observations
from sweeplaw.analysis.fitting.derivatives import Problem
from sweeplaw.analysis.fitting.newton import Minimum, minimise
from sweeplaw.analysis.fitting.solve import Setup, Solution, residual_scale, smoothed
from sweeplaw.trials.errors import InputError, nearest
from sweeplaw.trials.progress import ProgressCallback, no_progress

Array = np.ndarray
By = Literal["row", "cell", "seed"]

REDRAWS = 200  # tries to redraw resamples with too few distinct points before giving up
TOGETHER = 1 << 24  # weights held at once, 128 MB: a thousand resamples of 16,000 rows are one batch


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval. An infinite end means that the data give no bound on that side."""

    low: float
    high: float
    level: float
    method: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Draws:
    """Bootstrap refits: parameters (draws, p) in the law's units, the objective, whether each reached its optimum."""

    names: tuple[str, ...]
    params: Array
    values: Array
    converged: Array
    by: By
    units: int
    seed: int

    @property
    def covariance(self) -> Array:
        """The joint covariance of the parameters over the draws: (p, p)."""
        return np.atleast_2d(np.cov(self.params, rowvar=False))

    @property
    def standard_errors(self) -> Array:
        """The standard deviation of each parameter over the draws: (p,). Infinite where some ran beyond all bounds."""
        with np.errstate(over="ignore"):
            return np.asarray(self.params.std(axis=0))

    def column(self, name: str) -> Array:
        """One parameter's draws."""
        return self.params[:, self.names.index(name)]

    def interval(self, name: str, level: float = 0.95) -> Interval:
        """The percentile interval of one parameter."""
        return percentile(
            self.column(name), level, f"{self.by} bootstrap, {len(self.params)} resamples of {self.units}"
        )


def percentile(draws: Array, level: float, method: str) -> Interval:
    """The central interval of the draws; infinite draws count, NaN draws (undefined) are excluded and said."""
    known = draws[~np.isnan(draws)]
    note = f"undefined in {len(draws) - len(known)} of {len(draws)} resamples" if len(known) < len(draws) else ""
    if not len(known):
        return Interval(math.nan, math.nan, level, method, "undefined in every resample")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2], method="median_unbiased")
    return Interval(float(low), float(high), level, method, note)


def resampler(
    seen: Observations, by: By, keys: Sequence[str], seed: int, least: int
) -> tuple[Callable[[int], Array], int]:
    """What draws the next so many resamples, multiplicities (count, n) of the rows; and how many units it draws from.

    ``row`` draws rows; ``cell`` draws whole cells, the distinct values of ``keys`` (by default the law's inputs);
    ``seed`` draws rows inside each cell, so that every cell keeps its size. Resamples with fewer than ``least``
    distinct points are drawn again. Raises InputError, also when drawing.
    """
    rng = np.random.default_rng(seed)
    rows, cells = len(seen.losses), cell_numbers(seen, keys)
    units = rows if by == "row" else int(cells.max()) + 1
    if by not in ("row", "cell", "seed"):
        raise InputError(f"by = {by!r} is not known (accepted: row, cell, seed){nearest(by, ('row', 'cell', 'seed'))}")
    if by == "seed" and rows == units:
        raise InputError(f"by = 'seed' needs cells with several rows; all {units} cells have one (name them with keys)")
    if by == "cell" and units < 2:
        raise InputError(f"by = 'cell' needs at least 2 cells, {units} found")
    points = cell_numbers(seen, ())

    def draw(count: int) -> Array:
        weights = _draw(rng, count, by, cells, units)
        for _ in range(REDRAWS):
            poor = np.flatnonzero(_distinct(weights, points) < least)
            if not poor.size:
                return weights
            weights[poor] = _draw(rng, poor.size, by, cells, units)
        raise InputError(f"resamples of {units} {by}s hardly ever keep {least} distinct points: too few to bootstrap")

    return draw, units


def cell_numbers(seen: Observations, keys: Sequence[str]) -> Array:
    """For each row the number of its cell: distinct values of ``keys``, or of the law's inputs without them."""
    missing = [key for key in keys if key not in seen.frame.columns]
    if missing:
        raise InputError([f"{key!r} is no column{nearest(key, seen.frame.columns)}" for key in missing])
    frame = seen.frame.select(keys) if keys else pl.DataFrame(dict(seen.inputs))
    return (frame.select(pl.struct(pl.all()).rank("dense")).to_series().to_numpy() - 1).astype(int)


def _draw(rng: np.random.Generator, count: int, by: By, cells: Array, units: int) -> Array:
    if by == "row":
        return rng.multinomial(units, np.full(units, 1 / units), size=count).astype(float)
    if by == "cell":
        return rng.multinomial(units, np.full(units, 1 / units), size=count).astype(float)[:, cells]
    weights = np.zeros((count, len(cells)))
    for cell in range(units):
        members = np.flatnonzero(cells == cell)
        weights[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=count)
    return weights


def _distinct(weights: Array, points: Array) -> Array:
    """How many distinct points each resample holds."""
    if weights.shape[1] == int(points.max()) + 1:
        return np.count_nonzero(weights, axis=1)
    order = np.argsort(points, kind="stable")
    starts = np.flatnonzero(np.diff(points[order], prepend=-1))
    return np.count_nonzero(np.add.reduceat(weights[:, order], starts, axis=1), axis=1)


def bootstrap(
    setup: Setup, solution: Solution, seen: Observations, count: int = 1000,
    by: By = "row", keys: Sequence[str] = (), seed: int = 0, watch: ProgressCallback = no_progress,
) -> Draws:  # fmt: skip
    """``count`` refits of resampled rows, each at its own optimum, as many in one batch as memory allows.

    ``watch`` is told how many of how many are done.
    """
    draw, units = resampler(seen, by, keys, seed, len(setup.law.names))
    together = max(1, TOGETHER // len(seen.losses))
    found = []
    for first in range(0, count, together):
        weights = draw(min(together, count - first)) * setup.problem.weights
        found.append(refit(setup, solution, weights, by, units, seed))
        watch(min(first + together, count), count)
    params, values, converged = (
        np.concatenate([getattr(part, name) for part in found]) for name in ("params", "values", "converged")
    )
    return replace(found[0], params=params, values=values, converged=converged)


def refit(setup: Setup, solution: Solution, weights: Array, by: By = "row", units: int = 0, seed: int = 0) -> Draws:
    """The optimum under each row of ``weights`` (count, n), reached from the full fit's."""
    found = _refit(smoothed(setup, solution.theta), solution.theta, weights)
    return Draws(setup.law.names, setup.outward(found.theta), found.value, found.converged, by, units, seed)


def _refit(setup: Setup, theta: Array, weights: Array) -> Minimum:
    problem = Problem(setup.problem.bound, setup.problem.losses, weights, setup.problem.space)
    start = np.tile(_inside(theta, setup), (len(weights), 1))
    return minimise(problem, start, setup.delta, setup.box, begin=residual_scale(setup.problem, theta))


def resample_draws(setup: Setup, theta: Array, count: int, seed: int) -> Array:
    """Refits of row resamples, no more than that: (count, p) in the law's units."""
    rows = setup.problem.bound.rows
    weights = np.random.default_rng(seed).multinomial(rows, np.full(rows, 1 / rows), size=count).astype(float)
    return setup.outward(_refit(setup, theta, weights).theta)


def _inside(theta: Array, setup: Setup) -> Array:
    """A start a little off the bounds, so that a parameter held there in the full fit may leave it in a resample."""
    width = np.maximum(np.abs(theta), 1e-2) * 1e-3
    box = setup.box
    return np.where(box.frozen, theta, np.clip(theta, box.low + width, np.maximum(box.high - width, box.low + width)))


def band(predicted: Array, level: float) -> tuple[Array, Array]:
    """The central band of predictions (draws, n): two arrays (n,). Draws without a finite value count as infinite."""
    filled = np.where(np.isnan(predicted), np.inf, predicted)
    low, high = np.quantile(filled, [(1 - level) / 2, (1 + level) / 2], axis=0, method="inverted_cdf")
    return low, high


def summary(intervals: Mapping[str, Interval]) -> dict[str, dict[str, float | str]]:
    """Intervals as plain values, for JSON."""
    return {
        name: {"low": item.low, "high": item.high, "level": item.level, "method": item.method, "note": item.note}
        for name, item in intervals.items()
    }
