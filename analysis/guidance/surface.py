"""Belief about the loss: one Gaussian process over all points of all cells, conditioned on the records.

Its mean is the law and the levels with their priors; what a quadratic cannot say is a discrepancy in coordinates
relative to the fitted optimum, so that an asymmetric shape learnt in cheap cells transfers to expensive cells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solve_triangular

from sweeplaw.analysis.guidance.heterogeneity import MOST_RECORDS as EVIDENCE_RECORDS
from sweeplaw.analysis.guidance.heterogeneity import group_scales
from sweeplaw.analysis.guidance.law_fit import LARGEST_EXCESS, LawFit, cell_base, excess_of_records, fit_law
from sweeplaw.analysis.guidance.space import Array, CandidateSpace, Index
from sweeplaw.analysis.guidance.terms import Terms

SHAPE_SD, CELL_SHAPE_SD = 0.002, 0.0015  # of the discrepancy in all cells, and in one cell (half of it in cells nearby)
SHAPE_LENGTH = 1.5  # octaves of a knob
CELL_LENGTH = 2.0  # octaves of an axis
NOISE_SLOPE = 0.3  # sd of a record per relative excess: the surface is not modelled well far from the optimum
STEEP_FROM = 0.03  # relative excess beyond which that slope is trebled
ACTIVE_EXCESS = 0.02  # relative excess below which a point is followed
LEAST_ACTIVE = 5  # points followed in every cell
MOST_OF_A_CELL, MOST_ACTIVE = 80, 1200  # points followed: all with little excess in a grid of 120 points a cell
MOST_RECORDS = 450  # records that are factorized: those with the least excess
LEAST_VARIANCE = 1e-14


@dataclass(slots=True, eq=False)
class Belief:
    """Mean and covariance of the noise-free log loss at the ``active`` points, followed by the law's parameters.

    ``row`` (points,): the row of a point, or -1. ``noise`` (points,): sd of a record, ``seed_noise`` at an optimum.
    `learn` and `await_records` change it in place.
    """

    space: CandidateSpace
    terms: Terms
    fit: LawFit
    seed_noise: float
    active: Index
    row: Index
    noise: Array
    mean: Array
    covariance: Array

    @property
    def mu(self) -> Array:
        """Mean at the active points."""
        return self.mean[: len(self.active)]

    @property
    def variance(self) -> Array:
        """Variance of the noise-free log loss at the active points."""
        return np.maximum(self.covariance.diagonal()[: len(self.active)], LEAST_VARIANCE)

    @property
    def spread(self) -> Array:
        """Noise sd at the active points."""
        return self.noise[self.active]

    def copy(self) -> Belief:
        """Return a copy that may be changed."""
        return replace(self, noise=self.noise.copy(), mean=self.mean.copy(), covariance=self.covariance.copy())

    def learn(self, point: int, y: float, best: float) -> None:
        """Condition on one record; ``best`` is the lowest log loss of its cell, this record included."""
        base = float(cell_base(self.fit.level[[self.space.cell[point]]], np.array([best]))[0])
        above = min(y - base, LARGEST_EXCESS)
        excess = excess_of_records(self.fit.rise[[point]], np.array([above]))
        self.noise[point] = noise_sd(excess, self.seed_noise)[0]
        if (row := self.row[point]) >= 0:
            column = self.covariance[row].copy()
            total = column[row] + self.noise[point] ** 2
            self.mean += column * ((base + above - self.mean[row]) / total)
            self.covariance -= np.outer(column / total, column)

    def await_records(self, points: Index) -> None:
        """Condition on records of these points whose values are not known yet: the mean stays, variances fall."""
        points = points[self.row[points] >= 0]
        if len(points):
            rows = self.row[points]
            covariance = self.covariance[np.ix_(rows, rows)] + np.diag(self.noise[points] ** 2)
            known = solve_triangular(np.linalg.cholesky(covariance), self.covariance[rows], lower=True)
            self.covariance -= known.T @ known


def noise_sd(excess: Array, seed_noise: float) -> Array:
    """Return the sd of a record by its relative excess above the best of its cell."""
    return seed_noise + NOISE_SLOPE * excess + 2 * NOISE_SLOPE * np.maximum(0.0, excess - STEEP_FROM)


def believe(terms: Terms, index: Index, y: Array, best: Array, seed_noise: float) -> Belief:
    """Return the belief after log losses ``y`` at the points ``index``; ``best`` (cells,) is inf without a record."""
    terms = _with_scales(terms, index, y, best, seed_noise)
    fit = fit_law(terms, index, y, best)
    noise, active = noise_sd(fit.excess, seed_noise), _followed(terms.space, fit)
    known, values = _known(terms, fit, index, y, MOST_RECORDS)
    left, right = terms.features(known) * terms.sd, terms.features(active) * terms.sd
    law = slice(terms.shared)
    covariance = left @ left.T + discrepancy(terms.space, fit, known, known) + np.diag(noise[known] ** 2)
    lower = np.linalg.cholesky(covariance)
    cross = np.hstack([left @ right.T + discrepancy(terms.space, fit, known, active), left[:, law] * terms.sd[law]])
    explained = solve_triangular(lower, cross, lower=True)
    mean = np.r_[terms.mean(active), np.zeros(terms.shared)]
    mean += explained.T @ solve_triangular(lower, values, lower=True)
    shared = right[:, law] * terms.sd[law]
    before = right @ right.T + discrepancy(terms.space, fit, active, active)
    before = np.block([[before, shared], [shared.T, np.diag(terms.sd[law] ** 2)]])
    row = np.full(len(terms.space), -1)
    row[active] = np.arange(len(active))
    return Belief(terms.space, terms, fit, seed_noise, active, row, noise, mean, before - explained.T @ explained)


def _with_scales(terms: Terms, index: Index, y: Array, best: Array, seed_noise: float) -> Terms:
    """Return the terms with the scales best supported by the records of lowest excess."""
    fit = fit_law(terms, index, y, best)
    known, values = _known(terms, fit, index, y, EVIDENCE_RECORDS)
    noise = noise_sd(fit.excess[known], seed_noise)
    rest = discrepancy(terms.space, fit, known, known) + np.diag(noise**2)
    return terms.scaled(group_scales(terms, terms.features(known), rest, values))


def _known(terms: Terms, fit: LawFit, index: Index, y: Array, most: int) -> tuple[Index, Array]:
    """Return the points of the records with the least excess, and their log losses less the prior mean."""
    kept = np.argsort(fit.excess[index], kind="stable")[:most]
    known = index[kept]
    base = fit.base[terms.space.cell[known]]
    return known, np.minimum(y[kept], base + LARGEST_EXCESS) - terms.mean(known)


def discrepancy(space: CandidateSpace, fit: LawFit, left: Index, right: Index) -> Array:
    """Return the covariance (left, right) of the part of the log loss that is not quadratic."""
    near = np.exp(-_squared(_relative(space, fit, left), _relative(space, fit, right)) / (2 * SHAPE_LENGTH**2))
    cells = np.exp(-_squared(space.z, space.z) / (2 * CELL_LENGTH**2))
    between = SHAPE_SD**2 + CELL_SHAPE_SD**2 * (0.5 * cells + 0.5 * np.eye(len(space.cells)))
    shape = near * between[space.cell[left][:, None], space.cell[right]]
    if len(space.recipes) > 1:
        shape *= 0.5 + 0.5 * (space.recipe[left][:, None] == space.recipe[right])
    return np.asarray(shape)


def _relative(space: CandidateSpace, fit: LawFit, points: Index) -> Array:
    return np.asarray(space.x[points] - fit.optimum[space.surface[points]])


def _squared(left: Array, right: Array) -> Array:
    """Return the squared distances between two sets of coordinates."""
    products = left @ right.T
    return np.asarray((left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * products)


def _followed(space: CandidateSpace, fit: LawFit) -> Index:
    """Return the points with little excess: at least a few of every cell, and not more than can be followed."""
    most = int(np.clip(MOST_ACTIVE // len(space.cells), LEAST_ACTIVE, MOST_OF_A_CELL))
    order = np.lexsort((fit.excess, space.cell))
    first = np.searchsorted(space.cell[order], np.arange(len(space.cells)))
    rank = np.empty(len(space), dtype=np.int64)
    rank[order] = np.arange(len(space)) - first[space.cell[order]]
    return np.flatnonzero((rank < LEAST_ACTIVE) | ((rank < most) & (fit.excess < ACTIVE_EXCESS)))
