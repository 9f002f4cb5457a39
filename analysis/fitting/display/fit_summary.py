"""A fit as plain values: objective, parameters, uncertainty, rows left out, and what the law implies for compute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sweeplaw.analysis.fitting.allocation import FLOPS_PER_ND, allocate, exponents, is_surface
from sweeplaw.analysis.fitting.fitted_law import Fit, require_fits
from sweeplaw.analysis.tables.sql.expressions import check_columns
from sweeplaw.trials.errors import InputError, require_positive, shown

AHEAD = (1.0, 10.0, 100.0)  # default budgets of an allocation, as multiples of the largest run's compute


def summarise(fit: Fit, budgets: Sequence[float] = (), k: float | None = None) -> dict[str, Any]:
    """Return the fit, its verdict, intervals, identifiability and derived quantities as plain values."""
    require_fits(fit)
    if isinstance(budgets, str) or not isinstance(budgets, Sequence):
        raise InputError(f"budgets = {shown(budgets)} (accepted: a list of FLOPs)")
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
        "intervals": {name: item.values() for name, item in fit.intervals.items()},
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
        found[name] = {"value": value, "interval": interval.values() if interval else None}
    found["compute_optimal"] = [allocate(fit, budget, k).values() for budget in budgets]
    return found


def flops_per_nd(fit: Fit) -> tuple[float, str]:
    """Return k of C = k N D and its origin: the median over the rows of a store, which have FLOPs; 6 elsewhere."""
    seen = fit.observations
    if "flops" in seen.frame.columns and seen.columns.get("D") == "tokens":
        check_columns(seen.frame, [], numbers=["flops"])
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
