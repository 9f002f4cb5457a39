"""Bootstrap resamples of the rows of a fit, drawn by row, cell or seed, as weights over the same rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import polars as pl

from sweeplaw.analysis.fitting.checks import Observations
from sweeplaw.trials.errors import InputError, nearest

Array = np.ndarray
By = Literal["row", "cell", "seed"]

MAX_REDRAWS = 200  # of resamples with too few distinct points


@dataclass(frozen=True, slots=True)
class Resampling:
    """``count`` bootstrap resamples of rows, of whole cells, or of the rows (seeds) inside each cell.

    Cells are the distinct values of the columns ``keys``, by default of the law's inputs.
    """

    count: int = 0
    by: By = "row"
    keys: Sequence[str] = ()
    seed: int = 0


NO_RESAMPLING = Resampling()


def resampler(observations: Observations, resampling: Resampling, least: int) -> tuple[Callable[[int], Array], int]:
    """Return a function that draws the next ``count`` resamples, and the number of units it draws from.

    Resamples are multiplicities (count, n) of the rows. Those with fewer than ``least`` distinct points are redrawn.
    Both this function and the one it returns raise InputError.
    """
    rng = np.random.default_rng(resampling.seed)
    by, cells, points = resampling.by, cell_numbers(observations, resampling.keys), cell_numbers(observations, ())
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


def _units(by: By, rows: int, cells: Array) -> int:
    """Return the number of units to draw from. Raise InputError if there are too few."""
    units = rows if by == "row" else int(cells.max()) + 1
    if by not in (known := get_args(By)):
        raise InputError(f"by = {by!r} is not known (accepted: {', '.join(known)}){nearest(by, known)}")
    if by == "seed" and rows == units:
        raise InputError(f"by = 'seed' needs cells with several rows; all {units} cells have one (name them with keys)")
    if by == "cell" and units < 2:
        raise InputError(f"by = 'cell' needs at least 2 cells, {units} found")
    return units


def cell_numbers(observations: Observations, keys: Sequence[str]) -> Array:
    """Return the number of each row's cell: distinct values of ``keys``, or of the law's inputs without them."""
    frame = observations.frame
    missing = [key for key in keys if key not in frame.columns]
    if missing:
        raise InputError([f"{key!r} is no column{nearest(key, frame.columns)}" for key in missing])
    frame = frame.select(keys) if keys else pl.DataFrame(dict(observations.inputs))
    return np.asarray((frame.select(pl.struct(pl.all()).rank("dense")).to_series().to_numpy() - 1).astype(int))


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
    """Return the number of distinct points in each resample."""
    if weights.shape[1] == int(points.max()) + 1:
        return np.asarray(np.count_nonzero(weights, axis=1))
    order = np.argsort(points, kind="stable")
    starts = np.flatnonzero(np.diff(points[order], prepend=-1))
    return np.asarray(np.count_nonzero(np.add.reduceat(weights[:, order], starts, axis=1), axis=1))
