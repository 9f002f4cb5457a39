"""Coverage: the share of intervals that contain a known truth.

Losses are simulated from a law at the rows of a design and each set is fitted. A parameter is covered if fixing it at
its true value costs less deviance than the interval's threshold: the profile interval without tracing it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from sweeplaw.analysis.fitting.deviance import DevianceScale, deviance_factors
from sweeplaw.analysis.fitting.profiles import own_units
from sweeplaw.analysis.fitting.solver.newton import Minimum, minimise
from sweeplaw.analysis.fitting.solver.objectives import Objective, residuals
from sweeplaw.analysis.fitting.solver.solve import Setup, set_up, smoothed, with_frozen
from sweeplaw.analysis.fitting.uncertainty import percentile, resample_draws
from sweeplaw.analysis.laws.law import Law
from sweeplaw.analysis.tables.display import Shown, brief, finite

Array = np.ndarray
Noise = Literal["gaussian", "t3"]
Method = Literal["profile", "bootstrap"]


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
        kind = f"coverage of {self.level:.0%} {self.method} intervals, {self.noise} noise {self.scale:.3g}"
        return (f"{kind}, {self.sets} sets:", f"{brief(self.shares)} (+- {self.error:.3f})")

    def to_dict(self) -> dict[str, Any]:
        """Return the simulation as plain values for JSON."""
        return dict(finite({
            "method": self.method, "noise": self.noise, "scale": self.scale, "level": self.level, "sets": self.sets,
            "converged": self.converged, "standard_error": self.error, "coverage": self.shares,
        }))  # fmt: skip


def simulate_losses(truth: Array, noise: Noise, scale: float, space: str, sets: int, seed: int) -> Array:
    """Draw losses (sets, n) about ``truth`` (n,), with standard deviation ``scale`` in the objective's space."""
    rng = np.random.default_rng(seed)
    shape = (sets, len(truth))
    draws = rng.normal(size=shape) if noise == "gaussian" else rng.standard_t(3, size=shape) / math.sqrt(3)
    return np.asarray(truth + scale * draws if space == "raw" else truth * np.exp(scale * draws))


def coverage(
    law: Law, params: Mapping[str, float], inputs: Mapping[str, Array], objective: Objective, *, scale: float,
    noise: Noise = "gaussian", sets: int = 1000, level: float = 0.95, method: Method = "profile", seed: int = 0,
) -> Coverage:  # fmt: skip
    """Simulate the coverage of the intervals of ``method`` for a law with these true parameters at these rows."""
    truth = law.predict(params, inputs)
    losses = simulate_losses(truth, noise, scale, objective.space, sets, seed)
    setup = set_up(law, objective, inputs, truth, np.ones(len(truth)))
    true = np.array([params[name] for name in law.names])
    centred = setup.to_centred_units(true[None])
    setup = smoothed(replace(setup, problem=replace(setup.problem, losses=losses[0])), centred[0])
    problem = replace(setup.problem, losses=losses)
    found = minimise(problem, np.tile(centred, (sets, 1)), setup.delta, setup.box, initial_delta=scale)
    if method == "bootstrap":
        covered = _covered_by_bootstrap(setup, losses, found.theta, true, level, seed)
    else:
        covered = _covered_by_profile(setup, losses, found, true, level)
    shares = {name: float(np.mean(covered[:, index])) for index, name in enumerate(law.names)}
    error = math.sqrt(level * (1 - level) / sets)
    return Coverage(shares, error, level, sets, int(found.converged.sum()), method, noise, scale)


def _covered_by_profile(setup: Setup, losses: Array, found: Minimum, true: Array, level: float) -> Array:
    """Return whether fixing each parameter at its truth costs less than the threshold: (sets, p)."""
    theta = found.theta
    residual = residuals(losses, setup.problem.bound.predict(theta), setup.problem.space)
    factor = deviance_factors(residual, setup.problem.weights, setup.delta, theta.shape[1])
    threshold = DevianceScale(1.0, losses.shape[1] - theta.shape[1]).threshold(level)
    scale = float(np.median(np.abs(residual)))
    covered = np.zeros(theta.shape, dtype=bool)
    for index in range(theta.shape[1]):
        own, start = own_units(setup, theta, index)
        start[:, index] = true[index]
        box, problem = with_frozen(own, index).box, replace(own.problem, losses=losses)
        tied = minimise(problem, start, own.delta, box, initial_delta=scale, tolerance=1e-9, max_steps=150)
        covered[:, index] = (tied.value - found.value) * factor <= threshold
    return covered


def _covered_by_bootstrap(
    setup: Setup, losses: Array, theta: Array, true: Array, level: float, seed: int, resamples: int = 400
) -> Array:
    """Return whether the percentile interval of a row bootstrap contains each true parameter: (sets, p)."""
    covered = np.zeros(theta.shape, dtype=bool)
    for number, (observed, optimum) in enumerate(zip(losses, theta, strict=True)):
        one = replace(setup, problem=replace(setup.problem, losses=observed))
        draws = resample_draws(one, optimum, resamples, seed + number)
        for index in range(len(true)):
            interval = percentile(draws[:, index], level, "")
            covered[number, index] = interval.low <= true[index] <= interval.high
    return covered
