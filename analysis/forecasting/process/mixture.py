"""Quantiles of a mixture of Student t distributions, of one number of degrees of freedom, at many points at once."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln, ndtri, stdtr, stdtrit

Array = np.ndarray

STEPS = 60  # at most; of bisection alone: to the precision of a double
PRECISE = 1e-11  # of a scale: about as far as Student's distribution function is known


def quantiles(level: float, weights: Array, centres: Array, scales: Array, freedom: float) -> Array:
    """Return a quantile of n mixtures, of components with ``weights`` (k,), ``centres`` and ``scales`` (k, n): (n,).

    Newton's method on the normal quantile of the distribution function, which is nearly linear, with bisection wherever
    a step leaves what is known to enclose it.
    """
    reach = centres + scales * stdtrit(freedom, level)
    low, high = reach.min(axis=0), reach.max(axis=0)  # the mixture's lies between its components'
    found, narrowest = weights @ reach, scales.min(axis=0)
    left = np.arange(len(found))
    for _ in range(STEPS):
        at, middle, scale = found[left], centres[:, left], scales[:, left]
        unit = (at - middle) / scale
        below = weights @ stdtr(freedom, unit)
        low[left], high[left] = np.where(below < level, at, low[left]), np.where(below < level, high[left], at)
        with np.errstate(all="ignore"):
            normal = ndtri(below)
            slope = weights @ (_density(unit, freedom) / scale) * np.sqrt(2 * np.pi) * np.exp(normal**2 / 2)
            step = (ndtri(level) - normal) / slope
            newton = at + step
        inside = (newton > low[left]) & (newton < high[left])
        arrived = np.abs(step) <= PRECISE * narrowest[left]  # there it may round to an end of what encloses it
        found[left] = np.where(inside | arrived, newton, (low[left] + high[left]) / 2)
        if not (left := left[~arrived]).size:
            break
    return np.asarray(found)


def _density(unit: Array, freedom: float) -> Array:
    """Return the density of Student's t."""
    constant = np.exp(gammaln((freedom + 1) / 2) - gammaln(freedom / 2)) / np.sqrt(freedom * np.pi)
    return np.asarray(constant * (1 + unit**2 / freedom) ** (-(freedom + 1) / 2))
