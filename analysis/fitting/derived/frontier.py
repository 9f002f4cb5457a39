"""The compute frontier of a law of N and D: the best N for each budget, for many parameter vectors at once.

The optimum is found for all vectors at once by golden sections on log N, so any law has one, closed form or not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sweeplaw.analysis.fitting.derived.derived_interval import Quantity
from sweeplaw.analysis.fitting.fitted_law import Fit

Array = np.ndarray

GOLDEN = (math.sqrt(5) - 1) / 2
SECTIONS = 70  # each narrows log N by .618: 1e-13 of the range at the end
SLOPE_STEP = 1e-3  # of log N, in the central difference that vanishes at N*


def frontier(fit: Fit, flops: Array, k: float, theta: Array) -> tuple[Array, Array]:
    """Return log N* and the least loss at each budget for each parameter vector: two (batch, budgets) arrays."""
    low = np.zeros((len(theta), len(flops)))
    high = np.broadcast_to(np.log(flops / k), low.shape).copy()

    def loss(log_params: Array) -> Array:
        return losses(fit, log_params, flops / k, theta)

    inner, outer = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_inner, at_outer = loss(inner), loss(outer)
    for _ in range(SECTIONS):
        left = at_inner < at_outer
        low, high = np.where(left, low, inner), np.where(left, outer, high)
        inner, outer = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        fresh = loss(np.where(left, inner, outer))
        at_inner, at_outer = np.where(left, fresh, at_outer), np.where(left, at_inner, fresh)
    middle = (low + high) / 2
    return middle, loss(middle)


def losses(fit: Fit, log_params: Array, product: Array, theta: Array) -> Array:
    """Return losses at N = exp(log_params), D = product / N, each draw at its own N: (batch, budgets)."""
    params = np.exp(log_params)
    columns = fit.columns({"N": params, "D": product / params})
    return fit.law.function.bind(columns).predict(theta)


@dataclass(frozen=True, slots=True)
class Frontier:
    """The compute-optimal runs for some budgets as unknowns log N*, where the slope of the loss along N vanishes."""

    fit: Fit
    budgets: tuple[float, ...]
    k: float
    log_params: Array

    def log_size(self) -> Quantity:
        """Return log N* for the first budget as a quantity."""
        return Quantity(lambda theta: theta[:, -len(self.budgets)], self._slopes, self.log_params)

    def loss(self) -> Quantity:
        """Return the least loss for the first budget as a quantity."""
        return Quantity(lambda theta: self._at(theta, 0.0)[:, 0], self._slopes, self.log_params)

    def growth(self) -> Quantity:
        """Return the slope of log N* by log C between the two budgets as a quantity."""
        width = math.log(self.budgets[1] / self.budgets[0])
        return Quantity(lambda theta: (theta[:, -1] - theta[:, -2]) / width, self._slopes, self.log_params)

    def _at(self, theta: Array, shift: float) -> Array:
        count = len(self.fit.law.names)
        product = np.array(self.budgets) / self.k
        return losses(self.fit, theta[:, count:] + shift, product, theta[:, :count])

    def _slopes(self, theta: Array) -> Array:
        return np.asarray(self._at(theta, SLOPE_STEP) - self._at(theta, -SLOPE_STEP)) / (2 * SLOPE_STEP)
