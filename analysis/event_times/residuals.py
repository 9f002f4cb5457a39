"""Residuals of log times: normal (log-normal times) and the least of many (Weibull times).

Each is the distribution of z = (log t - log t*) / sigma, with log density and log survival function, both concave, and
their first two derivatives (Kalbfleisch and Prentice 2002, chapter 2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy.special import log_ndtr

Array = np.ndarray
Derivatives = tuple[Array, Array, Array]  # a function of z, its first and its second derivative

LARGEST_EXPONENT = 200.0  # of e: beyond it a residual is impossible, and squares of its power are still doubles


@dataclass(frozen=True, slots=True)
class ResidualDistribution:
    """A distribution of z. ``share`` is the probability of z < 0: of an event before t*, which ``meaning`` says."""

    name: str
    meaning: str
    share: float
    log_density: Callable[[Array], Derivatives]
    log_survival: Callable[[Array], Derivatives]


def _normal_density(z: Array) -> Derivatives:
    return -0.5 * z**2 - 0.5 * np.log(2 * np.pi), -z, -np.ones_like(z)


def _normal_survival(z: Array) -> Derivatives:
    survival = log_ndtr(-z)
    hazard = np.exp(_normal_density(z)[0] - survival)
    return survival, -hazard, -hazard * (hazard - z)


def _least_density(z: Array) -> Derivatives:
    power = np.exp(np.minimum(z, LARGEST_EXPONENT))
    return z - power, 1 - power, -power


def _least_survival(z: Array) -> Derivatives:
    power = np.exp(np.minimum(z, LARGEST_EXPONENT))
    return -power, -power, -power


RESIDUALS: Mapping[str, ResidualDistribution] = MappingProxyType(
    {
        one.name: one
        for one in (
            ResidualDistribution("log-normal", "the median time", 0.5, _normal_density, _normal_survival),
            ResidualDistribution(
                "weibull",
                "the time before which 63 % have the event",
                1 - np.exp(-1.0),
                _least_density,
                _least_survival,
            ),
        )
    }
)
