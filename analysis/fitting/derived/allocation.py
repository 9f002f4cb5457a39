"""Compute-optimal allocation by a fitted law: parameters N and tokens D for C FLOPs, with intervals.

Compute is ``C = k N D`` (k = 6 by convention; Kaplan et al. 2020, sec. 2.1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from sweeplaw.analysis.fitting.derived.derived_interval import derived_interval
from sweeplaw.analysis.fitting.derived.frontier import Frontier, frontier
from sweeplaw.analysis.fitting.fitted_law import Fit, require_fits
from sweeplaw.analysis.fitting.uncertainty import Draws, Interval, percentile
from sweeplaw.analysis.tables.display import Shown, finite
from sweeplaw.analysis.tables.sql.expressions import check_columns
from sweeplaw.trials.errors import InputError, require_positive

Array = np.ndarray

FLOPS_PER_ND = 6.0
MAX_LOG = 700.0  # of a number of parameters
BEYOND = 1.005  # times the largest run that count as beyond it
HALF_STEP = 0.5  # of log C, for the local exponent: small against any design, large against rounding


@dataclass(frozen=True, slots=True, repr=False)
class Allocation(Shown):
    """The compute-optimal run for a budget: parameters, tokens, tokens a parameter and loss, with intervals.

    ``beyond``: the budget over the compute of the largest run fitted, at the same k of C = k N D.
    """

    flops: float
    params: float
    tokens: float
    tokens_per_param: float
    loss: float
    intervals: Mapping[str, Interval]
    beyond: float = math.nan

    def sentence(self) -> str:
        """Return ``for 1e+21 FLOPs train 2.4e+09 parameters on 6.9e+10 tokens, 12x beyond the largest run``."""
        spread = self.intervals.get("params")
        sure = f" ({spread.low:.3g} to {spread.high:.3g})" if spread else ""
        run = f"for {self.flops:.3g} FLOPs train {self.params:.3g} parameters{sure} on {self.tokens:.3g} tokens"
        return f"{run}{beyond_in_words(self.beyond)}"

    def headline(self) -> tuple[str, ...]:
        """Return the sentence and the loss."""
        return (f"{self.sentence()}: loss {self.loss:.4f}",)

    def values(self) -> dict[str, Any]:
        """Return the allocation as plain values."""
        return {
            "flops": self.flops, "params": self.params, "tokens": self.tokens,
            "tokens_per_param": self.tokens_per_param, "loss": self.loss,
            "intervals": {name: value.values() for name, value in self.intervals.items()},
            "sentence": self.sentence(), "times_beyond_largest_run": self.beyond,
        }  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return `values` for JSON, in which an infinite end is None."""
        return dict(finite(self.values()))


def beyond_in_words(factor: float) -> str:
    """Return ``, 12x beyond the largest run``; empty up to the largest run."""
    return f", {factor:.3g}x beyond the largest run" if factor > BEYOND else ""


def is_surface(fit: Fit) -> bool:
    """Return whether the law's inputs are N and D, so that it has an allocation."""
    return set(fit.law.inputs) == {"N", "D"}


def compute_of(fit: Fit, k: float) -> Array:
    """Return k N D of each row used."""
    units = fit.observations.units
    params, tokens = (fit.observations.inputs[name] * units.get(name, 1.0) for name in ("N", "D"))
    return np.asarray(k * params * tokens)


def flops_per_nd(fit: Fit) -> tuple[float, str]:
    """Return k of C = k N D and its origin: the median over the rows of a store, which have FLOPs; 6 elsewhere."""
    return flops_of_runs(fit.observations.frame, compute_of(fit, 1.0), fit.observations.columns.get("D"))


def flops_of_runs(rows: pl.DataFrame, n_times_d: Array, d_column: str | None) -> tuple[float, str]:
    """Return k of C = k N D and its origin, as `flops_per_nd`, for ``rows`` whose D is in ``d_column``."""
    if "flops" in rows.columns and d_column == "tokens":
        check_columns(rows, [], numbers=["flops"])
        flops = rows["flops"].cast(float).to_numpy()
        known = np.isfinite(flops) & (flops > 0)
        if known.any():
            return float(np.median(flops[known] / n_times_d[known])), "median of the runs' own FLOPs"
    return FLOPS_PER_ND, "the usual convention"


def allocate(fit: Fit, flops: float, k: float = FLOPS_PER_ND) -> Allocation:
    """Return the (N, D) of least predicted loss with k N D = ``flops``. Raise InputError for a law of other inputs.

    Intervals are percentiles of the bootstrap draws, or profile likelihood intervals without draws.
    """
    _require_surface(fit)
    require_positive({"compute in FLOPs": flops, "FLOPs per N and D": k})
    point = _optimum(fit, flops, k, fit.theta[None])
    if fit.draws is not None:
        cloud = _optimum(fit, flops, k, fit.draws.params)
        intervals = {name: percentile(values, fit.level, _method(fit.draws)) for name, values in cloud.items()}
    else:
        intervals = _profiled(fit, flops, k, math.log(float(point["params"][0])))
    values = [float(point[name][0]) for name in ("params", "tokens", "tokens_per_param", "loss")]
    beyond = flops / float(compute_of(fit, k).max())
    return Allocation(flops, values[0], values[1], values[2], values[3], intervals, beyond)


def _method(draws: Draws) -> str:
    return f"{draws.by} bootstrap, {len(draws.params)} resamples"


def _profiled(fit: Fit, flops: float, k: float, log_params: float) -> dict[str, Interval]:
    """Return the profile intervals of an allocation. Those of D* and D*/N* follow from that of N*: D* is C / (k N*)."""
    best = Frontier(fit, (flops,), k, np.array([log_params]))
    size = derived_interval(fit.setup, fit.solution.theta, best.log_size(), fit.level, fit.noise)
    loss = derived_interval(fit.setup, fit.solution.theta, best.loss(), fit.level, fit.noise)
    low, high = _exp(size.low), _exp(size.high)
    tokens = (flops / k / high if high else math.inf, flops / k / low if low else math.inf)
    return {
        "params": replace(size, low=low, high=high),
        "tokens": replace(size, low=tokens[0], high=tokens[1]),
        "tokens_per_param": replace(size, low=_ratio(tokens[0], high), high=_ratio(tokens[1], low)),
        "loss": loss,
    }


def _exp(value: float) -> float:
    return math.exp(value) if value < MAX_LOG else math.inf


def _ratio(tokens: float, params: float) -> float:
    return tokens / params if params else math.inf


def _require_surface(fit: Fit) -> None:
    require_fits(fit)
    if not is_surface(fit):
        raise InputError(f"an allocation needs a law of N and D; {fit.law.name} has {', '.join(fit.law.inputs)}")


def _optimum(fit: Fit, flops: float, k: float, theta: Array) -> dict[str, Array]:
    log_params, loss = frontier(fit, np.array([flops]), k, theta)
    params = np.exp(log_params[:, 0])
    tokens = flops / k / params
    return {"params": params, "tokens": tokens, "tokens_per_param": tokens / params, "loss": loss[:, 0]}


def exponents(fit: Fit, flops: float, k: float = FLOPS_PER_ND) -> dict[str, tuple[float, Interval]]:
    """Return the local exponents a = d log N*/d log C and b = d log D*/d log C at a budget, with intervals.

    For the additive law a = beta/(alpha+beta) at every budget (Hoffmann et al. 2022, eq. 4).
    """
    _require_surface(fit)
    require_positive({"compute in FLOPs": flops, "FLOPs per N and D": k})
    budgets = flops * np.exp(np.array([-HALF_STEP, HALF_STEP]))

    def ends(theta: Array) -> Array:
        return frontier(fit, budgets, k, theta)[0]

    found = ends(fit.theta[None])[0]
    point = float((found[1] - found[0]) / (2 * HALF_STEP))
    if fit.draws is None:
        growth = Frontier(fit, tuple(budgets.tolist()), k, found).growth()
        interval = derived_interval(fit.setup, fit.solution.theta, growth, fit.level, fit.noise)
    else:
        cloud = np.diff(ends(fit.draws.params), axis=1)[:, 0] / (2 * HALF_STEP)
        interval = percentile(cloud, fit.level, _method(fit.draws))
    return {"a": (point, interval), "b": (1 - point, replace(interval, low=1 - interval.high, high=1 - interval.low))}
