"""The likelihood of log times of which some are right-censored, and its maximum.

log t = X beta + sigma z. In the coordinates gamma = beta / sigma, tau = 1 / sigma it is concave (Burridge 1981, JRSS B
43:41), so a point with zero gradient is the global maximum, and Newton's method with step halving finds it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from sweeplaw.analysis.event_times.residuals import ResidualDistribution

Array = np.ndarray

MAX_STEPS, MAX_HALVINGS = 100, 30
ENOUGH = 1e-7  # distance from the optimum in standard errors: half its square is lost, less than rounding
LARGEST_DECREMENT = 1e-6  # the same, below which the optimum counts as found
FLAT = 1e-7  # relative size below which a direction of the linear program counts as none


@dataclass(frozen=True, slots=True)
class CensoredTimes:
    """``log_times`` (n,), whether each ``event`` was seen or its time is only a bound, and the ``design`` (n, k)."""

    log_times: Array
    event: Array
    design: Array

    @property
    def events(self) -> int:
        """Number of events."""
        return int(self.event.sum())

    def fixed(self, column: int, value: float) -> CensoredTimes:
        """Return the problem with the coefficient of this column fixed at a value."""
        others = np.delete(self.design, column, axis=1)
        return CensoredTimes(self.log_times - value * self.design[:, column], self.event, others)


@dataclass(frozen=True, slots=True)
class Maximum:
    """Where the likelihood is largest: coefficients ``beta`` (k,) with standard ``errors``, and ``sigma``.

    ``value`` is the log-likelihood of the log times. ``decrement`` is the length of the last Newton step in standard
    errors, ``gradient`` the largest partial derivative in gamma and tau.
    """

    beta: Array
    sigma: float
    value: float
    errors: Array
    decrement: float
    gradient: float

    @property
    def found(self) -> bool:
        """Whether the gradient is zero to within rounding."""
        return self.decrement < LARGEST_DECREMENT


def has_maximum(times: CensoredTimes) -> bool:
    """Return whether the likelihood attains a maximum.

    It rises for ever along a direction of (gamma, tau) that changes no z of an event, raises no z of a censored time,
    and lowers one or raises tau; a linear program finds one or proves that there is none.
    """
    slopes = np.column_stack([-times.design, times.log_times])  # of z in (gamma, tau)
    slopes = slopes / np.maximum(np.abs(slopes).max(axis=0), FLAT)
    censored, events = slopes[~times.event], slopes[times.event]
    gain = -censored.sum(axis=0)
    gain[-1] += 1.0
    bounds = [(-1.0, 1.0)] * times.design.shape[1] + [(0.0, 1.0)]
    found = linprog(
        -gain,
        A_ub=censored if len(censored) else None,
        b_ub=np.zeros(len(censored)) if len(censored) else None,
        A_eq=events if len(events) else None,
        b_eq=np.zeros(len(events)) if len(events) else None,
        bounds=bounds,
    )
    return bool(found.status == 0 and -found.fun < FLAT * len(times.event))


def maximize(times: CensoredTimes, residuals: ResidualDistribution, sigma: float | None = None) -> Maximum:
    """Return the maximum, which must exist; with ``sigma``, that of the coefficients alone."""
    theta, free = _start(times, sigma), times.design.shape[1] + (sigma is None)
    slopes = np.column_stack([-times.design, times.log_times])
    value, gradient, hessian = _derivatives(times, residuals, slopes, theta)
    for _ in range(MAX_STEPS):
        step = np.zeros_like(theta)
        step[:free] = _newton_step(gradient[:free], hessian[:free, :free])
        decrement = float(np.sqrt(max(gradient @ step, 0.0)))
        if decrement < ENOUGH:
            break
        for halving in range(MAX_HALVINGS):
            trial = theta + 0.5**halving * step
            if trial[-1] > 0 and (found := _derivatives(times, residuals, slopes, trial))[0] >= value:
                break
        else:
            break  # at the limit of rounding
        theta, (value, gradient, hessian) = trial, found
    return _maximum(times, theta, value, gradient[:free], hessian[:free, :free], decrement)


def _start(times: CensoredTimes, sigma: float | None) -> Array:
    """Return least squares that takes every time for an event."""
    beta = np.linalg.lstsq(times.design, times.log_times, rcond=None)[0]
    spread = float(np.std(times.log_times - times.design @ beta)) or 1.0
    tau = 1 / (spread if sigma is None else sigma)
    return np.append(beta * tau, tau)


def _derivatives(
    times: CensoredTimes, residuals: ResidualDistribution, slopes: Array, theta: Array
) -> tuple[float, Array, Array]:
    """Return log-likelihood, gradient and Hessian in (gamma, tau)."""
    z, events = slopes @ theta, times.events
    density, survival = residuals.log_density(z), residuals.log_survival(z)
    value, first, second = (np.where(times.event, *pair) for pair in zip(density, survival, strict=True))
    total = float(value.sum() + events * np.log(theta[-1]))
    gradient, hessian = slopes.T @ first, (slopes.T * second) @ slopes
    gradient[-1] += events / theta[-1]
    hessian[-1, -1] -= events / theta[-1] ** 2
    return total, gradient, hessian


def _newton_step(gradient: Array, hessian: Array) -> Array:
    """Return the ascent step; in a direction without curvature in which the gradient is zero too, none."""
    scale = 1 / np.sqrt(np.maximum(-np.diag(hessian), np.finfo(float).tiny))
    return scale * np.linalg.lstsq(-hessian * np.outer(scale, scale), gradient * scale, rcond=1e-14)[0]


def _maximum(
    times: CensoredTimes, theta: Array, value: float, gradient: Array, hessian: Array, decrement: float
) -> Maximum:
    """Return the maximum with standard errors of beta = gamma / tau by the delta method."""
    k, tau = times.design.shape[1], float(theta[-1])
    beta, sigma = theta[:k] / tau, 1 / tau
    jacobian = np.column_stack([np.eye(k) * sigma, -beta * sigma])[:, : len(gradient)]
    covariance = jacobian @ np.linalg.pinv(-hessian) @ jacobian.T
    errors = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return Maximum(beta, sigma, value, errors, decrement, float(np.abs(gradient).max(initial=0.0)))
