"""The limits of a level: a law through each of some curves, in every scenario, and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sweeplaw.analysis.fitting.uncertainty import Interval
from sweeplaw.analysis.recipes.limits.asymptote import PARAMETERS, Asymptotes, asymptotes, at_bound, shape_fault
from sweeplaw.analysis.recipes.limits.noise import t_scale, unexplained
from sweeplaw.analysis.recipes.limits.scenarios import ESTIMATE, Scenarios, central
from sweeplaw.trials.quantities import percent, short

Array = np.ndarray
Status = Literal["law", "interpolation", "given", "degenerate", "too few"]

RESIDUALS = "residuals"


@dataclass(frozen=True, slots=True)
class Curve:
    """Losses at rising ``x`` (n,) in each scenario, (S, n); NaN where unknown. ``noise``: origin of their errors."""

    at: Mapping[str, Any]
    x: Array
    losses: Array
    noise: str


@dataclass(frozen=True, slots=True)
class Limit:
    """Where a curve ends as x (the ``axis``) grows without end: its C, in every scenario.

    ``status``: ``law`` (more points than parameters), ``interpolation`` (three points, which the law passes through),
    ``given`` (the table has the limit), ``degenerate`` (the law has no limit to report) or ``too few`` points. Only the
    first three have a ``value``. ``law`` has the parameters, None without a law. ``noise`` is the origin of the errors:
    seeds, members, given errors, residuals; empty if none are known. ``notes`` say what to know of the limit.
    """

    at: Mapping[str, Any]
    axis: str
    curve: Curve
    status: Status
    values: Array
    law: Asymptotes | None
    noise: str
    notes: tuple[str, ...]

    @property
    def value(self) -> float | None:
        """The limit, nats a token; None if there is none."""
        found = float(self.values[ESTIMATE])
        return found if np.isfinite(found) else None

    def interval(self, scenarios: Scenarios, level: float) -> Interval | None:
        """Return the interval of the limit; None if there is no limit, or its errors are not known.

        Its lower end is infinite if draws as low ran to a bound.
        """
        return limit_interval(self.values, scenarios, level, self.noise) if self.value is not None else None

    def to_dict(self, scenarios: Scenarios, level: float) -> dict[str, Any]:
        """Return the limit as plain values."""
        interval = self.interval(scenarios, level)
        return {
            **self.at, "axis": self.axis, "x": self.curve.x.tolist(), "losses": self.curve.losses[ESTIMATE].tolist(),
            "limit": self.value, "interval": interval and interval.values(), "status": self.status,
            "params": self.law and dict(zip(("C", "A", "alpha"), self.law.params[ESTIMATE].tolist(), strict=True)),
            "noise": self.noise, "notes": list(self.notes),
        }  # fmt: skip


def limit_interval(values: Array, scenarios: Scenarios, level: float, noise: str) -> Interval | None:
    """Return the interval of a limit from its ``values`` (S,); None if no errors are known."""
    drawn = values[scenarios.drawn]
    drawn = np.where(drawn <= 1e-6, -np.inf, drawn)  # the fit ran to the bound of C
    return central(drawn, level, f"{scenarios.draws} draws by {noise}") if noise else None


def limits_of(curves: Sequence[Curve], axis: str, scenarios: Scenarios, rng: np.random.Generator) -> list[Limit]:
    """Return the limit of each curve along ``axis``, in every scenario.

    Where the residuals of all curves together are larger than the errors of the losses explain, or no errors are known,
    the draws have the noise of the residuals too.
    """
    fitted = {index: _law(one, axis, scenarios) for index, one in enumerate(curves) if _finite(one) >= PARAMETERS}
    laws = list(fitted.items())
    residuals = [_residuals(curves[index], law) for index, law in laws]
    drawn = [one[scenarios.drawn] - one[ESTIMATE] for one in residuals]
    spread, freedom, p = unexplained([one[ESTIMATE] for one in residuals], drawn, PARAMETERS)
    found = []
    for index, curve in enumerate(curves):
        if index not in fitted:
            found.append(_without_law(curve, axis))
            continue
        note, law = "", fitted[index]
        if spread > 0:
            curve, note = _noisier(curve, spread, freedom, p, scenarios, rng)
            law = _law(curve, axis, scenarios)
        found.append(_limit(curve, axis, law, scenarios, note))
    return found


def _finite(curve: Curve) -> int:
    """Return the number of points at a finite x with a loss."""
    return int(_used(curve).sum())


def _used(curve: Curve) -> Array:
    return np.asarray(np.isfinite(curve.x) & ~np.isnan(curve.losses[ESTIMATE]))


def _law(curve: Curve, axis: str, scenarios: Scenarios) -> Asymptotes:
    used = _used(curve)
    x = curve.x[used]
    return asymptotes(x, curve.losses[:, used], scenarios.weights(axis, x))


def _residuals(curve: Curve, law: Asymptotes) -> Array:
    """Return the residuals in each scenario: (S, n)."""
    used = _used(curve)
    return np.asarray(curve.losses[:, used] - law.at(curve.x[used]))


def _chance(p: float, draws: int) -> str:
    """Return the chance of residuals as large as found, which draws resolve to one in their number."""
    return f"p = {p:.1g}" if p > 0 else f"p below 1 in {draws}"


def _noisier(
    curve: Curve, spread: float, freedom: float, p: float, scenarios: Scenarios, rng: np.random.Generator
) -> tuple[Curve, str]:
    """Return the curve with the noise of residuals in its draws, and what was done."""
    losses = curve.losses.copy()
    scale = t_scale(rng, scenarios.draws, freedom)[:, None]
    losses[scenarios.drawn] += spread * scale * rng.standard_normal((scenarios.draws, len(curve.x)))
    origin = f"{RESIDUALS}, {freedom:g} of freedom"
    if not curve.noise:
        return Curve(curve.at, curve.x, losses, origin), ""
    chance = _chance(p, scenarios.draws)
    note = f"the residuals are larger than the errors explain ({chance}): {spread:.2g} of noise is added"
    return Curve(curve.at, curve.x, losses, f"{curve.noise} and {origin}"), note


def _without_law(curve: Curve, axis: str) -> Limit:
    """Return the limit of a curve with too few points: what the table gives at infinity, or none."""
    given = np.isinf(curve.x) & ~np.isnan(curve.losses[ESTIMATE])
    if given.any():
        values = curve.losses[:, int(np.argmax(given))]
        return Limit(curve.at, axis, curve, "given", values, None, curve.noise, ())
    there = ", ".join(short(value) for value in curve.x[_used(curve)]) or "none"
    note = f"{axis} = {there}: a limit takes {PARAMETERS} of {axis} or more"
    return Limit(curve.at, axis, curve, "too few", np.full(len(curve.losses), np.nan), None, "", (note,))


def _limit(curve: Curve, axis: str, law: Asymptotes, scenarios: Scenarios, note: str) -> Limit:
    used = _used(curve)
    shape = shape_fault(curve.x[used], curve.losses[ESTIMATE, used])
    notes = [text for text in (shape, note) if text]
    if law.fault:
        values = np.full(len(curve.losses), np.nan)
        return Limit(curve.at, axis, curve, "degenerate", values, law, curve.noise, (law.fault, *notes))
    exact = int(used.sum()) == PARAMETERS
    if exact:
        notes.append(f"three {axis} fix three parameters exactly: an interpolation")
    bound = np.array([bool(text) for text in at_bound(law.params)])
    if curve.noise and bound[scenarios.drawn].any():
        notes.append(f"{percent(float(bound[scenarios.drawn].mean()))} of the draws run to a bound of the law")
    values = law.params[:, 0].copy()
    values[scenarios.without] = np.where(bound, np.nan, values)[scenarios.without]
    return Limit(curve.at, axis, curve, "interpolation" if exact else "law", values, law, curve.noise, tuple(notes))
