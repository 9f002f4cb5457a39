"""The law alone, fitted robustly under its prior: where the forecast is linearised, and the weight of each row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sweeplaw.analysis.fitting.solver.objectives import parse_objective
from sweeplaw.analysis.fitting.solver.solve import quick, set_up
from sweeplaw.analysis.forecasting.process.mean import BoundMean, Mean, centre_of, mean_of
from sweeplaw.analysis.laws.law import Law
from sweeplaw.trials.errors import InputError

Array = np.ndarray

HUBER = parse_objective("huber:0.001", "log")
SMALLEST_SCALE = 1e-4
START_SCALE = 0.02  # relative error of a law that no fit has shown
CLIP = 3.0  # robust standard deviations beyond which a row loses weight
STEPS = 30
ROUNDS, FALLING = 4, 0.95  # at most, of the fit with the residual scale of the last one, while that is this much lower
CONVERGED = 1e-9  # relative decrease of the objective


@dataclass(frozen=True, slots=True)
class RobustFit:
    """The mean with its prior, coordinates (p,) of the fit, residual scale, and weight of each row (n,)."""

    mean: Mean
    theta: Array
    scale: float
    weights: Array


def robust_fit(law: Law, inputs: Mapping[str, Array], losses: Array, start: Array | None = None) -> RobustFit:
    """Fit the law's logarithm to the logs of the losses, under the prior. ``start`` are parameters to begin at.

    Raise InputError if the law found is not positive at every run.
    """
    fitted = None if start is None else centred(law, start, centre_of(law, inputs))
    if fitted is None and len(losses) > len(law.names):
        fitted = quick(set_up(law, HUBER, inputs, losses, np.ones(len(losses))))
    mean = mean_of(law, inputs, losses, fitted)
    bound, target = mean.bind(inputs), np.log(losses)
    starts = [mean.prior] if fitted is None else [mean.coordinates(fitted), mean.prior]
    scale = START_SCALE
    if len(losses) > len(law.names):
        scale = min(residual_scale(target - bound.value(theta), len(theta)) for theta in starts)
    for _ in range(ROUNDS):
        theta = _likeliest(bound, target, starts, scale)
        residual = target - bound.value(theta)
        if not np.isfinite(residual).all():
            raise InputError(
                f"{law.name} has no positive value at some of the runs: it cannot be the mean of a forecast"
            )
        starts, before, scale = [theta], scale, residual_scale(residual, len(theta))
        if scale > FALLING * before:
            break
    return RobustFit(mean, theta, scale, np.minimum(1.0, CLIP * scale / np.maximum(np.abs(residual), 1e-300)))


def centred(law: Law, params: Array, centre: Sequence[float]) -> Array:
    """Return parameters (p,) of the law's own units in centred units."""
    return params / law.scales(params[None], centre)[0] if law.scaled else params


def residual_scale(residual: Array, parameters: int) -> float:
    """Return the robust standard deviation of residuals (n,), corrected for the parameters."""
    known = residual[np.isfinite(residual)]
    if not known.size:
        return START_SCALE
    spread = float(np.median(np.abs(known))) * 1.4826 * np.sqrt(known.size / max(known.size - parameters, 1))
    return max(float(spread), SMALLEST_SCALE)


def most_probable(bound: BoundMean, target: Array, theta: Array, scale: float) -> tuple[float, Array]:
    """Return the least objective near ``theta`` and its coordinates: Huber's loss at two scales, and the prior."""

    def objective(at: Array) -> tuple[float, Array]:
        residual = np.abs(target - bound.value(at)) / scale
        clipped = np.minimum(residual, 2.0)
        weights = clipped / np.maximum(residual, 1e-300)
        penalty = float(np.sum(clipped * (2 * residual - clipped)))
        return penalty + float(np.sum(((at - bound.mean.prior) / bound.mean.spread) ** 2)), weights

    def step(at: Array, weights: Array, damping: float) -> Array:
        value, jacobian = bound.derivatives(at)
        return _step(bound.mean, at, target - value, jacobian, weights / scale**2, damping)

    found = descend(bound.mean, theta, objective, step)
    return objective(found)[0], found


def _likeliest(bound: BoundMean, target: Array, starts: Sequence[Array], scale: float) -> Array:
    found = [most_probable(bound, target, start, scale) for start in starts]
    return min(found, key=lambda pair: pair[0] if np.isfinite(pair[0]) else np.inf)[1]


def _step(mean: Mean, theta: Array, residual: Array, jacobian: Array, weights: Array, damping: float) -> Array:
    precision = 1.0 / mean.spread**2
    matrix = jacobian.T @ (weights[:, None] * jacobian)
    matrix[np.diag_indices(len(theta))] += precision + damping * np.diag(matrix)
    return np.linalg.solve(matrix, jacobian.T @ (weights * residual) + precision * (mean.prior - theta))


def descend(
    mean: Mean, theta: Array, objective: Callable[[Array], tuple[float, Array]],
    step: Callable[[Array, Array, float], Array], steps: int = STEPS,
) -> Array:  # fmt: skip
    """Return the coordinates that damped Gauss-Newton steps reach, each of which lowers the objective."""
    value, weights = objective(theta)
    damping = 1e-3
    for _ in range(steps):
        trial = mean.clip(theta + np.clip(step(theta, weights, damping), -1.0, 1.0))
        lower, new_weights = objective(trial)
        if not lower < value:
            damping *= 10.0
            if damping > 1e6:
                break
            continue
        settled = value - lower < CONVERGED * value
        theta, value, weights, damping = trial, lower, new_weights, damping * 0.2
        if settled:
            break
    return theta
