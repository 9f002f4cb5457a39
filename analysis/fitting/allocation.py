"""Compute-optimal allocation by a fitted law: parameters N and tokens D for C FLOPs, with intervals.

Compute is ``C = k N D`` (k = 6 by convention; Kaplan et al. 2020, sec. 2.1). The optimum is found for all bootstrap
draws at once by golden sections on log N, so any law of N and D has one, closed form or not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweeplaw.analysis.fitting.fitted_law import Fit, require_fits
from sweeplaw.analysis.fitting.uncertainty import Interval, percentile
from sweeplaw.analysis.tables.display import Shown, finite
from sweeplaw.trials.errors import InputError, require_positive

Array = np.ndarray

FLOPS_PER_ND = 6.0
GOLDEN = (math.sqrt(5) - 1) / 2
SECTIONS = 70  # each narrows log N by .618: 1e-13 of the range at the end
HALF_STEP = 0.5  # of log C, for the local exponent: small against any design, large against rounding


@dataclass(frozen=True, slots=True, repr=False)
class Allocation(Shown):
    """The compute-optimal run for a budget: parameters, tokens, tokens a parameter and loss, with intervals."""

    flops: float
    params: float
    tokens: float
    tokens_per_param: float
    loss: float
    intervals: Mapping[str, Interval]

    def sentence(self) -> str:
        """Return ``for 1e+21 FLOPs train 2.4e+09 parameters on 6.9e+10 tokens``."""
        spread = self.intervals.get("params")
        sure = f" ({spread.low:.2g} to {spread.high:.2g})" if spread else ""
        return f"for {self.flops:.3g} FLOPs train {self.params:.3g} parameters{sure} on {self.tokens:.3g} tokens"

    def headline(self) -> tuple[str, ...]:
        """Return the sentence and the loss."""
        return (f"{self.sentence()}: loss {self.loss:.4f}",)

    def values(self) -> dict[str, Any]:
        """Return the allocation as plain values."""
        return {
            "flops": self.flops, "params": self.params, "tokens": self.tokens,
            "tokens_per_param": self.tokens_per_param, "loss": self.loss,
            "intervals": {name: value.values() for name, value in self.intervals.items()},
            "sentence": self.sentence(),
        }  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return `values` for JSON, in which an infinite end is None."""
        return dict(finite(self.values()))


def is_surface(fit: Fit) -> bool:
    """Return whether the law's inputs are N and D, so that it has an allocation."""
    return set(fit.law.inputs) == {"N", "D"}


def allocate(fit: Fit, flops: float, k: float = FLOPS_PER_ND) -> Allocation:
    """Return the (N, D) of least predicted loss with k N D = ``flops``. Raise InputError for a law of other inputs."""
    _require_surface(fit)
    require_positive({"compute in FLOPs": flops, "FLOPs per N and D": k})
    point = _optimum(fit, flops, k, fit.theta[None])
    intervals: dict[str, Interval] = {}
    if fit.draws is not None:
        cloud = _optimum(fit, flops, k, fit.draws.params)
        method = f"{fit.draws.by} bootstrap, {len(fit.draws.params)} resamples"
        intervals = {name: percentile(values, fit.level, method) for name, values in cloud.items()}
    values = [float(point[name][0]) for name in ("params", "tokens", "tokens_per_param", "loss")]
    return Allocation(flops, values[0], values[1], values[2], values[3], intervals)


def _require_surface(fit: Fit) -> None:
    require_fits(fit)
    if not is_surface(fit):
        raise InputError(f"an allocation needs a law of N and D; {fit.law.name} has {', '.join(fit.law.inputs)}")


def _optimum(fit: Fit, flops: float, k: float, theta: Array) -> dict[str, Array]:
    log_params, loss = frontier(fit, np.array([flops]), k, theta)
    params = np.exp(log_params[:, 0])
    tokens = flops / k / params
    return {"params": params, "tokens": tokens, "tokens_per_param": tokens / params, "loss": loss[:, 0]}


def frontier(fit: Fit, flops: Array, k: float, theta: Array) -> tuple[Array, Array]:
    """Return log N* and the least loss at each budget for each parameter vector: two (batch, budgets) arrays."""
    low = np.zeros((len(theta), len(flops)))
    high = np.broadcast_to(np.log(flops / k), low.shape).copy()

    def loss(log_params: Array) -> Array:
        return _losses(fit, log_params, flops / k, theta)

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


def _losses(fit: Fit, log_params: Array, product: Array, theta: Array) -> Array:
    """Return losses at N = exp(log_params), D = product / N, each draw at its own N: (batch, budgets)."""
    params = np.exp(log_params)
    columns = fit.columns({"N": params, "D": product / params})
    return fit.law.function.bind(columns).predict(theta)


def exponents(fit: Fit, flops: float, k: float = FLOPS_PER_ND) -> dict[str, tuple[float, Interval | None]]:
    """Return the local exponents a = d log N*/d log C and b = d log D*/d log C at a budget.

    For the additive law a = beta/(alpha+beta) at every budget (Hoffmann et al. 2022, eq. 4).
    """
    _require_surface(fit)
    require_positive({"compute in FLOPs": flops, "FLOPs per N and D": k})

    def slope(theta: Array) -> Array:
        ends = frontier(fit, flops * np.exp(np.array([-HALF_STEP, HALF_STEP])), k, theta)[0]
        return np.asarray((ends[:, 1] - ends[:, 0]) / (2 * HALF_STEP))

    point = float(slope(fit.theta[None])[0])
    if fit.draws is None:
        return {"a": (point, None), "b": (1 - point, None)}
    cloud, method = slope(fit.draws.params), f"{fit.draws.by} bootstrap, {len(fit.draws.params)} resamples"
    return {
        "a": (point, percentile(cloud, fit.level, method)),
        "b": (1 - point, percentile(1 - cloud, fit.level, method)),
    }
