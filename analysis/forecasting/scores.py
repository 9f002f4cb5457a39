"""Scores of forecasts against what happened: error, coverage of bands, width, and the interval score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Array = np.ndarray

LEVELS = (0.5, 0.8, 0.95)


@dataclass(frozen=True, slots=True)
class Bands:
    """Forecasts of n losses: ``median`` (n,), and ``low`` and ``high`` (n,) for each of `LEVELS`."""

    median: Array
    ends: Mapping[float, tuple[Array, Array]]


def probabilities() -> tuple[float, ...]:
    """Return the quantiles that `bands` takes, in order: the median, then the low and high end of each level."""
    return (0.5, *(end for level in LEVELS for end in ((1 - level) / 2, (1 + level) / 2)))


def bands(quantiles: Array) -> Bands:
    """Return the bands whose ends are quantiles of the loss at `probabilities`: (7, n)."""
    ends = {level: (quantiles[1 + 2 * at], quantiles[2 + 2 * at]) for at, level in enumerate(LEVELS)}
    return Bands(quantiles[0], ends)


def score(forecast: Bands, losses: Array) -> dict[str, float]:
    """Return the scores of a forecast of n losses, averaged over them.

    The error, the width and the interval score (Gneiting & Raftery 2007: width plus 2 / (1 - level) times the distance
    of a loss outside, at 95 %) are relative to the loss.
    """
    low, high = forecast.ends[0.95]
    width = (high - low) / losses
    outside = np.maximum(low - losses, 0) + np.maximum(losses - high, 0)
    covered = {f"coverage_{level * 100:.0f}": _covered(*ends, losses) for level, ends in forecast.ends.items()}
    return {
        "mean_abs_error": float(np.mean(np.abs(forecast.median / losses - 1))),
        **covered,
        "width_95": float(np.mean(width)),
        "interval_score": float(np.mean(width + 2 / 0.05 * outside / losses)),
    }


def _covered(low: Array, high: Array, losses: Array) -> float:
    return float(np.mean((low <= losses) & (losses <= high)))
