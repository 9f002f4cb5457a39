"""Tables whose truth is known, on the settings of the Step Law table: smoothed, and planted with fresh noise.

- smoothed: the recorded losses through one quartic of the distance from the cell's optimum, shared by all cells
- alone: each cell through a smooth surface of its own
- quadratic, asymmetric, cliff: a random law of the optimum, and that shape around it
- bent: the law bends, the optima lie .2 octave off it, and the curvature differs by 30 % between cells
- curves: the quadratic, with a curve to each run: a power of the steps, and until the end an advantage for low rates
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.searching.recorded_tables import STEP_LAW
from sweeplaw.orchestrator.search.rehearsal.recorded_space import RecordedSpace, recorded_space
from sweeplaw.trials.workloads.replay.recorded import RecordedColumns, RecordedTable
from sweeplaw.trials.workloads.replay.surface import smooth

Array = NDArray[np.float64]

TRUTHS = ("smoothed", "alone", "quadratic", "asymmetric", "cliff", "bent", "curves")
NOISE = 0.0006  # relative, of one run
POINTS = 9  # of a curve
EARLY, BIAS = 0.15, 0.01  # relative excess of the loss at the first point, and per octave of the learning rate
SMOOTHED = 0.06  # excess over the cell's lowest up to which losses are smoothed
CURVATURE = np.array([[0.0034, -0.0013], [-0.0013, 0.0034]])  # of log loss, per squared octave, as in the table
INSIDE = (2.5, 3.0)  # octaves from the middle of the box within which planted optima lie


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The settings of the table by row: octaves of (lr, batch) from the middle of the box (rows, 2), the cell of each
    row, octaves of (N, D) of each cell from their mean (cells, 2), and log losses (rows,).
    """

    frame: pl.DataFrame
    x: Array
    cell: NDArray[np.int64]
    z: Array
    y: Array

    @property
    def base(self) -> Array:
        """The lowest log loss of each cell."""
        least = np.full(len(self.z), np.inf)
        np.minimum.at(least, self.cell, self.y)
        return least


@lru_cache
def layout() -> Layout:
    """Return the settings of the Step Law table."""
    frame = pl.read_csv(STEP_LAW).select("N", "D", "lr", "bs", loss="smooth loss").sort("N", "D", "lr", "bs")
    sizes, cell = np.unique(np.log2(frame.select("N", "D").to_numpy().astype(float)), axis=0, return_inverse=True)
    x = np.log2(frame.select("lr", "bs").to_numpy().astype(float))
    x -= (x.min(axis=0) + x.max(axis=0)) / 2
    return Layout(frame, x, cell.reshape(-1), sizes - sizes.mean(axis=0), np.log(frame["loss"].to_numpy()))


def truth(name: str, seed: int) -> Array:
    """Return the log losses (rows,) of a truth without noise; the planted ones differ by seed."""
    if name == "smoothed":
        return _shared()
    if name == "alone":
        return _alone()
    here, rng = layout(), _generator(name, seed)
    optima = _optima(here.z, rng, bent=name == "bent")
    away = here.x - optima[here.cell]
    shape = CURVATURE * np.exp(rng.normal(0, 0.2))
    if name in ("asymmetric", "cliff"):
        side = 1.6 ** rng.uniform(-1, 1, 2)
        away = away * np.sqrt(np.where(away > 0, side, 1 / side))
    steep = rng.uniform(0.7, 1.3, len(here.z)) if name == "bent" else np.ones(len(here.z))
    found = here.base[here.cell] + np.einsum("ri,ij,rj->r", away, shape, away) * steep[here.cell]
    if name == "cliff":
        over = np.maximum(0.0, (here.x - optima[here.cell])[:, 0] - rng.uniform(1.2, 2.0))
        found = found + 0.1 * over + np.where(over > 0.5, 0.8, 0.0)
    return np.asarray(found)


def planted_optima(name: str, seed: int) -> Array:
    """Return the optima (cells, 2) of a planted truth."""
    return _optima(layout().z, _generator(name, seed), bent=name == "bent")


def spaces(name: str, seed: int) -> tuple[RecordedSpace, RecordedSpace]:
    """Return the space of a truth with fresh noise, and the same without, by which choices are judged."""
    quiet = truth(name, seed)
    noise = NOISE * np.random.default_rng([seed, 99]).standard_normal(len(quiet))
    curves = name == "curves"
    return space_of(np.exp(quiet + noise), curves=curves), space_of(np.exp(quiet), curves=curves)


def space_of(losses: Array, *, curves: bool = False) -> RecordedSpace:
    """Return the settings of the table with these losses (rows,)."""
    frame = layout().frame.with_columns(loss=pl.Series(losses))
    return step_law_space(frame.with_columns(curve=_curves(losses)) if curves else frame)


def step_law_space(frame: pl.DataFrame, loss: str = "loss") -> RecordedSpace:
    """Return a table with the columns of Step Law's as a space, with its ``curve`` where it has one."""
    names = ("N", "D", "lr", "bs")
    meaning = RecordedColumns({name: name for name in names}, loss, curve="curve" if "curve" in frame.columns else None)
    return recorded_space(RecordedTable.of(frame, meaning), ("N", "D"), ("lr", "bs"))


def _generator(name: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, TRUTHS.index(name)])


def _curves(losses: Array) -> pl.Series:
    """Return the losses of each row at equal distances."""
    done = np.arange(1, POINTS + 1) / POINTS
    away = EARLY * (done**-0.5 - 1) / (POINTS**0.5 - 1) + BIAS * layout().x[:, :1] * (1 - done)
    return pl.Series((losses[:, None] * (1 + away)).tolist())


def _optima(z: Array, rng: np.random.Generator, *, bent: bool) -> Array:
    """Return the optima (cells, 2) of a random law whose optima lie inside the box."""
    while True:
        found = rng.uniform(-1, 1, 2) + z @ rng.normal(0, 0.4, (2, 2))
        if bent:
            for i, j in ((0, 0), (0, 1), (1, 1)):
                found = found + np.outer(z[:, i] * z[:, j], rng.normal(0, 0.1, 2))
            found = found + rng.normal(0, 0.2, found.shape)
        if (np.abs(found) < INSIDE).all():
            return np.asarray(found)


@lru_cache
def _alone() -> Array:
    here, found = layout(), layout().y.copy()
    for cell, base in enumerate(here.base):
        rows = np.flatnonzero((here.cell == cell) & (here.y < base + SMOOTHED))
        found[rows] = np.log(smooth(here.x[rows], np.exp(here.y[rows]))(here.x[rows]))
    return found


@lru_cache
def _shared() -> Array:
    """Levels of the cells and a quartic around the optima of a law, the law being that of the smoothed cells."""
    here, alone = layout(), _alone()
    best = np.array([np.flatnonzero(here.cell == c)[np.argmin(alone[here.cell == c])] for c in range(len(here.z))])
    sizes = np.column_stack([np.ones(len(here.z)), here.z])
    optima = sizes @ np.linalg.lstsq(sizes, here.x[best], rcond=None)[0]
    away = here.x - optima[here.cell]
    powers = [(i, j) for i in range(5) for j in range(5 - i) if i + j > 0]
    terms = np.stack([away[:, 0] ** i * away[:, 1] ** j for i, j in powers], axis=1)
    levels = (here.cell[:, None] == np.arange(len(here.z))).astype(float)
    excess = here.y - here.base[here.cell]
    rows = np.flatnonzero(excess < SMOOTHED)
    design, weights = np.hstack([levels, terms]), 1 / (NOISE + 0.3 * excess[rows])
    fitted = np.linalg.lstsq(design[rows] * weights[:, None], here.y[rows] * weights, rcond=None)[0]
    found = here.y.copy()
    found[rows] = design[rows] @ fitted
    return found
