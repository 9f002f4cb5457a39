"""Calibration of a forecast on its own past: what it would have said of each later budget, widened where it missed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sweeplaw.analysis.forecasting.budgets import budgets_of, next_budgets
from sweeplaw.analysis.forecasting.process import Points, Process, learn
from sweeplaw.analysis.laws.law import Law

Array = np.ndarray
Learn = Callable[..., Process]  # as `process.learn`

LOOKED_BACK = 5  # latest budgets that are forecast again
TRUST = 8.0  # rows that the process's own scale counts for
ROWS_OF_BUDGET = 2  # at most, that one budget counts for: its runs share their error
CLIP = 25.0  # of a squared standardised error


def calibrated(law: Law, points: Points, losses: Array, process: Process, learn: Learn = learn) -> Process:
    """Return the process with the scales that its own past asks for, never smaller ones."""
    total = weight = TRUST
    for cut in list(next_budgets(budgets_of(points.compute)))[-LOOKED_BACK:]:
        past = learn(law, points.take(cut.known), losses[cut.known], process.params)
        centres, scales, _ = past.distribution(points.take(cut.ahead), noise=True)
        square = np.mean(np.minimum(_standardised(past.weights, centres, scales, np.log(losses[cut.ahead])), CLIP))
        rows = min(ROWS_OF_BUDGET, int(cut.ahead.sum()))
        total, weight = total + rows * float(square), weight + rows
    return process.inflated(max(1.0, float(np.sqrt(total / weight))))


def _standardised(weights: Array, centres: Array, scales: Array, target: Array) -> Array:
    """Return the squared errors of the mixture's mean over its variance: (n,)."""
    mean = weights @ centres
    variance = weights @ (scales**2 + centres**2) - mean**2
    return np.asarray((target - mean) ** 2 / np.maximum(variance, 1e-300))
