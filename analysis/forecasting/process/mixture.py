"""Quantiles of a mixture of Student t distributions, of one number of degrees of freedom, at many points at once."""

from __future__ import annotations

import numpy as np
from scipy.special import stdtr, stdtrit

Array = np.ndarray

STEPS = 60  # of bisection: to the precision of a double


def quantiles(level: float, weights: Array, centres: Array, scales: Array, freedom: float) -> Array:
    """Return a quantile of n mixtures, of components with ``weights`` (k,), ``centres`` and ``scales`` (k, n): (n,)."""
    reach = centres + scales * stdtrit(freedom, level)
    low, high = reach.min(axis=0), reach.max(axis=0)  # the mixture's lies between its components'
    for _ in range(STEPS):
        middle = (low + high) / 2
        below = weights @ stdtr(freedom, (middle - centres) / scales) < level
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray((low + high) / 2)
