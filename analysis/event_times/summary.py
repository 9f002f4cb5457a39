"""A law of times in words."""

from __future__ import annotations

from collections.abc import Iterator

from sweeplaw.analysis.event_times.residuals import RESIDUALS
from sweeplaw.analysis.event_times.time_law import TimeEstimate, TimeLaw
from sweeplaw.trials.quantities import counted, percent, short

SMALL = 0.01  # p-value below which the power law is rejected
CLEAR = 2.0  # difference of log-likelihoods beyond which the other residuals are named


def summary(law: TimeLaw, time: str) -> str:
    """Return what the law says of the column ``time``, line by line."""
    return "\n".join(_lines(law, time))


def _lines(law: TimeLaw, time: str) -> Iterator[str]:
    yield f"{time}: {counted(law.rows, 'trial')}, {law.events} with the event, {law.rows - law.events} censored"
    if law.status == "no events":
        yield f"no event, so no law; the longest time without one is {short(law.longest or 0.0)}"
        yield (
            f"at {percent(law.level)} confidence at least {percent(law.least_share or 0.0)} of such trials do not have "
            "it by the time of their last look"
        )
    elif law.scale is not None and law.exponents is not None and law.sigma is not None:
        yield from _law(law, time)
    yield from law.notes


def _law(law: TimeLaw, time: str) -> Iterator[str]:
    assert law.scale is not None
    powers = " ".join(
        f"({name}/{law.reference[name]:.3g})^{one.value:.3f}" for name, one in (law.exponents or {}).items()
    )
    mark = "" if law.status == "verified" else f" [{law.status}]"
    yield f"t* = {law.scale.value:.4g} {powers}{mark}, {RESIDUALS[law.residuals].meaning}"
    named = {f"exponent of {name}": one for name, one in (law.exponents or {}).items()}
    for name, one in {**named, "t* at the reference": law.scale, "sigma of log t": law.sigma}.items():
        if one is not None:
            yield f"  {name} = {_with_interval(one)}"
    for point, one in law.predictions:
        yield f"  t* at {', '.join(f'{name}={value:g}' for name, value in point.items())} = {_with_interval(one)}"
    yield f"{law.residuals} residuals; {percent(law.level)} intervals from the profile likelihood"
    yield from _remarks(law)


def _remarks(law: TimeLaw) -> Iterator[str]:
    if law.curvature_p is not None:
        verdict = "rejected: the law is curved" if law.curvature_p < SMALL else "not rejected"
        yield f"powers alone, against squares of logarithms: p = {law.curvature_p:.2g}, {verdict}"
    own = (law.log_likelihoods or {}).get(law.residuals)
    for name, other in (law.log_likelihoods or {}).items():
        if own is not None and other - own > CLEAR:
            yield f"{name} residuals are likelier (by {other - own:.1f} in log-likelihood)"


def _with_interval(one: TimeEstimate) -> str:
    return f"{one.value:.4g} [{one.interval.low:.4g}, {one.interval.high:.4g}]"
