"""What a forecast takes for granted, and what each assumption is worth: the change of the forecast without it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from sweeplaw.analysis.fitting.checks import Observations
from sweeplaw.analysis.forecasting.budgets import budgets_of
from sweeplaw.analysis.forecasting.forecaster import Forecaster, forecaster
from sweeplaw.analysis.forecasting.registered.record import Assumption
from sweeplaw.analysis.laws.law import Law
from sweeplaw.trials.errors import InputError

Array = np.ndarray
Points = Mapping[str, Sequence[float]]


def assumptions(found: Forecaster, at: Points, claimed: Sequence[str] = ()) -> tuple[Assumption, ...]:
    """Return the assumptions behind a forecast at these points; the effect of ``claimed`` ones is unknown."""
    median = found.predict(at).median
    tried = [Assumption(text, _change(other, at, median)) for text, other in _without(found)]
    return (*tried, *(Assumption(text, (None,) * len(median)) for text in claimed))


def _without(found: Forecaster) -> Iterator[tuple[str, Forecaster | None]]:
    """Yield each assumption with the forecast that goes without it; None if it cannot be made."""
    budget = budgets_of(np.asarray(_compute(found.observations)))
    if found.law.name != "additive" and set(found.law.inputs) == {"N", "D"}:
        yield f"the form {found.law.name} (instead: additive)", _learnt(found.observations, "additive")
    yield (
        "the smallest budget follows the same law (instead: without it)",
        _learnt(_kept(found.observations, budget > budget.min()), found.law),
    )
    yield (
        "the largest budget is tuned as well as the others (instead: without it)",
        _learnt(_kept(found.observations, budget < budget.max()), found.law),
    )


def _compute(observations: Observations) -> Array:
    from sweeplaw.analysis.forecasting.budgets import compute_of

    return compute_of(observations.inputs)


def _kept(observations: Observations, keep: Array) -> Observations:
    """Return these rows of the observations."""
    return replace(
        observations, inputs={name: column[keep] for name, column in observations.inputs.items()},
        losses=observations.losses[keep], weights=observations.weights[keep], rows=observations.rows[keep],
        frame=observations.frame.filter(keep),
    )  # fmt: skip


def _learnt(observations: Observations, law: str | Law) -> Forecaster | None:
    try:
        return forecaster(observations, law)
    except InputError:
        return None


def _change(other: Forecaster | None, at: Points, median: Array) -> tuple[float | None, ...]:
    if other is None:
        return (None,) * len(median)
    return tuple(float(value) for value in other.predict(at).median / median - 1)
