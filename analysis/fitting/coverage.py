"""Coverage: the share of intervals that contain a known truth.

Losses are simulated from a law at the rows of a design and each set is fitted, and its noise tested, as a fit's is. A
parameter is covered if fixing it at its true value costs less deviance than the interval's threshold: the profile
interval without tracing it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl

from sweeplaw.analysis.fitting.checks import Observations
from sweeplaw.analysis.fitting.deviance import DevianceScale, deviance_factors
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.fitting.noise import noise as noises
from sweeplaw.analysis.fitting.profiles import own_units
from sweeplaw.analysis.fitting.resampling import Resampling
from sweeplaw.analysis.fitting.solver.derivatives import differentiate
from sweeplaw.analysis.fitting.solver.newton import Minimum, minimise
from sweeplaw.analysis.fitting.solver.objectives import Objective, residuals
from sweeplaw.analysis.fitting.solver.solve import (
    Setup,
    Solution,
    objective_value,
    set_up,
    smoothed,
    with_frozen,
)
from sweeplaw.analysis.fitting.solver.verdict import Verdict
from sweeplaw.analysis.fitting.uncertainty import bootstrap
from sweeplaw.analysis.laws.law import Law
from sweeplaw.analysis.tables.display import Shown, brief, finite
from sweeplaw.trials.quantities import percent

Array = np.ndarray
Noise = Literal["gaussian", "t3", "growing", "falling", "size"]
Method = Literal["profile", "bootstrap"]

CHANGE = 4.0  # of the spread of growing and falling noise, from the smallest run to the largest
SHARED = 0.5  # of the variance that runs of one size share
RESAMPLES = 400  # of each simulated set


@dataclass(frozen=True, slots=True, repr=False)
class Coverage(Shown):
    """The share of simulated sets whose interval contains each true parameter, with its binomial standard error."""

    shares: Mapping[str, float]
    error: float
    level: float
    sets: int
    converged: int
    method: Method
    noise: Noise
    scale: float

    def headline(self) -> tuple[str, ...]:
        """Return the design of the simulation and the share of sets that cover each parameter."""
        kind = f"coverage of {percent(self.level)} {self.method} intervals, {self.noise} noise {self.scale:.3g}"
        return (f"{kind}, {self.sets} sets:", f"{brief(self.shares)} (+- {self.error:.3f})")

    def to_dict(self) -> dict[str, Any]:
        """Return the simulation as plain values for JSON."""
        return dict(finite({
            "method": self.method, "noise": self.noise, "scale": self.scale, "level": self.level, "sets": self.sets,
            "converged": self.converged, "standard_error": self.error, "coverage": self.shares,
        }))  # fmt: skip


def simulate_losses(
    truth: Array, noise: Noise, scale: float, space: str, sets: int, seed: int, inputs: Sequence[Array] = ()
) -> Array:
    """Draw losses (sets, n) about ``truth`` (n,), with standard deviation ``scale`` in the objective's space.

    Noise that grows or falls has this spread in the middle of the product of the ``inputs``; a size is the first input.
    """
    rng = np.random.default_rng(seed)
    shape = (sets, len(truth))
    draws = rng.standard_t(3, size=shape) / math.sqrt(3) if noise == "t3" else rng.normal(size=shape)
    if noise in ("growing", "falling"):
        place = np.log(np.prod(np.stack(inputs), axis=0))
        place = (place - (place.min() + place.max()) / 2) / max(float(np.ptp(place)), 1e-12)
        draws *= CHANGE ** (place if noise == "growing" else -place)
    elif noise == "size":
        sizes = np.unique(np.round(np.log(inputs[0]), 2), return_inverse=True)[1]
        common = rng.normal(size=(sets, int(sizes.max()) + 1))[:, sizes]
        draws = math.sqrt(1 - SHARED) * draws + math.sqrt(SHARED) * common
    return np.asarray(truth + scale * draws if space == "raw" else truth * np.exp(scale * draws))


def coverage(
    law: Law, params: Mapping[str, float], inputs: Mapping[str, Array], objective: Objective, *, scale: float,
    noise: Noise = "gaussian", sets: int = 1000, level: float = 0.95, method: Method = "profile", seed: int = 0,
    by: str = "auto",
) -> Coverage:  # fmt: skip
    """Simulate the coverage of the intervals of ``method`` for a law with these true parameters at these rows.

    ``by`` is that of `fit`: auto tests each set's noise, row takes rows as independent.
    """
    truth = law.predict(params, inputs)
    columns = [np.asarray(inputs[name]) for name in law.inputs]
    losses = simulate_losses(truth, noise, scale, objective.space, sets, seed, columns)
    setup, found = _fitted(law, params, inputs, objective, losses)
    true = np.array([params[name] for name in law.names])
    resampling = Resampling(RESAMPLES if method == "bootstrap" else 0, by, seed=seed)
    if method == "bootstrap":
        covered = _covered_by_bootstrap(_fits(setup, found, inputs, losses, resampling, level), true)
    else:
        covered = _covered_by_profile(setup, losses, found, true, level, _noises(setup, found, inputs, losses, by))
    shares = {name: float(np.mean(covered[:, index])) for index, name in enumerate(law.names)}
    error = math.sqrt(level * (1 - level) / sets)
    return Coverage(shares, error, level, sets, int(found.converged.sum()), method, noise, scale)


def simulated_fits(
    law: Law, start: Mapping[str, float], inputs: Mapping[str, Array], objective: Objective, losses: Array,
    resampling: Resampling, level: float = 0.95,
) -> Iterator[Fit]:  # fmt: skip
    """Yield the fit of each set of losses (sets, n), reached from one start near the truth and tested for noise."""
    setup, found = _fitted(law, start, inputs, objective, losses)
    yield from _fits(setup, found, inputs, losses, resampling, level)


def _fitted(
    law: Law, start: Mapping[str, float], inputs: Mapping[str, Array], objective: Objective, losses: Array
) -> tuple[Setup, Minimum]:
    """Return the setup of the sets, with the losses of the first, and the optimum of each."""
    setup = set_up(law, objective, inputs, losses[0], np.ones(losses.shape[1]))
    centred = setup.to_centred_units(np.array([[start[name] for name in law.names]]))
    predicted = setup.problem.bound.predict(centred)
    scale = float(np.median(np.abs(residuals(losses, predicted, objective.space)))) / 0.6745
    setup = smoothed(setup, centred[0])
    problem = replace(setup.problem, losses=losses)
    return setup, minimise(problem, np.tile(centred, (len(losses), 1)), setup.delta, setup.box, initial_delta=scale)


def _observed(inputs: Mapping[str, Array], losses: Array) -> Observations:
    rows = np.arange(len(losses))
    return Observations(inputs, losses, np.ones(len(losses)), rows, pl.DataFrame(dict(inputs)), {}, {}, (), ())


def _set(setup: Setup, losses: Array) -> Setup:
    return replace(setup, problem=replace(setup.problem, losses=losses))


def _noises(
    setup: Setup, found: Minimum, inputs: Mapping[str, Array], losses: Array, by: str
) -> list[noises.Noise]:  # fmt: skip
    return [
        noises.find_noise(_set(setup, observed), theta, _observed(inputs, observed), Resampling(by=by))
        for observed, theta in zip(losses, found.theta, strict=True)
    ]


def _fits(
    setup: Setup, found: Minimum, inputs: Mapping[str, Array], losses: Array, resampling: Resampling, level: float
) -> Iterator[Fit]:
    """Yield the fit of each set as the optimum that was found."""
    for observed, theta, converged in zip(losses, found.theta, found.converged, strict=True):
        one, rows = _set(setup, observed), _observed(inputs, observed)
        verdict = Verdict(0.0, 1, 1, (), math.nan, bool(converged), "simulated")
        solution = Solution(theta, differentiate(one.problem, theta[None], np.array([one.delta])), verdict)
        params = dict(zip(one.law.names, one.to_law_units(theta[None])[0].tolist(), strict=True))
        noise = noises.find_noise(one, theta, rows, resampling)
        draws = bootstrap(one, solution, rows, resampling, noise=noise) if resampling.count else None
        value = objective_value(one, theta)
        yield Fit(one.law, one.objective, params, value, verdict, rows, draws, level, (), one, solution, noise)


def _covered_by_profile(
    setup: Setup, losses: Array, found: Minimum, true: Array, level: float, noise: Sequence[noises.Noise]
) -> Array:
    """Return whether fixing each parameter at its truth costs less than the threshold: (sets, p)."""
    theta = found.theta
    residual = residuals(losses, setup.problem.bound.predict(theta), setup.problem.space)
    factor = deviance_factors(residual, setup.problem.weights, setup.delta, theta.shape[1])
    plain = DevianceScale(1.0, losses.shape[1] - theta.shape[1])
    scale = float(np.median(np.abs(residual)))
    covered = np.zeros(theta.shape, dtype=bool)
    for index in range(theta.shape[1]):
        own, start = own_units(setup, theta, index)
        limit = [_limit(_set(own, observed), place, index, one, plain, level)
                 for observed, place, one in zip(losses, start, noise, strict=True)]  # fmt: skip
        start[:, index] = true[index]
        box, problem = with_frozen(own, index).box, replace(own.problem, losses=losses)
        tied = minimise(problem, start, own.delta, box, initial_delta=scale, tolerance=1e-9, max_steps=150)
        covered[:, index] = (tied.value - found.value) * factor <= np.array(limit)
    return covered


def _limit(
    own: Setup, theta: Array, index: int, noise: noises.Noise, plain: DevianceScale, level: float
) -> float:  # fmt: skip
    """Return the largest deviance, under independent noise, of a value inside the interval."""
    wider = noise.spread(own, theta, np.eye(len(theta))[index])
    scale = wider.widen(plain) if wider else plain
    return scale.threshold(level) / scale.factor


def _covered_by_bootstrap(fits: Iterator[Fit], true: Array) -> Array:
    """Return whether the percentile interval of each fit contains each true parameter: (sets, p)."""
    return np.array([
        [fit.intervals[name].low <= value <= fit.intervals[name].high
         for name, value in zip(fit.law.names, true, strict=True)]
        for fit in fits
    ])  # fmt: skip
