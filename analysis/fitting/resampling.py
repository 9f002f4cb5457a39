"""Bootstrap resamples of the rows of a fit, drawn by row, cell, seed or group, as weights over the same rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from sweeplaw.analysis.fitting.checks import Observations
from sweeplaw.analysis.fitting.noise.groups import labels_of
from sweeplaw.trials.errors import InputError, nearest

Array = np.ndarray
By = Literal["row", "cell", "seed", "group"]

MAX_REDRAWS = 200  # of resamples with too few distinct points
MOST_ELEMENTS = 1_000_000  # rows times resamples, beyond which a fit that nobody counted the resamples of has fewer;
MANY_UNITS = 1 << 11  # beyond which the draws themselves are counted, which takes a tenth of the time of multinomials
FEWEST_RESAMPLES = 200  # at least these: the ends of a 95 % interval then have an error of a tenth of its half width


@dataclass(frozen=True, slots=True)
class Resampling:
    """``count`` bootstrap resamples of rows, of whole cells, of the rows (seeds) inside each cell, or of groups.

    Cells are the distinct values of the columns ``keys``, by default of the law's inputs. ``by`` is auto (groups if
    their runs share noise, else rows), row, cell, seed, size, budget, run, or a column whose values are the groups.
    """

    count: int = 0
    by: str = "auto"
    keys: Sequence[str] = ()
    seed: int = 0


NO_RESAMPLING = Resampling()


def affordable(count: int, rows: int) -> int:
    """Return how many of ``count`` resamples of a table of so many rows are worth their time: fewer of large tables."""
    return min(count, max(FEWEST_RESAMPLES, MOST_ELEMENTS // max(rows, 1)))


def resampler(
    observations: Observations, resampling: Resampling, least: int, groups: Array | None = None
) -> tuple[Callable[[int], Array], int]:
    """Return a function that draws the next ``count`` resamples, and the number of units it draws from.

    Units are the ``groups`` with these numbers (n,), or else rows, cells or seeds as ``resampling.by`` says.
    Resamples are multiplicities (count, n) of the rows. Those with fewer than ``least`` distinct points are redrawn.
    Both this function and the one it returns raise InputError.
    """
    rng = np.random.default_rng(resampling.seed)
    points = cell_numbers(observations, ())
    cells = cell_numbers(observations, resampling.keys) if groups is None else groups
    by = _way(resampling.by, groups)
    units = _units(by, len(observations.losses), cells)

    def draw(count: int) -> Array:
        weights = _draw(rng, count, by, cells, units)
        for _ in range(MAX_REDRAWS):
            poor = np.flatnonzero(_distinct(weights, points) < least)
            if not poor.size:
                return weights
            weights[poor] = _draw(rng, poor.size, by, cells, units)
        raise InputError(f"resamples of {units} {by}s hardly ever keep {least} distinct points: too few to bootstrap")

    return draw, units


def _way(by: str, groups: Array | None) -> By:
    """Return what is drawn: groups if they are given, else rows unless cells or seeds were asked for."""
    if groups is not None:
        return "group"
    return "cell" if by == "cell" else "seed" if by == "seed" else "row"


def _units(by: By, rows: int, cells: Array) -> int:
    """Return the number of units to draw from. Raise InputError if there are too few."""
    units = rows if by == "row" else int(cells.max()) + 1
    if by == "seed" and rows == units:
        raise InputError(f"by = 'seed' needs cells with several rows; all {units} cells have one (name them with keys)")
    return units


def cell_numbers(observations: Observations, keys: Sequence[str]) -> Array:
    """Return the number of each row's cell: distinct values of ``keys``, or of the law's inputs without them."""
    frame = observations.frame
    missing = [key for key in keys if key not in frame.columns]
    if missing:
        raise InputError([f"{key!r} is no column{nearest(key, frame.columns)}" for key in missing])
    frame = frame.select(keys) if keys else pl.DataFrame(dict(observations.inputs))
    return labels_of(frame)


def _draw(rng: np.random.Generator, count: int, by: By, cells: Array, units: int) -> Array:
    if by == "row":
        return _times_drawn(rng, count, units)
    if by in ("cell", "group"):
        return _times_drawn(rng, count, units)[:, cells]
    weights = np.zeros((count, len(cells)))
    for cell in range(units):
        members = np.flatnonzero(cells == cell)
        weights[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=count)
    return weights


def _times_drawn(rng: np.random.Generator, count: int, units: int) -> Array:
    """Return how often each unit is drawn, in ``count`` resamples of as many draws as units: (count, units)."""
    if units <= MANY_UNITS:
        return rng.multinomial(units, np.full(units, 1 / units), size=count).astype(float)
    drawn = np.empty((count, units))
    for row in drawn:
        row[:] = np.bincount(rng.integers(0, units, units), minlength=units)
    return drawn


def _distinct(weights: Array, points: Array) -> Array:
    """Return the number of distinct points in each resample."""
    if weights.shape[1] == int(points.max()) + 1:
        return np.asarray(np.count_nonzero(weights, axis=1))
    order = np.argsort(points, kind="stable")
    starts = np.flatnonzero(np.diff(points[order], prepend=-1))
    return np.asarray(np.count_nonzero(np.add.reduceat(weights[:, order], starts, axis=1), axis=1))
