"""Power-law eigenvalues of the kernel and coefficients of the target, in the eigenbasis of the Gaussian data.

Mode i = 1, 2, … has eigenvalue i^-capacity and the target coefficient i^-(1 + 2 source capacity)/2, so that the sum of
coefficient^2 / eigenvalue^(2 s) over infinitely many modes is finite for s < source: the capacity and source conditions
of Caponnetto & De Vito 2007 in the notation of Cui et al. 2021 (arXiv:2105.15004).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Spectrum:
    """The population: ``eigenvalues`` (modes,) and the ``target`` (modes,), a coefficient of each eigenfunction.

    Eigenfunctions of Gaussian data are independent standard normal numbers, so the target's power is the sum of the
    squared coefficients.
    """

    eigenvalues: Floats
    target: Floats


def power_law(dimension: int, capacity: float, source: float) -> Spectrum:
    """Return the first ``dimension`` modes of a spectrum of these exponents, ``capacity`` > 1 and ``source`` > 0."""
    modes = np.arange(1, dimension + 1, dtype=np.float64)
    return Spectrum(modes**-capacity, modes ** (-0.5 - source * capacity))
