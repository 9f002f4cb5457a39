"""Knobs without an effect on the loss: those whose terms explain no more than noise would, over all cells together.

In each cell the rows near its best have a quadratic in all knobs, and one without the terms of a knob. Both sums of
squares are added over the cells, and an F test asks whether the knob's terms explain more than as many of noise. The
noise is that of the residuals, so an effect that is smaller than the misfit of the quadratics counts as none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sweeplaw.analysis.hyperlaws.evaluation import WINDOW
from sweeplaw.analysis.tuning.cells import CellTable
from sweeplaw.analysis.tuning.quadratics.quadratic import term_count, terms

Array = NDArray[np.float64]

BY_CHANCE = 0.05  # probability of as large an effect without one, above which a knob counts as flat


def flat_knobs(table: CellTable) -> dict[str, float]:
    """Return, by flat knob, the probability that noise explains as much; none where no cell has a row to spare."""
    squares, freedom = 0.0, 0
    more, dropped = np.zeros(len(table.knobs)), np.zeros(len(table.knobs))
    for c in range(len(table.cells)):
        rows = table.rows_of(c)
        near = table.excess[rows] < WINDOW
        x, z = table.x[rows][near], table.z[rows][near]
        if len(z) <= term_count(len(table.knobs)):
            continue
        design = terms((x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-12))
        rank, whole = _residual(design, z)
        squares, freedom = squares + whole, freedom + len(z) - rank
        for k in range(len(table.knobs)):
            smaller, without = _residual(design[:, ~_terms_of(k, len(table.knobs))], z)
            more[k] += without - whole
            dropped[k] += rank - smaller
    if not freedom or not squares > 0:
        return {}
    ratio = more / np.maximum(dropped, 1) / (squares / freedom)
    chance = np.where(dropped > 0, stats.f.sf(ratio, np.maximum(dropped, 1), freedom), 0.0)
    return {name: float(one) for name, one in zip(table.knobs, chance, strict=True) if one > BY_CHANCE}


def _terms_of(knob: int, knobs: int) -> NDArray[np.bool_]:
    """Return which terms of a full quadratic have a knob in them."""
    first, second = np.triu_indices(knobs)
    return np.concatenate([[False], np.arange(knobs) == knob, (first == knob) | (second == knob)])


def _residual(design: Array, z: Array) -> tuple[int, float]:
    """Return the rank of a design, and the sum of squared residuals of least squares."""
    beta, _, rank, _ = np.linalg.lstsq(design, z, rcond=None)
    return int(rank), float(np.sum((z - design @ beta) ** 2))
