"""The verdict on one optimum: what is known of it, and the reason in words if it is not proved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sweeplaw.analysis.fitting.solver.derivatives import Derivatives
from sweeplaw.analysis.fitting.solver.least_absolute import subgradient

if TYPE_CHECKING:
    from sweeplaw.analysis.fitting.solver.solve import Setup

Array = np.ndarray

PERFECT_FIT = 1e-24  # mean penalty over mean squared loss of a fit without residuals, in double precision
MAX_GRADIENT = 1e-6  # largest scaled gradient of a verified optimum
MAX_CONDITION = 1e12  # of the scaled curvature; beyond it the parameters cannot be distinguished


@dataclass(frozen=True, slots=True)
class Verdict:
    """The evidence about an optimum. ``gradient`` is scaled and relative: 0 at an optimum, of order 1 far from it."""

    gradient: float
    starts: int
    starts_agreeing: int
    at_bounds: tuple[str, ...]
    condition: float
    verified: bool
    status: str


def judge(setup: Setup, theta: Array, at: Derivatives, starts: int, agreeing: int, converged: bool) -> Verdict:
    """Return the verdict on one optimum (p,).

    At a parameter's bound the gradient must point out of the box, and the others' gradient vanishes with a positive
    curvature (Karush, Kuhn & Tucker).
    """
    names, box = setup.law.names, setup.box
    free = ~box.frozen
    span = np.maximum(np.abs(theta), 1e-12)
    low = free & np.isfinite(box.low) & (theta <= box.low + 1e-9 * span)
    high = free & np.isfinite(box.high) & (theta >= box.high - 1e-9 * span)
    touched = tuple(name for name, hit in zip(names, low | high, strict=True) if hit)
    inside = free & ~low & ~high
    lad = setup.objective.name == "lad"
    gradient = subgradient(setup.problem, theta, inside) if lad else scaled_gradient(at, inside)
    if not lad:  # whose smoothed gradient is none
        gradient = max(gradient, _pull_inside(at, low, high))
    condition = condition_number(at, inside)
    if at.value[0] <= PERFECT_FIT * np.mean(setup.problem.losses**2):
        gradient, converged = 0.0, True  # only rounding is left
    decisive = [name for name in touched if name != setup.law.asymptote]  # the law has lost its shape
    evidence = f"{agreeing} of {starts} starts agree, scaled gradient {gradient:.1e}, condition {condition:.1e}"
    fault = _fault(decisive, gradient, condition, starts, agreeing, converged)
    status = f"{fault}; {evidence}" if fault else f"verified{_at_bound(setup, low, high)}: {evidence}"
    status = status.replace("not converged; ", "not converged: ")
    return Verdict(gradient, starts, agreeing, touched, condition, not fault, status)


def scaled_gradient(at: Derivatives, inside: Array) -> float:
    """Return the length of the gradient in the metric of the majorant, relative to the value: sqrt(g' M^-1 g / 2F)."""
    return _scaled(at, np.where(inside, at.gradient[0], 0.0))


def _pull_inside(at: Derivatives, low: Array, high: Array) -> float:
    """Return how fast the objective falls away from the bounds that hold a parameter, scaled as the gradient."""
    slope = at.gradient[0]
    return _scaled(at, np.where(low, np.minimum(slope, 0.0), np.where(high, np.maximum(slope, 0.0), 0.0)))


def _scaled(at: Derivatives, gradient: Array) -> float:
    majorant, value = np.maximum(at.majorant[0], 1e-300), max(float(at.value[0]), 1e-28)
    return float(np.sqrt(np.sum(gradient**2 / majorant) / (2 * value)))


def condition_number(at: Derivatives, inside: Array) -> float:
    """Return the condition of the curvature with unit diagonal: infinite if it is not positive definite."""
    if not inside.any():
        return 1.0
    curvature = at.curvature[0][np.ix_(inside, inside)]
    diagonal = np.sqrt(np.maximum(np.diag(curvature), 1e-300))
    scaled = curvature / diagonal[:, None] / diagonal[None, :]
    if not np.isfinite(scaled).all():
        return float("inf")
    eigenvalues = np.linalg.eigvalsh(scaled)
    return float(eigenvalues[-1] / eigenvalues[0]) if eigenvalues[0] > 0 else float("inf")


def _fault(
    decisive: list[str], gradient: float, condition: float, starts: int, agreeing: int, converged: bool
) -> str:  # fmt: skip
    """Return why the optimum is not proved, empty if it is."""
    if not converged:
        return "not converged"
    if decisive:
        return f"degenerate: {', '.join(decisive)} at a bound, the data do not have this law's shape"
    if condition > MAX_CONDITION:
        return "not identified: these rows do not distinguish some parameters"
    if agreeing < min(2, starts):
        return "not verified: no second start reached this optimum"
    return "not verified: the gradient does not vanish" if gradient > MAX_GRADIENT else ""


def _at_bound(setup: Setup, low: Array, high: Array) -> str:
    """Return a phrase on a parameter at its bound, or '' if there is none."""
    for param, at_low, at_high in zip(setup.law.free, low, high, strict=True):
        if at_low or at_high:
            bound, side = (param.low, "an upper") if at_low else (param.high, "a lower")
            return f" with {param.name} at its bound {bound:g} (the data give only {side} bound of {param.name})"
    return ""
