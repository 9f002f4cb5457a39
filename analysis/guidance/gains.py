"""What one more run is worth: expected improvement of the best record, and knowledge gradient of all cells' optima."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from sweeplaw.analysis.guidance.space import Array, Index
from sweeplaw.analysis.guidance.surface import LEAST_VARIANCE, Belief

LOWEST = 20  # points of each cell among which a record can move the optimum
SHORT_LIST = 30  # candidates with the most improvement per FLOP, and as many with the most knowledge of their own cell
PER_CELL = 4  # candidates of each cell
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(7)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


@dataclass(frozen=True, slots=True, eq=False)
class Gains:
    """Gains of ``rows`` (candidates,), active points: ``improvement`` of their cell's best record, and ``knowledge``
    (candidates, cells), how far the expected minimum of each cell's noise-free surface falls. In log loss.
    """

    rows: Index
    improvement: Array
    knowledge: Array


def expected_fall(distance: Array, sd: Array) -> Array:
    """Return E max(0, v) of a normal v with this mean and sd."""
    sd = np.maximum(sd, np.sqrt(LEAST_VARIANCE))
    ratio = distance / sd
    return np.asarray(distance * ndtr(ratio) + sd * np.exp(-(ratio**2) / 2) / np.sqrt(2 * np.pi))


def lowest_rows(belief: Belief, most: int) -> list[Index]:
    """Return the active rows of each cell with the lowest means, in order, at most ``most`` of them."""
    cell, mu = belief.space.cell[belief.active], belief.mu
    order = np.lexsort((mu, cell))
    ends = np.searchsorted(cell[order], np.arange(len(belief.space.cells) + 1))
    return [order[a:b][:most] for a, b in pairwise(ends)]


def gains(belief: Belief, allowed: NDArray[np.bool_], run: NDArray[np.bool_], best: Array) -> Gains:
    """Return the gains of the most promising candidates among the ``allowed`` active rows.

    ``run`` (active,): points with a record or a pending one. ``best`` (cells,): lowest record, inf where there is none.
    """
    low = lowest_rows(belief, LOWEST)
    lead = np.array([rows[0] for rows in low])
    improvement = _improvement(belief, lead, run, best)
    own = _own_knowledge(belief, lead)
    cost, cell = belief.space.cost[belief.active], belief.space.cell[belief.active]
    rows = np.flatnonzero(allowed)
    chosen = {
        int(r)
        for score in (improvement, own)
        for r in rows[np.argsort(-(score / cost)[rows], kind="stable")[:SHORT_LIST]]
    }
    order = rows[np.lexsort((-((improvement + own) / cost)[rows], cell[rows]))]
    place = np.arange(len(order)) - np.searchsorted(cell[order], cell[order])
    chosen |= {int(r) for r in order[place < PER_CELL]}
    picked = np.array(sorted(chosen), dtype=np.int64)
    return Gains(picked, improvement[picked], _knowledge(belief, picked, low))


def _improvement(belief: Belief, lead: Index, run: NDArray[np.bool_], best: Array) -> Array:
    """Return the expected fall of the recorded answer of its cell by a run of each active point."""
    mu, noise, variance = belief.mu, belief.spread, belief.variance
    cell = belief.space.cell[belief.active]
    unseen = np.full(len(best), np.inf)
    np.minimum.at(unseen, cell[~run], mu[~run])
    seen = np.isfinite(best)
    answer = np.where(seen, np.minimum(best, unseen), mu[lead])
    ahead = lead[cell]
    contrast = (
        variance + variance[ahead] - 2 * belief.covariance[np.arange(len(mu)), ahead] + noise**2 + noise[ahead] ** 2
    )
    contrast = np.where(np.arange(len(mu)) == ahead, noise**2, np.maximum(contrast, LEAST_VARIANCE))
    return expected_fall(answer[cell] - mu, np.sqrt(np.where(seen[cell], variance + noise**2, contrast)))


def _own_knowledge(belief: Belief, lead: Index) -> Array:
    """Return the knowledge gradient of a choice between each active point and its cell's lowest, after a run of it."""
    mu, variance, ahead = belief.mu, belief.variance, lead[belief.space.cell[belief.active]]
    shared = belief.covariance[np.arange(len(mu)), ahead]
    return expected_fall(mu[ahead] - mu, np.abs(variance - shared) / np.sqrt(variance + belief.spread**2))


def _knowledge(belief: Belief, rows: Index, low: list[Index]) -> Array:
    """Return the knowledge gradient (rows, cells)."""
    width = max(len(group) for group in low)
    table = np.stack([np.r_[group, np.full(width - len(group), group[0])] for group in low])
    sd = np.sqrt(belief.variance[rows] + belief.spread[rows] ** 2)
    step = belief.covariance[rows][:, table] / sd[:, None, None]
    mu = belief.mu[table]
    expected = sum(w * (mu + step * node).min(axis=2) for node, w in zip(NODES, WEIGHTS, strict=True))
    return np.asarray(mu.min(axis=1) - expected)
