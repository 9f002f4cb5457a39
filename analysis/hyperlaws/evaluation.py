"""Regret of a law's predictions in cells it was not fitted to, by three metrics with their noise floors.

Per mille of loss above the cell's best, averaged over cells: (a) interpolated: piecewise linear between the cell's
runs; (b) nearest: the run nearest in log2 of the knobs; (c) quadratic: regret on the cell's own least-squares quadratic
of log loss (rows within 1.5 % of the best). The noise floor is the score of the true optimum: (a) and (b) compare
with the lowest of many noisy runs, which lies below the truth, so they are simulated with the cell's noise; (c) is
uncertain by the uncertainty of the fitted optimum. A score at its noise floor is indistinguishable from a perfect one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import QhullError

from sweeplaw.analysis.hyperlaws.features import Features
from sweeplaw.analysis.tuning.cells import CellTable
from sweeplaw.analysis.tuning.quadratics.quadratic import Quadratic, QuadraticProblem, fit_quadratics, term_count
from sweeplaw.trials.progress import ProgressCallback, no_progress

Array = NDArray[np.float64]

WINDOW = 0.015
PERMILLE = 1e3
LEAVE_ONE_OUT = ("leave_one_cell_out", "each cell by the law of the others")
METRICS = ("interpolated", "nearest", "quadratic")
SIMULATIONS = 2000
MOST_LEFT_OUT = 500  # cells that are left out one at a time; of more, this many are, spread evenly
HELD_OUT_SHARE = 1 / 3  # of the cells, the largest, in the train-small test-large split


class Estimator(Protocol):
    """A method that fits laws to cells."""

    @property
    def name(self) -> str: ...

    @property
    def features(self) -> Features: ...

    @property
    def used(self) -> NDArray[np.bool_]: ...

    @property
    def cells_without(self) -> dict[int, str]: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    def coefficients(self, weights: Array, progress: ProgressCallback = no_progress) -> Array:
        """Return (draws, knobs, q) for cell weights (draws, cells); NaN if these cells do not determine the laws.

        ``progress`` is called with (draws done, draws).
        """
        ...


@dataclass(frozen=True, slots=True)
class Metric:
    """Mean over ``cells`` in per mille of loss, and its noise floor; None if no cell can be scored.

    ``outside``: number of predictions outside the cell's runs, scored (by a and b) at the nearest run.
    """

    name: str
    score: float | None
    floor: float | None
    cells: int
    outside: int = 0


@dataclass(frozen=True, slots=True)
class LawEvaluation:
    """Scores of a law on held-out cells.

    ``kind``: a name for programs; ``split``: a description of the cells held out; ``held_out``: number of cells scored;
    ``unfitted``: number of these without a law.
    """

    kind: str
    split: str
    held_out: int
    unfitted: int
    metrics: tuple[Metric, ...]

    def metric(self, name: str) -> Metric:
        """Return the metric of this name: interpolated, nearest or quadratic."""
        return next(metric for metric in self.metrics if metric.name == name)


@dataclass(frozen=True, slots=True)
class Scorer:
    """The cells that predictions are scored on, with the interpolant, quadratic and noise floors of each."""

    table: CellTable
    quadratics: tuple[Quadratic | None, ...]
    interpolants: tuple[LinearNDInterpolator | None, ...]
    floors: dict[str, Array]

    @classmethod
    def of(cls, table: CellTable) -> Scorer:
        """Return the scorer of the cells of ``table``."""
        cells = range(len(table.cells))
        quadratics = _quadratics(table)
        floors = np.array([_floors(table, c, quadratic) for c, quadratic in enumerate(quadratics)]).T
        interpolants = tuple(_interpolant(table, c) for c in cells)
        return cls(table, quadratics, interpolants, dict(zip(METRICS, floors, strict=True)))

    def regrets(self, predicted: Array) -> dict[str, Array]:
        """Return the relative regret (cells,) of log predictions (cells, knobs) by metric; NaN if not scored."""
        cells = range(len(self.table.cells))
        known = np.asarray(np.isfinite(predicted).all(axis=1))
        return {
            "interpolated": np.array([self._interpolated(c, predicted[c]) if known[c] else np.nan for c in cells]),
            "nearest": np.array([self._nearest(c, predicted[c]) if known[c] else np.nan for c in cells]),
            "quadratic": np.array([self._quadratic(c, predicted[c]) if known[c] else np.nan for c in cells]),
        }

    def outside(self, predicted: Array) -> NDArray[np.bool_]:
        """Return the mask of cells whose prediction lies outside the box of its runs."""
        parts = [self.table.levels[self.table.rows_of(c)] for c in range(len(self.table.cells))]
        low, high = np.stack([p.min(axis=0) for p in parts]), np.stack([p.max(axis=0) for p in parts])
        beyond = (predicted < low - 1e-9) | (predicted > high + 1e-9)
        return np.asarray(beyond.any(axis=1))

    def _nearest(self, c: int, point: Array) -> float:
        rows = self.table.rows_of(c)
        at = np.argmin(((self.table.levels[rows] - point) ** 2).sum(axis=1))
        return float(self.table.excess[rows][at])

    def _interpolated(self, c: int, point: Array) -> float:
        inside, rows = self.interpolants[c], self.table.rows_of(c)
        value = _between(self.table.levels[rows], self.table.z[rows], point) if inside is None else inside(point)[0]
        return self._nearest(c, point) if np.isnan(value) else float(np.expm1(value - self.table.lowest[c]))

    def _quadratic(self, c: int, point: Array) -> float:
        quadratic = self.quadratics[c]
        return float("nan") if quadratic is None else float(quadratic.excess(point))


def _quadratics(table: CellTable) -> tuple[Quadratic | None, ...]:
    """Return the convex quadratic of each cell near its lowest row, None where there is none."""
    problems = {}
    for c in range(len(table.cells)):
        rows = table.rows_of(c)
        near = table.excess[rows] < WINDOW
        if near.sum() >= term_count(len(table.knobs)):
            x = table.x[rows][near]
            problems[c] = QuadraticProblem(x, table.z[rows][near], x[:0], np.inf)
    fits = dict(zip(problems, fit_quadratics(list(problems.values()), robust=False), strict=True))
    sound = {c: fit for c, fit in fits.items() if not fit.reason and fit.is_convex}
    return tuple(sound.get(c) for c in range(len(table.cells)))


def _interpolant(table: CellTable, c: int) -> LinearNDInterpolator | None:
    rows = table.rows_of(c)
    if table.x.shape[1] < 2:
        return None
    try:
        return LinearNDInterpolator(table.levels[rows], table.z[rows], rescale=True)
    except QhullError:  # the runs lie on a line
        return None


def leave_one_out(scorer: Scorer, estimator: Estimator) -> LawEvaluation:
    """Score the prediction of each cell, at most of `MOST_LEFT_OUT`, by the law of all other cells."""
    cells = len(scorer.table.cells)
    out = np.unique(np.linspace(0, cells - 1, min(cells, MOST_LEFT_OUT)).round().astype(int))
    weights = np.ones((len(out), cells))
    weights[np.arange(len(out)), out] = 0.0
    fitted = np.full((cells, *estimator.features.allowed.shape), np.nan)
    fitted[out] = estimator.coefficients(weights)
    held = np.zeros(cells, dtype=bool)
    held[out] = True
    kind, split = LEAVE_ONE_OUT
    named = (kind, split if held.all() else f"each of {len(out)} of {cells:,} cells by the law of the others")
    return score(scorer, predict(estimator, fitted), held, named)


def train_small(scorer: Scorer, estimator: Estimator) -> LawEvaluation | None:
    """Score the largest third of the cells (by the product of the axes) by the law of the rest; None if too few."""
    size = scorer.table.log_axes.sum(axis=1)
    held = np.zeros(len(size), dtype=bool)
    held[np.argsort(size, kind="stable")[len(size) - max(1, round(len(size) * HELD_OUT_SHARE)) :]] = True
    if (~held).sum() <= estimator.features.allowed.sum(axis=1).max():
        return None
    fitted = estimator.coefficients((~held).astype(np.float64)[None])
    predicted = predict(estimator, np.repeat(fitted, len(size), axis=0))
    split = f"the largest {held.sum()} cells by the law of the other {(~held).sum()}"
    return score(scorer, predicted, held, ("train_small_test_large", split))


def predict(estimator: Estimator, coefficients: Array) -> Array:
    """Return log predictions (cells, knobs): of cell c by ``coefficients[c]``, from (cells, knobs, q)."""
    return np.asarray(np.einsum("ckq,cq->ck", coefficients, estimator.features.matrix))


def score(scorer: Scorer, predicted: Array, held: NDArray[np.bool_], named: tuple[str, str]) -> LawEvaluation:
    """Return the three metrics of log predictions (cells, knobs) over the cells ``held``; ``named``: kind and split."""
    regrets = scorer.regrets(predicted)
    outside = int((scorer.outside(predicted) & held).sum())
    metrics = []
    for name, regret in regrets.items():
        scored = held & np.isfinite(regret)
        metrics.append(
            Metric(
                name,
                _permille(regret[scored]),
                _permille(scorer.floors[name][scored & np.isfinite(scorer.floors[name])]),
                int(scored.sum()),
                0 if name == "quadratic" else outside,
            )
        )
    unfitted = int((held & ~np.isfinite(predicted).all(axis=1)).sum())
    return LawEvaluation(*named, int(held.sum()), unfitted, tuple(metrics))


def _permille(regret: Array) -> float | None:
    return float(regret.mean() * PERMILLE) if len(regret) else None


def _floors(table: CellTable, c: int, quadratic: Quadratic | None) -> tuple[float, float, float]:
    """Return the expected regret of the true optimum by each metric if the quadratic is the truth; NaN without one."""
    if quadratic is None or len(quadratic.optima) < 2:
        return np.nan, np.nan, np.nan
    rows = table.rows_of(c)
    near = table.excess[rows] < WINDOW
    x, truth = table.levels[rows][near], quadratic.excess(table.levels[rows][near])
    noise = _noise(x, table.z[rows][near])
    errors = np.random.default_rng(c).standard_normal((SIMULATIONS, len(x))) * noise
    lowest = float((truth + errors).min(axis=1).mean())
    nearest = float(truth[np.argmin(((x - quadratic.optimum) ** 2).sum(axis=1))])
    between = _between(x, truth, quadratic.optimum)
    knobs = x.shape[1]
    # Mean of a scaled chi-square from its median: a few draws with hardly any curvature lie far away.
    curved = float(np.median(quadratic.excess(quadratic.optima)) * knobs / stats.chi2.median(knobs))
    return (nearest if np.isnan(between) else between) - lowest, nearest - lowest, curved


def _between(x: Array, values: Array, point: Array) -> float:
    """Return ``values`` at ``x`` interpolated linearly at ``point``; NaN outside."""
    if x.shape[1] == 1:
        order = np.argsort(x[:, 0], kind="stable")
        return float(np.interp(point[0], x[order, 0], values[order], left=np.nan, right=np.nan))
    try:
        return float(LinearNDInterpolator(x, values, rescale=True)(point)[0])
    except QhullError:
        return float("nan")


def _noise(x: Array, z: Array) -> float:
    """Return the noise of log loss: the residual of a cubic, whose extra terms absorb skew that is not noise."""
    standard = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-12)
    knobs = range(x.shape[1])
    for degree in (3, 2):
        powers = [t for d in range(degree + 1) for t in combinations_with_replacement(knobs, d)]
        if len(z) > len(powers) + 2:
            design = np.stack([np.prod(standard[:, list(t)], axis=1) for t in powers], axis=1)
            residual = z - design @ np.linalg.lstsq(design, z, rcond=None)[0]
            return float(np.sqrt((residual**2).sum() / (len(z) - len(powers))))
    return 0.0
