"""Calibration of a forecast by backtests: bands of each later budget from the runs before it, widened where needed."""

from __future__ import annotations

import numpy as np

from sweeplaw.analysis.forecasting.budgets import TrainTestSplit, budgets_of, next_budgets
from sweeplaw.analysis.forecasting.process.learning import learn
from sweeplaw.analysis.forecasting.process.process import Process, RunPoints
from sweeplaw.analysis.laws.law import Law

Array = np.ndarray

LOOKED_BACK = 5  # latest budgets that are forecast again
TRUST = 8.0  # rows that the process's own scale counts for
ROWS_OF_BUDGET = 2  # at most, that one budget counts for: its runs share their error
CLIP = 25.0  # of a squared standardised error


class LearntProcesses:
    """The processes learnt from parts of one table. Each begins at the law of the largest smaller part known."""

    def __init__(self, law: Law) -> None:
        self.law = law
        self._known: dict[tuple[int, float], Process] = {}
        self._squares: dict[tuple[int, float, int], float] = {}

    def learn(self, points: RunPoints, losses: Array) -> Process:
        """Return the process learnt from these runs, at most once for each set of them."""
        key = len(losses), float(np.sum(losses))
        if key not in self._known:
            smaller = max((one for one in self._known if one < key), default=None)
            start = None if smaller is None else self._known[smaller].params
            self._known[key] = learn(self.law, points, losses, start)
        return self._known[key]

    def square(self, points: RunPoints, losses: Array, cut: TrainTestSplit) -> float:
        """Return the mean squared standardised error, up to CLIP, of the runs ahead of a cut from those known."""
        key = int(cut.known.sum()), float(np.sum(losses[cut.known])), int(cut.ahead.sum())
        if key not in self._squares:
            past = self.learn(points.take(cut.known), losses[cut.known])
            centres, scales, _ = past.distribution(points.take(cut.ahead), noise=True)
            squares = _standardised(past.weights, centres, scales, np.log(losses[cut.ahead]))
            self._squares[key] = float(np.mean(np.minimum(squares, CLIP)))
        return self._squares[key]


def calibrated(points: RunPoints, losses: Array, memory: LearntProcesses) -> Process:
    """Return the process learnt from runs, with the scales that backtests require, never smaller ones."""
    total = weight = TRUST
    for cut in list(next_budgets(budgets_of(points.compute)))[-LOOKED_BACK:]:
        rows = min(ROWS_OF_BUDGET, int(cut.ahead.sum()))
        total, weight = total + rows * memory.square(points, losses, cut), weight + rows
    return memory.learn(points, losses).inflated(max(1.0, float(np.sqrt(total / weight))))


def _standardised(weights: Array, centres: Array, scales: Array, target: Array) -> Array:
    """Return the squared errors of the mixture's mean over its variance: (n,)."""
    mean = weights @ centres
    variance = weights @ (scales**2 + centres**2) - mean**2
    return np.asarray((target - mean) ** 2 / np.maximum(variance, 1e-300))
