"""The families of a report side by side: the parameters of their laws, their differences, and where two laws cross.

A pair is compared along compute, each law at its own optimal allocation, from the smallest run of both to ten times the
largest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np

from sweeplaw.analysis.fitting.derived.allocation import compute_of, flops_per_nd
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.scaling.crossover import crossover
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import percent

AHEAD = 10.0  # times the largest run of both families


def compared(fits: Mapping[str, Fit | None]) -> dict[str, Any] | None:
    """Return the laws of the families and of each pair of them as plain values; None for a single family."""
    if len(fits) < 2:
        return None
    known = {name: fit for name, fit in fits.items() if fit is not None}
    return {
        "laws": [_law(name, fit) for name, fit in known.items()],
        "without_law": [name for name, fit in fits.items() if fit is None],
        "pairs": [_pair(first, known[first], second, known[second]) for first, second in combinations(known, 2)],
    }


def _law(name: str, fit: Fit) -> dict[str, Any]:
    return {
        "family": name,
        "params": dict(fit.params),
        "intervals": {name: interval.values() for name, interval in fit.intervals.items()},
        "asymptote": fit.params.get(str(fit.law.asymptote)),
        "rows_used": fit.rows_used,
        "verified": fit.verified,
    }


def _pair(first: str, a: Fit, second: str, b: Fit) -> dict[str, Any]:
    """Return the difference of two laws, in nats or the loss's own unit, first less second, and their crossing."""
    k = flops_per_nd(a)[0]
    compute = np.concatenate([compute_of(a, k), compute_of(b, k)])
    low, high = float(compute.min()), float(compute.max()) * AHEAD
    head = {"first": first, "second": second, "from_flops": low, "to_flops": high}
    head["differences"] = list(_differences(a, b))
    try:
        crossing = crossover(a, b, low, high, k=k)
    except InputError as error:
        return {
            **head,
            "crossing": None,
            "why_not": error.sentence(),
            "sentence": f"{first} and {second}: where they cross is not known",
        }
    values = crossing.to_dict()
    return {**head, "crossing": values, "why_not": "", "sentence": _sentence(first, second, values)}


def _differences(a: Fit, b: Fit) -> Iterator[dict[str, Any]]:
    """Yield the difference of each parameter, with the interval of paired draws where there are draws of both."""
    for name in a.params:
        if name not in b.params:
            continue
        found: dict[str, Any] = {"parameter": name, "value": a.params[name] - b.params[name], "interval": None}
        if a.draws is not None and b.draws is not None and name in a.law.names and name in b.law.names:
            one, other = (fit.draws.params[:, fit.law.names.index(name)] for fit in (a, b) if fit.draws is not None)
            spread = np.subtract(*(_shuffled(values, seed) for seed, values in enumerate((one, other))))
            tail = (1 - a.level) / 2
            found["interval"] = np.quantile(spread, [tail, 1 - tail]).tolist()
        yield found


def _shuffled(values: np.ndarray, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(values)


def _sentence(first: str, second: str, crossing: Mapping[str, Any]) -> str:
    """Return where two laws cross, or which is lower, with its probability."""
    better = {first: crossing["a_better_at_high"], second: 1 - crossing["a_better_at_high"]}
    lower = max(better, key=lambda name: better[name])
    at = f"at {crossing['high']:.2g} FLOPs the loss of {lower} is lower in {percent(better[lower], '.0f')} of the draws"
    if crossing["estimate"] is None:
        return f"{first} and {second} do not cross between {crossing['low']:.2g} and {crossing['high']:.2g} FLOPs; {at}"
    interval = crossing["interval"]
    ends = f"{interval['low']:.2g} to {interval['high']:.2g}, in {percent(crossing['probability'], '.0f')} of the draws"
    return f"{first} and {second} cross at {crossing['estimate']:.2g} FLOPs ({ends}); {at}"
