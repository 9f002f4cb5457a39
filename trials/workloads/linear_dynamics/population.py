"""The population of the linear task: power-law variances of the inputs, and a teacher in their directions.

Inputs are Gaussian with independent coordinates, coordinate k = 1, 2, … of variance l_k = k^-capacity. The teacher has
the coefficient w_k with l_k w_k^2 = k^-decay, so that the risk of predicting zero, the sum of those, is finite for any
number of coordinates if decay > 1. Capacity 0 and decay 0 are the isotropic task: unit variances, and a teacher of norm
1 with equal coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LinearTask:
    """``variances`` of the inputs and the ``teacher``, (dimension,) each, of which the student has the first ``width``
    coordinates; ``noise`` is the standard deviation of the labels' noise, ``init`` that of the student's initial norm.
    """

    variances: Floats
    teacher: Floats
    width: int
    noise: float
    init: float

    @property
    def missing(self) -> float:
        """Risk that no student of this width can lose: coordinates it does not have, and label noise."""
        return float(np.sum(self.variances[self.width :] * self.teacher[self.width :] ** 2)) + self.noise**2

    @property
    def learnable(self) -> Floats:
        """Expected risk in each coordinate of the student at the start, (width,)."""
        own, teacher = self.variances[: self.width], self.teacher[: self.width]
        return own * (teacher**2 + self.init**2 / self.width)


def linear_task(dimension: int, width: int, capacity: float, decay: float, noise: float, init: float) -> LinearTask:
    """Return the task of these exponents; both 0 are the isotropic one."""
    modes = np.arange(1, dimension + 1, dtype=np.float64)
    power = modes**-decay / (1.0 if decay > 1 else dimension)
    variances = modes**-capacity
    return LinearTask(variances, np.sqrt(power / variances), width, noise, init)
