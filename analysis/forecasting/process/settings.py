"""The scales of the parts of a forecast: their grids and priors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

Array = np.ndarray

LENGTHS = (2.0, 4.0)  # of the smooth discrepancy, in e-folds of the inputs
SMOOTH = (0.5, 1.0, 2.0, 4.0, 8.0)  # its standard deviation, in units of the noise's
OFFSETS = (0.0, 0.7, 2.0, 5.0)  # standard deviations of the offsets of sizes and budgets, likewise
TREND = (0.0, 0.1)  # by which exponent of compute the standard deviation of the noise falls
USUAL_SMOOTH, SMOOTH_SPREAD = 3.0, 0.7  # prior of the smooth part: log-normal
OFFSET_PENALTY = 0.5  # log prior of each kind of offset that is there


@dataclass(frozen=True, slots=True)
class ProcessScales:
    """Scales of the parts, a row of ``values`` (k, 5) each; length and trend by number, the others in the noise's."""

    values: Array

    @property
    def length(self) -> Array:
        """The number of the length of the smooth part: (k,)."""
        return self.values[:, 0].astype(int)

    @property
    def trend(self) -> Array:
        """The number of the trend of the noise with compute: (k,)."""
        return self.values[:, 1].astype(int)

    @property
    def scales(self) -> Array:
        """The standard deviations of the smooth part and the offsets of sizes and budgets: (k, 3)."""
        return self.values[:, 2:]

    def take(self, rows: Any) -> ProcessScales:
        """Return these settings, by number or mask."""
        return ProcessScales(np.atleast_2d(self.values[rows]))

    def by_length_and_trend(self) -> list[Array]:
        """Return the numbers of the settings of each length and trend, which share the features and their weights."""
        kind = np.unique(self.values[:, :2], axis=0, return_inverse=True)[1].ravel()
        return [np.flatnonzero(kind == one) for one in range(kind.max() + 1)]

    @property
    def log_prior(self) -> Array:
        """The logarithm of the prior of each setting: (k,)."""
        smooth = np.log(self.scales[:, 0] / USUAL_SMOOTH) / SMOOTH_SPREAD
        return np.asarray(-(smooth**2) / 2 - OFFSET_PENALTY * np.sum(self.scales[:, 1:] > 0, axis=1))


def _product(*axes: Sequence[float]) -> ProcessScales:
    return ProcessScales(np.array(list(product(*axes)), dtype=float))


def smooth_block(at: ProcessScales) -> ProcessScales:
    """Return all lengths, trends and scales of the smooth part beside the offsets of one setting."""
    return _product(range(len(LENGTHS)), range(len(TREND)), SMOOTH, *at.values[:, 3:].T.tolist())


def offset_block(at: ProcessScales, sizes: bool, budgets: bool) -> ProcessScales:
    """Return all scales of the offsets that the rows have, beside the smooth part of one setting."""
    scales = OFFSETS if sizes else (0.0,), OFFSETS if budgets else (0.0,)
    return _product(*at.values[:, :3].T.tolist(), *scales)


def combined(smooth: ProcessScales, offsets: ProcessScales) -> ProcessScales:
    """Return the product of the settings of the smooth part and of the offsets."""
    pairs = [np.concatenate([one[:3], other[3:]]) for one in smooth.values for other in offsets.values]
    return ProcessScales(np.array(pairs))


START = ProcessScales(np.array([[0.0, 0.0, 1.0, 0.0, 0.0]]))
