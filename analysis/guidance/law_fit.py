"""Robust fit of the law and the levels: where each surface has its optimum, and how far every point is from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeplaw.analysis.guidance.space import Array, Index
from sweeplaw.analysis.guidance.terms import Terms

ROUNDS = 12  # of reweighting; the optimum moves less than a hundredth of an octave afterwards
WEIGHT_NOISE, WEIGHT_SLOPE = (
    0.0005,
    0.6,
)  # sd of a residual: a quadratic is wrong by more than half far from the optimum
HUBER = 2.0  # residuals in sd beyond which a record counts linearly
LARGEST_EXCESS = 0.15  # relative loss above the best beyond which all points are alike: diverged runs too
LEVEL_BELOW_BEST = 0.01  # the level of a cell is at most this far below its best record


@dataclass(frozen=True, slots=True, eq=False)
class LawFit:
    """``curvature`` (knobs, knobs) and ``optimum`` (surfaces, knobs) of the fitted quadratics.

    ``level`` (cells,): of the lowest surface of a cell. ``rise`` (points,): the fitted log loss above it. ``base``
    (cells,): the lowest log loss of a cell, from its records and its level. ``excess`` (points,): of each point above
    that, of at most `LARGEST_EXCESS`.
    """

    curvature: Array
    optimum: Array
    level: Array
    rise: Array
    base: Array
    excess: Array


def fit_law(terms: Terms, index: Index, y: Array, best: Array) -> LawFit:
    """Return the fit to log losses ``y`` at the points ``index``; ``best`` (cells,) is inf where nothing was run."""
    cell = terms.space.cell[index]
    clipped = np.minimum(y, best[cell] + LARGEST_EXCESS)
    design, target = terms.features(index) * terms.sd, clipped - terms.mean(index)
    excess, influence = clipped - best[cell], np.ones(len(y))
    for _ in range(ROUNDS):
        spread = WEIGHT_NOISE + WEIGHT_SLOPE * excess
        weight = influence / spread**2
        matrix = design.T @ (design * weight[:, None]) + np.eye(len(terms.sd))
        parameters = terms.sd * np.linalg.solve(matrix, design.T @ (weight * target))
        fit = _quadratics(terms, parameters, best)
        excess = excess_of_records(fit.rise[index], clipped - fit.base[cell])
        residual = np.abs(clipped - fit.level[cell] - fit.rise[index]) / (WEIGHT_NOISE + WEIGHT_SLOPE * excess)
        influence = np.minimum(1.0, HUBER / np.maximum(residual, 1e-9))
    fit.excess[index] = excess
    return fit


def cell_base(level: Array, best: Array) -> Array:
    """Return the lowest log loss of cells from their fitted level and best record (inf: nothing was run)."""
    return np.where(np.isfinite(best), np.minimum(best, np.maximum(level, best - LEVEL_BELOW_BEST)), level)


def excess_of_records(rise: Array, above_base: Array) -> Array:
    """Return the excess of points that were run: what was measured, but at least half of what the fit says."""
    return np.clip(np.maximum(rise / 2, above_base), 0.0, LARGEST_EXCESS)


def _quadratics(terms: Terms, parameters: Array, best: Array) -> LawFit:
    """Return the surfaces with these parameters."""
    space, curvature, slopes = terms.space, terms.curvature(parameters), terms.slopes(parameters)
    optimum = -np.linalg.solve(curvature, slopes.T).T / 2
    level = terms.levels(parameters) + (slopes * optimum).sum(axis=1) / 2
    lowest = np.full(len(space.cells), np.inf)
    np.minimum.at(lowest, space.surface_cell, level)
    off = space.x - optimum[space.surface]
    rise = ((off @ curvature) * off).sum(axis=1) + (level - lowest[space.surface_cell])[space.surface]
    excess = np.clip(rise, 0.0, LARGEST_EXCESS)
    return LawFit(curvature, optimum, lowest, rise, cell_base(lowest, best), excess)
