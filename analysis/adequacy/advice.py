"""What a fit advises for compute, and when it does not: no allocation from a law that failed a test.

An allocation is withheld, with the reason, if N or D seems to be in millions, the best value of a knob is the lowest or
highest tried at most points, the optimum is not verified, the law is inadequate, a parameter is not identified, an
input spans too little, the budget is farther beyond the runs than any law has been checked, or N* itself is uncertain
by more than a factor WIDEST.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sweeplaw.analysis.adequacy.adequacy import Adequacy, LawVerdict, law_verdict
from sweeplaw.analysis.adequacy.reach import too_far
from sweeplaw.analysis.fitting.derived import allocation
from sweeplaw.analysis.fitting.derived.allocation import (
    FLOPS_PER_ND,
    Allocation,
    compute_of,
    exponents,
    flops_per_nd,
    is_surface,
)
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.fitting.uncertainty import Interval
from sweeplaw.trials.errors import InputError, require_positive

AHEAD = (1.0, 10.0, 100.0)  # default budgets of an allocation, as multiples of the largest run's compute
WIDEST = 100.0  # upper over lower end of the interval for N*, beyond which a size is no advice


def objection(fit: Fit, verdict: Adequacy) -> str:
    """Return why nothing is advised by this fit; empty if something is."""
    return _untuned(fit) or failure(verdict) or (verdict.open_parameters[0] if verdict.open_parameters else "")


def failure(verdict: Adequacy) -> str:
    """Return why a fit is not to be believed, whatever its parameters' intervals; empty if it may be."""
    return _failure(verdict.optimum_found, verdict.law, verdict.reasons)


def _failure(optimum_found: bool, law: LawVerdict, reasons: Sequence[str]) -> str:
    if not optimum_found:
        return "the optimum is not verified"
    return f"the law is inadequate: {reasons[0]}" if law == "inadequate" else ""


def allocate(fit: Fit, flops: float, k: float = FLOPS_PER_ND, force: bool = False) -> Allocation:
    """Return the (N, D) of least predicted loss with k N D = ``flops``, with intervals.

    Raise InputError for a law of other inputs, and, without ``force``, if the allocation is withheld (with the reason).
    """
    if force or not is_surface(fit):
        return allocation.allocate(fit, flops, k)
    require_positive({"compute in FLOPs": flops, "FLOPs per N and D": k})
    for why in _objections(fit, flops, k):
        if why:
            raise InputError(f"no allocation: {why} (override with force=True)")
    return allocation.allocate(fit, flops, k)


def _objections(fit: Fit, flops: float, k: float) -> Iterator[str]:
    """Yield why an allocation is withheld, or '' for each check that passes; the cheapest checks come first."""
    yield _unknown_units(fit) if k == FLOPS_PER_ND else ""
    yield _untuned(fit)
    law, findings = law_verdict(fit)
    yield _failure(fit.verified, law, [one.sentence for one in findings if one.verdict == "failed"])
    yield too_far(flops / float(compute_of(fit, k).max()))
    yield uncertain(allocation.allocate(fit, flops, k).intervals)
    yield objection(fit, fit.adequacy)


def uncertain(intervals: Mapping[str, Interval]) -> str:
    """Return why the interval of N* is too wide for advice; empty if it is not."""
    size = intervals["params"]
    if size.low > 0 and size.high <= WIDEST * size.low:
        return ""
    return f"the best N is uncertain by more than a factor {WIDEST:g} ({size.low:.2g} to {size.high:.2g})"


def _unknown_units(fit: Fit) -> str:
    """Return why a FLOP budget cannot be applied when the units are unknown, or ''."""
    odd = fit.observations.odd_units
    return (
        f"{odd}; a budget in FLOPs needs that, or the FLOPs per N and D in these units (--flops-per-nd)" if odd else ""
    )


def _untuned(fit: Fit) -> str:
    """Return a sentence on the knob whose best value is at an end of those tried at most points, or ''."""
    families = (fit.observations.selection or {}).get("families", ())
    points, edges = sum(len(one["points"]) for one in families), Counter[str]()
    for one in families:
        edges.update(one["at_edge"])
    for knob, count in edges.most_common(1):
        if 2 * count > points:
            where = f"the lowest or highest tried at {count} of {points} points"
            return f"the best {knob} is {where}: the losses are too high, by how much is not known"
    return ""


def advice(
    fit: Fit, verdict: Adequacy, budgets: Sequence[float] = (), k: float | None = None, force: bool = False
) -> dict[str, Any]:
    """Return for a law of N and D the compute-optimal exponents and the allocation of each budget as plain values.

    What is withheld is None, with the reason under ``withheld``; With ``force`` it is returned as well.
    """
    units = _unknown_units(fit) if k is None else ""
    k, origin = flops_per_nd(fit) if k is None else (k, "given")
    require_positive({"FLOPs per N and D": k})
    largest, why = float(compute_of(fit, k).max()), units or objection(fit, verdict)
    budgets = budgets or [largest * factor for factor in AHEAD]
    if why and not force:
        for flops in budgets:
            require_positive({"compute in FLOPs": flops})
        slopes: dict[str, Any] = {name: {"value": None, "interval": None} for name in ("a", "b")}
        runs = [_nothing(flops, flops / largest, why) for flops in budgets]
    else:
        slopes = {name: {"value": value, "interval": interval.values()}
                  for name, (value, interval) in exponents(fit, largest, k).items()}  # fmt: skip
        runs = [_advised(allocation.allocate(fit, flops, k), why, force) for flops in budgets]
    return {"compute": f"C = {k:.4g} N D ({origin})", **slopes, "compute_optimal": runs, "withheld": why or None,
            "forced": bool(why and force)}  # fmt: skip


def _advised(found: Allocation, why: str, force: bool) -> dict[str, Any]:
    """Return an allocation as plain values, or, if its own interval is too wide, the reason why it is withheld."""
    reason = why or too_far(found.beyond) or uncertain(found.intervals)
    if not reason:
        return {**found.values(), "withheld": None}
    if not force:
        return _nothing(found.flops, found.beyond, reason)
    return {**found.values(), "withheld": reason, "sentence": f"not advised: {found.sentence()}"}


def _nothing(flops: float, beyond: float, why: str) -> dict[str, Any]:
    empty = dict.fromkeys(("params", "tokens", "tokens_per_param", "loss"))
    return {"flops": flops, **empty, "intervals": {}, "sentence": f"for {flops:.3g} FLOPs no allocation: {why}",
            "times_beyond_largest_run": beyond, "withheld": why}  # fmt: skip
