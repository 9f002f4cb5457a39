"""Nested forms: does a law with one parameter more describe the rows better than noise explains?

The wider law is fitted to the same rows by the same objective, from the narrow law's optimum and some others, and the
fall of the deviance is compared with the Student threshold of one parameter, as a profile interval does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import t as student

from sweeplaw.analysis.adequacy.finding import Finding
from sweeplaw.analysis.adequacy.lack_of_fit import LEVEL, NEGLIGIBLE, chance
from sweeplaw.analysis.fitting.deviance import deviance_scale
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.fitting.solver.derivatives import mean_penalties
from sweeplaw.analysis.fitting.solver.newton import minimise
from sweeplaw.analysis.fitting.solver.solve import Setup, set_up, smoothed
from sweeplaw.analysis.laws.catalog import ADDITIVE, ASYMPTOTE, POWER, SKALING
from sweeplaw.analysis.laws.law import Law
from sweeplaw.trials.quantities import percent

Array = np.ndarray
Params = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Wider:
    """A law that contains another: with ``extra`` at each of ``starts`` it is near the narrow law's parameters."""

    law: Law
    extra: str
    starts: tuple[float, ...]
    start: Callable[[Params, float], Params]
    in_words: str


def _coupled(params: Params, k: float) -> Params:
    """Return parameters of the coupled law in which each term alone is that of the additive law."""
    sizes = {"A": params["A"] ** (1 / k), "B": params["B"] ** (1 / k)}
    return {"E": params["E"], **sizes, "a": params["alpha"] / k, "b": params["beta"] / k, "k": k}


def _shifted(params: Params, asymptote: float) -> Params:
    return {"C": asymptote, **params}


WIDER: Mapping[str, _Wider] = {
    ADDITIVE.name: _Wider(SKALING, "k", (1.0, 0.5, 0.7, 1.5), _coupled, "a coupled form, (A/N^a + B/D^b)^k,"),
    POWER.name: _Wider(ASYMPTOTE, "C", (1e-3, 0.3), _shifted, "a power law with an asymptote"),
}


def nested(fit: Fit) -> Finding | None:
    """Return whether the next wider law fits better; None if there is none, or too few rows for it."""
    wider = WIDER.get(fit.law.name)
    catalogued = {ADDITIVE.name: ADDITIVE, POWER.name: POWER}.get(fit.law.name)
    if wider is None or fit.law.fixed or fit.law != catalogued:
        return None
    seen = fit.observations
    delta = smoothed(fit.setup, fit.solution.theta).delta
    setup = replace(set_up(wider.law, fit.objective, seen.inputs, seen.losses, seen.weights), delta=delta)
    found = _best(setup, wider, fit)
    scale = deviance_scale(setup, found)
    if scale.freedom < 1:
        return None
    narrow, wide = _value(fit.setup, fit.solution.theta, setup.delta), _value(setup, found, setup.delta)
    deviance = (narrow - wide) * scale.factor
    p_value = float(2 * student.sf(np.sqrt(max(deviance, 0.0)), scale.freedom))
    return _finding(wider, setup, found, fit, p_value, 1 - wide / narrow if narrow > 0 else 0.0)


def _finding(wider: _Wider, setup: Setup, found: Array, fit: Fit, p_value: float, fall: float) -> Finding:
    params = dict(zip(wider.law.names, setup.to_law_units(found[None])[0].tolist(), strict=True))
    change = float(np.sqrt(np.mean(np.log(setup.problem.bound.predict(found[None])[0] / fit.fitted) ** 2)))
    numbers = {"wider_law": wider.law.name, "p_value": p_value, "objective_falls_by": fall,
               wider.extra: params[wider.extra]}  # fmt: skip
    if p_value < LEVEL and change > NEGLIGIBLE:
        gain = f"lowers the objective by {percent(fall, '.0f')} (p {chance(p_value)})"
        return Finding("nested", "failed", f"{wider.in_words} {gain}: try {wider.law.name}", numbers)
    return Finding("nested", "passed", f"{wider.in_words} describes the rows no better (p {chance(p_value)})", numbers)


def _best(setup: Setup, wider: _Wider, fit: Fit) -> Array:
    """Return the best optimum (p,) of the wider law from its starts, in centred units."""
    floor = {name: max(value, 1e-12) for name, value in _centred(fit).items()}
    scale = float(np.exp(np.mean(np.log(fit.observations.losses)))) if wider.extra == "C" else 1.0
    vectors = [wider.start(floor, value * scale) for value in wider.starts]
    starts = np.array([[vector[name] for name in wider.law.names] for vector in vectors])
    found = minimise(setup.problem, np.clip(starts, setup.box.low, setup.box.high), setup.delta, setup.box)
    return np.asarray(found.theta[int(np.nanargmin(found.value))])


def _centred(fit: Fit) -> Params:
    return dict(zip(fit.law.names, fit.solution.theta.tolist(), strict=True))


def _value(setup: Setup, theta: Array, delta: float) -> float:
    return float(mean_penalties(setup.problem, theta[None], np.array([delta]))[0])
