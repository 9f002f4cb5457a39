"""A fit as plain values: objective, parameters, uncertainty, rows left out, and what the law implies for compute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sweeplaw.analysis.adequacy.adequacy import Adequacy
from sweeplaw.analysis.adequacy.advice import advice
from sweeplaw.analysis.fitting.derived.allocation import is_surface
from sweeplaw.analysis.fitting.fitted_law import Fit, require_fits
from sweeplaw.trials.errors import InputError, shown


def summarise(fit: Fit, budgets: Sequence[float] = (), k: float | None = None, force: bool = False) -> dict[str, Any]:
    """Return the fit, its verdicts, intervals, identifiability and derived quantities as plain values.

    ``force`` gives allocations that are withheld, beside the reason.
    """
    require_fits(fit)
    if isinstance(budgets, str) or not isinstance(budgets, Sequence):
        raise InputError(f"budgets = {shown(budgets)} (accepted: a list of FLOPs)")
    draws, verdict = fit.draws, fit.adequacy
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
        "rows": fit.observations.rule,
        "selection": fit.observations.selection,
        "rows_used": fit.rows_used,
        "rows_dropped": fit.rows_dropped,
        "dropped": [{"reason": item.reason, "count": item.count, "rows": list(item.rows)}
                    for item in fit.observations.dropped],
        "noise": fit.noise.values(),
        "warnings": list(fit.warnings),
        "adequacy": verdict.to_dict(),
        "derived": derived(fit, verdict, budgets, k, force),
    }  # fmt: skip


def derived(
    fit: Fit, verdict: Adequacy, budgets: Sequence[float] = (), k: float | None = None, force: bool = False
) -> dict[str, Any]:
    """Return the asymptote, and for a law of N and D what it advises for compute (`adequacy.advice`)."""
    known = {"asymptote": fit.params[str(fit.law.asymptote)]} if fit.law.asymptote in fit.params else {}
    return {**known, **advice(fit, verdict, budgets, k, force)} if is_surface(fit) else known
