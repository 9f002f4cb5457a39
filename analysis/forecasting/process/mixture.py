"""Quantiles of a mixture of Student t distributions, of one number of degrees of freedom, at many points at once."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln, stdtr, stdtrit

Array = np.ndarray

STEPS = 60  # at most; of bisection alone: to the precision of a double
PRECISE = 1e-12  # of a scale


def quantiles(level: float, weights: Array, centres: Array, scales: Array, freedom: float) -> Array:
    """Return a quantile of n mixtures, of components with ``weights`` (k,), ``centres`` and ``scales`` (k, n): (n,).

    Newton's method on the distribution function, with bisection wherever a step leaves what is known to enclose it.
    """
    reach = centres + scales * stdtrit(freedom, level)
    low, high = reach.min(axis=0), reach.max(axis=0)  # the mixture's lies between its components'
    found, narrowest = weights @ reach, scales.min(axis=0)
    for _ in range(STEPS):
        unit = (found - centres) / scales
        excess = weights @ stdtr(freedom, unit) - level
        low, high = np.where(excess < 0, found, low), np.where(excess < 0, high, found)
        with np.errstate(all="ignore"):
            step = found - excess / (weights @ (_density(unit, freedom) / scales))
        step = np.where((step > low) & (step < high), step, (low + high) / 2)
        moved, found = np.abs(step - found), step
        if np.all(moved <= PRECISE * narrowest):
            break
    return np.asarray(found)


def _density(unit: Array, freedom: float) -> Array:
    """Return the density of Student's t."""
    constant = np.exp(gammaln((freedom + 1) / 2) - gammaln(freedom / 2)) / np.sqrt(freedom * np.pi)
    return np.asarray(constant * (1 + unit**2 / freedom) ** (-(freedom + 1) / 2))
