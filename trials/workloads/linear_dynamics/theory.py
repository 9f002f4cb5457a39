"""Expected risk over time: gradient flow on a finite sample or on the population, and SGD on fresh samples.

Gradient flow on P samples of N isotropic inputs (Advani, Saxe & Sompolinsky 2020, arXiv:1710.03667, equation 11): with
c = N / P, the eigenvalues of the sample covariance have the Marchenko-Pastur density, and

    risk(t) = (1 + init^2) <exp(-2 l t)> + c noise^2 <(1 - exp(-l t))^2 / l> + noise^2

with the teacher's norm 1 and time in units in which dw / dt = -gradient of half the mean squared error. The ridge that
is best, c noise^2 for init 0, takes the place of early stopping in the same averages.

SGD on fresh Gaussian samples in batches of B with learning rate lr: the expected squared error r_k of coordinate k
follows, with fourth moments of Gaussian inputs,

    r_k <- (1 - 2 lr l_k + lr^2 l_k^2 (1 + 1/B)) r_k + lr^2 / B l_k (sum of l_j r_j + risk that cannot be learned)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from sweeplaw.trials.workloads.linear_dynamics.population import Floats, LinearTask

NODES = 4000  # of the quadrature over eigenvalues; its error is below 1e-12 from 500 on
LONGEST = 1e6  # time among which the best stopping time is looked for


@dataclass(frozen=True, slots=True)
class EigenvalueAverage:
    """Nodes and weights of averages over the eigenvalues of a sample covariance, and the share of zero eigenvalues."""

    nodes: Floats
    weights: Floats
    zero: float

    def of(self, function: Callable[[Floats], Floats], at_zero: float = 0.0) -> float:
        """Return the average of a function whose value at 0 is ``at_zero``."""
        return float(np.sum(self.weights * function(self.nodes))) + self.zero * at_zero


def marchenko_pastur(ratio: float) -> EigenvalueAverage:
    """Return averages over the Marchenko-Pastur density of ``ratio`` c = N / P, for isotropic inputs of variance 1.

    Marchenko & Pastur 1967. With l = 1 + c + 2 sqrt(c) cos(a) the density becomes a smooth function of the angle.
    """
    angles = (np.arange(NODES) + 0.5) * np.pi / NODES
    eigenvalues = 1 + ratio + 2 * np.sqrt(ratio) * np.cos(angles)
    weights = 2 / np.pi * np.sin(angles) ** 2 / eigenvalues * np.pi / NODES
    return EigenvalueAverage(eigenvalues, weights, max(0.0, 1 - 1 / ratio))


def flow_risk(ratio: float, time: float, noise: float, init: float) -> float:
    """Return the expected risk of gradient flow on a sample at ``time``."""
    average = marchenko_pastur(ratio)
    start = 1 + init**2
    signal = start * average.of(lambda value: np.exp(-2 * value * time), at_zero=1.0)
    fitted = average.of(lambda value: np.expm1(-value * time) ** 2 / value)
    return signal + ratio * noise**2 * fitted + noise**2


def best_stopping(ratio: float, noise: float, init: float) -> tuple[float, float]:
    """Return the time at which the expected risk of gradient flow is least, and that risk.

    The time is infinite where the risk falls for ever, as without noise.
    """

    if noise == 0:
        return np.inf, flow_risk(ratio, np.inf, noise, init)

    def risk(log_time: float) -> float:
        return flow_risk(ratio, float(np.exp(log_time)), noise, init)

    grid = np.linspace(np.log(1e-3), np.log(LONGEST), 101)
    values = [risk(float(place)) for place in grid]
    least = int(np.argmin(values))
    if least == len(grid) - 1:
        return np.inf, values[-1]
    bounds = (grid[max(0, least - 1)], grid[least + 1])
    found = minimize_scalar(risk, bounds=bounds, method="bounded", options={"xatol": 1e-10})
    return float(np.exp(found.x)), float(found.fun)


def ridge_risk(ratio: float, ridge: float, noise: float) -> float:
    """Return the expected risk of ridge regression, penalty ``ridge`` on the mean squared error, for the same task."""
    average = marchenko_pastur(ratio)
    bias = average.of(lambda value: (ridge / (value + ridge)) ** 2, at_zero=1.0)
    return bias + ratio * noise**2 * average.of(lambda value: value / (value + ridge) ** 2) + noise**2


def best_ridge(ratio: float, noise: float) -> float:
    """Return the best ridge, c noise^2 for a teacher of norm 1 (Advani et al. 2020, section 3.2)."""
    return ratio * noise**2


def population_flow(task: LinearTask, time: float) -> float:
    """Return the expected risk of gradient flow on the population."""
    decayed = np.exp(-2 * task.variances[: task.width] * time)
    return float(np.sum(task.learnable * decayed)) + task.missing


def online_risks(task: LinearTask, lr: float, batch: int, steps: int) -> Floats:
    """Return the expected risk of SGD on fresh samples before each update and after the last, (steps + 1,)."""
    variances, missing = task.variances[: task.width], task.missing
    errors = task.learnable.copy()  # l_k r_k
    keep = 1 - 2 * lr * variances + (lr * variances) ** 2 * (1 + 1 / batch)
    spread = lr**2 / batch * variances**2
    risks = np.empty(steps + 1)
    for step in range(steps):
        total = risks[step] = errors.sum() + missing
        errors = keep * errors + spread * total
        if not np.isfinite(total):
            risks[step:] = np.inf
            return risks
    risks[steps] = errors.sum() + missing
    return risks
