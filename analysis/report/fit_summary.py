"""A fit as plain values, for JSON and the page: objective, parameters, uncertainty and rows left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sweeplaw.analysis.fitting.coverage import Coverage
from sweeplaw.analysis.fitting.fit import Fit
from sweeplaw.analysis.fitting.uncertainty import Interval
from sweeplaw.analysis.scaling.allocation import FLOPS_PER_ND, Allocation, allocate, exponents, is_surface
from sweeplaw.analysis.scaling.isoflop import Approach
from sweeplaw.analysis.scaling.validation import Comparison
from sweeplaw.trials.errors import require_positive

AHEAD = (1.0, 10.0, 100.0)  # default budgets of an allocation, as multiples of the largest run's compute


def summarise(fit: Fit, budgets: Sequence[float] = (), k: float | None = None) -> dict[str, Any]:
    """Return the fit, its verdict, intervals, identifiability and derived quantities as plain values."""
    draws = fit.draws
    return {
        "law": fit.law.name,
        "formula": fit.law.formula,
        "source": fit.law.source,
        "objective": {
            "name": fit.objective.name,
            "delta": fit.objective.delta,
            "space": fit.objective.space,
            "reduction": fit.objective.reduction,
            "weights": fit.objective.weights,
            "value": fit.value,
            "in_words": fit.objective.describe(),
        },
        "columns": dict(fit.observations.columns),
        "units": {name: fit.observations.units.get(name, 1.0) for name in fit.law.inputs},
        "params": dict(fit.params),
        "fixed": dict(fit.law.fixed),
        "intervals": {name: interval_values(item) for name, item in fit.intervals.items()},
        "standard_errors": dict(zip(fit.law.names, draws.standard_errors.tolist(), strict=True)) if draws else None,
        "identified": {name: item.identified for name, item in fit.profiles.items()},
        "identifiability": [item.verdict for item in fit.profiles.values() if not item.identified],
        "status": fit.status,
        "verified": fit.verified,
        "starts": fit.verdict.starts,
        "starts_agreeing": fit.starts_agreeing,
        "scaled_gradient": fit.verdict.gradient,
        "condition": fit.verdict.condition,
        "at_bounds": list(fit.verdict.at_bounds),
        "bootstrap": {"resamples": len(draws.params), "by": draws.by, "units": draws.units,
                      "converged": int(draws.converged.sum())} if draws else None,
        "rows_used": fit.rows_used,
        "rows_dropped": fit.rows_dropped,
        "dropped": [{"reason": item.reason, "count": item.count, "rows": list(item.rows)}
                    for item in fit.observations.dropped],
        "warnings": list(fit.warnings),
        "derived": derived(fit, budgets, k),
    }  # fmt: skip


def interval_values(interval: Interval) -> dict[str, Any]:
    """Return an interval as plain values; an infinite end is null in JSON, and the note says why."""
    return {
        "low": interval.low, "high": interval.high, "level": interval.level, "method": interval.method,
        "note": interval.note,
    }  # fmt: skip


def derived(fit: Fit, budgets: Sequence[float] = (), k: float | None = None) -> dict[str, Any]:
    """Return the asymptote, and for a law of N and D the compute-optimal exponents and allocations."""
    found: dict[str, Any] = {}
    if fit.law.asymptote in fit.params:
        found["asymptote"] = fit.params[str(fit.law.asymptote)]
    if not is_surface(fit):
        return found
    k, origin = flops_per_nd(fit) if k is None else (k, "given")
    require_positive({"FLOPs per N and D": k})
    compute = compute_of(fit, k)
    budgets = budgets or [float(compute.max()) * factor for factor in AHEAD]
    found["compute"] = f"C = {k:.4g} N D ({origin})"
    for name, (value, interval) in exponents(fit, float(compute.max()), k).items():
        found[name] = {"value": value, "interval": interval_values(interval) if interval else None}
    found["compute_optimal"] = [allocation_values(allocate(fit, budget, k)) for budget in budgets]
    return found


def flops_per_nd(fit: Fit) -> tuple[float, str]:
    """Return k of C = k N D and its origin: the median over the rows of a store, which have FLOPs; 6 elsewhere."""
    seen = fit.observations
    if "flops" in seen.frame.columns and seen.columns.get("D") == "tokens":
        flops = seen.frame["flops"].cast(float).to_numpy()
        known = np.isfinite(flops) & (flops > 0)
        if known.any():
            ratio = flops[known] / compute_of(fit, 1.0)[known]
            return float(np.median(ratio)), "median of the runs' own FLOPs"
    return FLOPS_PER_ND, "the usual convention"


def compute_of(fit: Fit, k: float) -> np.ndarray:
    """Return k N D of each row used."""
    units = fit.observations.units
    params, tokens = (fit.observations.inputs[name] * units.get(name, 1.0) for name in ("N", "D"))
    return np.asarray(k * params * tokens)


def allocation_values(item: Allocation) -> dict[str, Any]:
    """Return an allocation as plain values."""
    return {
        "flops": item.flops, "params": item.params, "tokens": item.tokens, "tokens_per_param": item.tokens_per_param,
        "loss": item.loss, "intervals": {name: interval_values(value) for name, value in item.intervals.items()},
        "sentence": item.sentence(),
    }  # fmt: skip


def approach_values(item: Approach) -> dict[str, Any]:
    """Return an isoFLOP approach as plain values."""
    return {
        "name": item.name, "a": item.a, "b": item.b, "coefficient": item.coefficient,
        "intervals": {name: interval_values(value) for name, value in item.intervals.items()},
        "budgets": [{"flops": one.flops, "rows": one.rows, "params": one.params, "off_centre": one.off_centre,
                     "note": one.note} for one in item.budgets],
        "notes": list(item.notes),
    }  # fmt: skip


def comparison_values(item: Comparison) -> dict[str, Any]:
    """Return a comparison of two laws as plain values."""
    return {
        "first": item.first, "second": item.second, "rows": item.rows, "rms_nats": list(item.rms),
        "mean_square_difference": item.difference, "interval": interval_values(item.interval),
        "probability_first_better": item.probability_first_better,
    }  # fmt: skip


def coverage_values(item: Coverage) -> dict[str, Any]:
    """Return a coverage simulation as plain values."""
    return {
        "method": item.method, "noise": item.noise, "scale": item.scale, "level": item.level, "sets": item.sets,
        "converged": item.converged, "standard_error": item.error, "coverage": dict(item.shares),
    }  # fmt: skip
