"""The law of the time to an event: t* = A x1^a1 x2^a2 ..., with log-normal or Weibull residuals and right-censoring.

Maximum likelihood of an accelerated-failure-time model (Kalbfleisch and Prentice 2002, chapter 7) in the logarithms of
its inputs, with profile-likelihood intervals.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from sweeplaw.analysis.event_times.intervals import coefficient_interval, spread_interval
from sweeplaw.analysis.event_times.likelihood import CensoredTimes, Maximum, has_maximum, maximize
from sweeplaw.analysis.event_times.observations import EventTimes
from sweeplaw.analysis.event_times.residuals import RESIDUALS, ResidualDistribution
from sweeplaw.analysis.fitting.uncertainty import Interval
from sweeplaw.trials.errors import InputError, require_positive
from sweeplaw.trials.quantities import counted, settings

Array = np.ndarray

RANK = 1e-10  # relative size of a singular value that counts as zero
NO_LAW = "the events and the times without one do not determine the law: its likelihood has no maximum"


@dataclass(frozen=True, slots=True)
class TimeEstimate:
    """A number of the law with its interval."""

    value: float
    interval: Interval

    def to_dict(self) -> dict[str, Any]:
        """Return the estimate as plain values."""
        return {"value": self.value, "interval": self.interval.values()}


@dataclass(frozen=True, slots=True)
class TimeLaw:
    """A fitted law of times, or why there is none.

    ``status`` is "verified" (the likelihood is concave and its gradient zero, so it is the maximum), "not converged",
    "not determined" or "no events". ``reference`` are the geometric means of the inputs, ``scale`` is t* there, in the
    unit of the times, and ``factor`` is A. ``curvature_p`` is the p-value of the hypothesis that squares of the
    logarithms of the inputs add nothing to the law; ``log_likelihoods`` are those of the times by
    each kind of residuals.

    ``least_share`` is what holds without any law: at this confidence ``level`` at least this share of trials such as
    those without the event does not have it by the time of the last look (exact binomial bound).
    """

    status: str
    residuals: str
    rows: int
    events: int
    reference: Mapping[str, float]
    level: float
    scale: TimeEstimate | None = None
    factor: TimeEstimate | None = None
    exponents: Mapping[str, TimeEstimate] | None = None
    sigma: TimeEstimate | None = None
    log_likelihoods: Mapping[str, float] | None = None
    decrement: float | None = None
    curvature_p: float | None = None
    least_share: float | None = None
    longest: float | None = None
    predictions: tuple[tuple[Mapping[str, float], TimeEstimate], ...] = ()
    notes: tuple[str, ...] = ()

    def by_effect(self, data: EventTimes) -> list[int]:
        """Return the places of the inputs of ``data``, that first over whose range the law changes most."""
        spans = np.ptp(np.log(data.inputs), axis=0)
        powers = [abs(self.exponents[name].value) if self.exponents else 1.0 for name in data.names]
        return sorted(range(len(spans)), key=lambda place: -powers[place] * spans[place])

    def times(self, values: Mapping[str, Array | float]) -> Array:
        """Return t* at these values of inputs, arrays of one shape, the others at the reference.

        Raise InputError if there is no law.
        """
        if self.scale is None or self.exponents is None:
            raise InputError([f"there is no law of the times ({self.status})"])
        powers = [(value / self.reference[name]) ** self.exponents[name].value for name, value in values.items()]
        return np.asarray(self.scale.value * np.prod(np.broadcast_arrays(*powers), axis=0))

    def to_dict(self) -> dict[str, Any]:
        """Return the law as plain values. Unknown is None."""
        return {
            "status": self.status,
            "residuals": self.residuals,
            "rows": self.rows,
            "events": self.events,
            "level": self.level,
            "reference": dict(self.reference),
            **{name: _plain(getattr(self, name)) for name in ("scale", "factor", "sigma")},
            "exponents": {name: _plain(one) for name, one in (self.exponents or {}).items()},
            "log_likelihoods": dict(self.log_likelihoods or {}),
            "decrement": self.decrement,
            "curvature_p": self.curvature_p,
            "least_share": self.least_share,
            "longest": self.longest,
            "predictions": [{"at": dict(point), **one.to_dict()} for point, one in self.predictions],
            "notes": list(self.notes),
        }


def _plain(estimate: TimeEstimate | None) -> dict[str, Any] | None:
    return None if estimate is None else estimate.to_dict()


def fit_time_law(
    data: EventTimes,
    residuals: str = "log-normal",
    *,
    level: float = 0.95,
    at: Sequence[Mapping[str, float]] = (),
) -> TimeLaw:
    """Return the law of the times, and its value ``at`` settings of the inputs.

    Raise InputError for unknown residuals, inputs that do not vary independently, or a setting without an input.
    """
    _check(data, residuals, level, at)
    logs = np.log(data.inputs)
    centre = logs.mean(axis=0)
    times = CensoredTimes(np.log(data.times), data.event, _design(logs, centre))
    reference = dict(zip(data.names, map(float, np.exp(centre)), strict=True))
    law = TimeLaw("verified", residuals, len(data.times), times.events, reference, level, notes=data.notes)
    if not times.events:
        share = (1 - level) ** (1 / len(data.times))
        return replace(law, status="no events", least_share=share, longest=float(data.times.max()))
    if not has_maximum(times):
        return replace(law, status="not determined", notes=(*data.notes, NO_LAW))
    kind = RESIDUALS[residuals]
    best, jacobian = maximize(times, kind), float(times.log_times[times.event].sum())  # of times, not of their logs
    estimates = _estimates(times, kind, best, level)
    return replace(
        law,
        status="verified" if best.found else "not converged",
        scale=_power(estimates[0]),
        factor=_at(data, logs, kind, level, np.zeros(len(centre))),
        exponents=dict(zip(data.names, estimates[1:], strict=True)),
        sigma=TimeEstimate(best.sigma, spread_interval(times, kind, best, level)),
        log_likelihoods={name: maximize(times, one).value - jacobian for name, one in RESIDUALS.items()},
        decrement=best.decrement,
        curvature_p=curvature_p(times, kind, best),
        notes=(*data.notes, *_extrapolations(data, at)),
        predictions=tuple(
            (point, _at(data, logs, kind, level, np.log([point[name] for name in data.names]))) for point in at
        ),
    )


def _extrapolations(data: EventTimes, at: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """Yield a note for each setting that lies outside the trials in an input."""
    ends = {name: (column.min(), column.max()) for name, column in zip(data.names, data.inputs.T, strict=True)}
    for point in at:
        beyond = [
            f"{name} ran from {low:g} to {high:g}"
            for name, (low, high) in ends.items()
            if not low <= point[name] <= high
        ]
        if beyond:
            yield f"t* at {settings(point)} is an extrapolation: {', '.join(beyond)}"


def curvature_p(times: CensoredTimes, residuals: ResidualDistribution, best: Maximum) -> float | None:
    """Return the p-value of a law without squares of the logarithms of its inputs, against one with them.

    The F test of the likelihood ratio, exact for log-normal times without censoring. None where an input has two values
    only and there is no other, or the larger law is not determined.
    """
    squares = [column**2 for column in times.design.T[1:] if len(np.unique(column)) > 2]
    larger = replace(times, design=np.column_stack([times.design, *squares]))
    freedom = times.events - larger.design.shape[1]
    if not squares or freedom < 1 or not has_maximum(larger):
        return None
    ratio = 2 * max(0.0, maximize(larger, residuals).value - best.value)
    statistic = math.expm1(ratio / times.events) * freedom / len(squares)
    return float(stats.f.sf(statistic, len(squares), freedom))


def _check(data: EventTimes, residuals: str, level: float, at: Sequence[Mapping[str, float]]) -> None:
    faults = []
    if residuals not in RESIDUALS:
        faults.append(f"residuals = {residuals!r} is not known (accepted: {', '.join(RESIDUALS)})")
    if not 0 < level < 1:
        faults.append(f"level = {level} (accepted: above 0 and below 1)")
    for name, column in zip(data.names, data.inputs.T, strict=True):
        if data.event.any() and len(np.unique(column)) == 1:
            faults.append(f"{name} = {column[0]:g} in all {counted(len(column), 'row')} (accepted: inputs that vary)")
    for point in at:
        if set(point) != {*data.names}:
            faults.append(f"at {', '.join(point)} (accepted: a value of each of {', '.join(data.names)})")
    if not faults and data.event.any() and _tied(np.log(data.inputs)):
        faults.append(f"{', '.join(data.names)} are tied to each other (accepted: inputs that vary independently)")
    if faults:
        raise InputError(faults)
    for point in at:
        require_positive(point, "at")


def _tied(logs: Array) -> bool:
    """Return whether a power of some inputs is constant, so that their exponents have no meaning of their own."""
    design = _design(logs, logs.mean(axis=0))
    return bool(np.linalg.matrix_rank(design / np.linalg.norm(design, axis=0), RANK) < design.shape[1])


def _design(logs: Array, origin: Array) -> Array:
    """Return a column of ones, and the logarithms of the inputs beyond those of ``origin``: (n, k + 1)."""
    return np.column_stack([np.ones(len(logs)), logs - origin])


def _estimates(
    times: CensoredTimes, residuals: ResidualDistribution, best: Maximum, level: float
) -> list[TimeEstimate]:
    return [
        TimeEstimate(float(value), coefficient_interval(times, residuals, best, column, level))
        for column, value in enumerate(best.beta)
    ]


def _at(data: EventTimes, logs: Array, residuals: ResidualDistribution, level: float, origin: Array) -> TimeEstimate:
    """Return t* where the logarithms of the inputs are ``origin``: the intercept of a design that begins there."""
    times = CensoredTimes(np.log(data.times), data.event, _design(logs, origin))
    best = maximize(times, residuals)
    interval = coefficient_interval(times, residuals, best, 0, level)
    return _power(TimeEstimate(float(best.beta[0]), interval))


def _power(estimate: TimeEstimate) -> TimeEstimate:
    """Return e to the power of an estimate, infinite where that is beyond a double."""
    with np.errstate(over="ignore"):
        value, low, high = np.exp([estimate.value, estimate.interval.low, estimate.interval.high]).tolist()
    return TimeEstimate(value, replace(estimate.interval, low=low, high=high))
