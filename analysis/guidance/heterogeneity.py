"""How far laws bend and cells lie off the law, by the evidence of the records."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.linalg import solve_triangular

from sweeplaw.analysis.guidance.space import Array
from sweeplaw.analysis.guidance.terms import LAW, OFF_LAW, OWN_SHAPE, Terms

# Scales of the prior sd of a group of terms, and their weights beforehand: the law alone, near it, a little or far off.
SCALES = (0.1, 0.5, 1.5, 3.0)
WEIGHTS = (0.3, 0.3, 0.3, 0.1)
LEAST_RECORDS = 9
MOST_RECORDS = 300  # with the least excess; the evidence of more is clear without them


def group_scales(terms: Terms, features: Array, rest: Array, values: Array) -> Array:
    """Return the scale (groups,) of each group of terms: the root of the posterior mean of its square.

    ``features`` (records, terms), ``values`` (records,) less the prior mean; ``rest`` (records, records): covariance
    of noise and discrepancy. The scale of the law is 1, and so are all with fewer than `LEAST_RECORDS` records.
    """
    if len(values) < LEAST_RECORDS or (terms.group == LAW).all():
        return np.ones(3)
    parts = []
    for group in (LAW, OFF_LAW, OWN_SHAPE):
        scaled = features[:, terms.group == group] * terms.sd[terms.group == group]
        parts.append(scaled @ scaled.T)
    base, squares, evidence = parts[0] + rest, [], []
    for (off, off_weight), (own, own_weight) in product(zip(SCALES, WEIGHTS, strict=True), repeat=2):
        lower = np.linalg.cholesky(base + off**2 * parts[1] + own**2 * parts[2])
        white = solve_triangular(lower, values, lower=True)
        evidence.append(np.log(off_weight * own_weight) - white @ white / 2 - np.log(lower.diagonal()).sum())
        squares.append((off**2, own**2))
    weight = np.exp(np.array(evidence) - max(evidence))
    return np.asarray(np.r_[1.0, np.sqrt(weight @ np.array(squares) / weight.sum())])
