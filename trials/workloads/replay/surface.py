"""A smooth surface through noisy losses at scattered settings, and the noise that is left.

The log of the loss is a quadratic in the coordinates plus a Gaussian process (Matern 5/2) plus noise. The length of the
process and the share of the noise are those of greatest restricted likelihood (Patterson and Thompson 1971), and the
surface is the mean given the losses.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LENGTHS = (1.5, 3.0, 6.0)  # octaves: from a step or two of a usual grid to the width of its box
LEAST_VARIANCE = 1e-300  # of losses without any noise or shape
RATIOS = tuple(10.0**power for power in np.arange(-6.0, 4.1, 0.5))  # noise over process variance


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """The surface. ``noise`` is the relative standard deviation of a loss around it, from ``degrees`` of freedom."""

    noise: float
    degrees: int
    _points: Array
    _trend: Array
    _weights: Array
    _length: float
    _degree: int

    def __call__(self, points: Array) -> Array:
        """Return the losses (points,) at these coordinates (points, knobs)."""
        kernel = matern(points, self._points, self._length)
        return np.asarray(np.exp(monomials(points, self._degree) @ self._trend + kernel @ self._weights))


def smooth(points: Array, losses: Array) -> Surface:
    """Return the surface through ``losses`` (points,), positive, at ``points`` (points, knobs). With too few points to
    separate it from noise, it is a plane or a constant and its noise is NaN.
    """
    degree = next((n for n in (2, 1) if len(points) >= 2 * monomials(points[:1], n).shape[1]), 0)
    trend, y = monomials(points, degree), np.asarray(np.log(losses))
    terms = trend.shape[1]
    noise, length, weights, nugget = math.nan, LENGTHS[0], np.zeros(len(points)), 0.0
    if len(points) > terms:
        basis = np.linalg.qr(trend, mode="complete")[0][:, terms:]  # of what the trend cannot say
        rest, least = basis.T @ y, math.inf
        for candidate in LENGTHS:
            spread, turn = np.linalg.eigh(basis.T @ matern(points, points, candidate) @ basis)
            turned = turn.T @ rest
            for ratio in RATIOS:
                scale = np.maximum(spread, 0.0) + ratio
                variance = max(float(np.mean(turned**2 / scale)), LEAST_VARIANCE)
                likelihood = len(rest) * math.log(variance) + float(np.log(scale).sum())  # times -2
                if likelihood < least:
                    least, length, noise, nugget = likelihood, candidate, math.sqrt(variance * ratio), ratio
                    weights = basis @ (turn @ (turned / scale))
    remaining = y - matern(points, points, length) @ weights - nugget * weights
    through = np.asarray(np.linalg.lstsq(trend, remaining, rcond=None)[0])
    return Surface(noise, len(points) - terms, points, through, weights, length, degree)


def monomials(points: Array, degree: int) -> Array:
    """Return the monomials of coordinates (points, knobs) up to this degree: (points, terms)."""
    columns = [np.ones(len(points))]
    for power in range(1, degree + 1):
        for knobs in itertools.combinations_with_replacement(range(points.shape[1]), power):
            columns.append(np.prod(points[:, list(knobs)], axis=1))
    return np.stack(columns, axis=1)


def matern(a: Array, b: Array, length: float) -> Array:
    """Return the Matern 5/2 kernel of this length between points (a, knobs) and (b, knobs): (a, b)."""
    distance = np.sqrt(np.maximum(((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2), 0.0)) * math.sqrt(5) / length
    return np.asarray((1 + distance + distance**2 / 3) * np.exp(-distance))
