"""The compute frontier of a law of N and D: the best N for each budget, for many parameter vectors at once.

The optimum is found for all vectors at once by golden sections on log N, so any law has one, closed form or not. Of
several minima, as Farseer's form has one more at sizes far beyond any run, it is the one nearest to the runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sweeplaw.analysis.fitting.derived.derived_interval import Quantity
from sweeplaw.analysis.fitting.fitted_law import Fit

Array = np.ndarray

GOLDEN = (math.sqrt(5) - 1) / 2
SECTIONS = 70  # each narrows log N by .618: 1e-13 of the range at the end
SCANNED = 64  # sizes among which the minima are sought first
SLOPE_STEP = 1e-3  # of log N, in the central difference that vanishes at N*


def frontier(fit: Fit, flops: Array, k: float, theta: Array) -> tuple[Array, Array]:
    """Return log N* and the least loss at each budget for each parameter vector: two (batch, budgets) arrays.

    Where the loss only falls or only rises with N, they are those of the end of the range, one parameter or token.
    """

    def loss(log_params: Array) -> Array:
        return losses(fit, log_params, flops / k, theta)

    low, high = _range(loss, np.log(flops / k), _usual_size(fit, np.log(flops / k)), len(theta))
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


def _usual_size(fit: Fit, log_product: Array) -> Array:
    """Return log N at the runs' median ratio of D to N for each N D: (budgets,)."""
    size, tokens = (fit.observations.inputs[name] * fit.observations.units.get(name, 1.0) for name in ("N", "D"))
    return np.asarray((log_product - np.median(np.log(tokens / size))) / 2)


def _range(loss: Callable[[Array], Array], top: Array, usual: Array, batch: int) -> tuple[Array, Array]:
    """Return ends of log N that enclose one minimum: two (batch, budgets) arrays.

    Where there is one minimum inside the range from 0 to ``top``, or none, this is the whole range.
    """
    shape = (batch, len(top))
    steps = np.linspace(0.0, 1.0, SCANNED)
    values = np.stack([loss(np.broadcast_to(step * top, shape)) for step in steps])
    lower = (values[1:-1] < values[:-2]) & (values[1:-1] <= values[2:])
    apart = np.abs(steps[1:-1, None] * top - usual)
    nearest = np.argmin(np.where(lower, apart[:, None], np.inf), axis=0) + 1
    lowest = np.argmin(np.where(np.isfinite(values), values, np.inf), axis=0)
    several = lower.any(axis=0) & ((lower.sum(axis=0) > 1) | (lowest != nearest))
    low = np.where(several, steps[nearest - 1] * top, 0.0)
    return low, np.where(several, steps[nearest + 1] * top, np.broadcast_to(top, shape))


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
