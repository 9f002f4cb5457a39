"""The law C + A x^-alpha through losses at some x, in every scenario: least squares on the loss itself.

For a given alpha the law is linear in C and A, so the best of a row of alphas is found first (Golub & Pereyra 1973) and
is then taken to its optimum by the solver of all fits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sweeplaw.analysis.fitting.solver.newton import Minimum, minimise
from sweeplaw.analysis.fitting.solver.objectives import Objective
from sweeplaw.analysis.fitting.solver.solve import Setup, set_up
from sweeplaw.analysis.fitting.solver.starts import project
from sweeplaw.analysis.laws.catalog import ASYMPTOTE
from sweeplaw.analysis.laws.law import MAX_EXPONENT

Array = np.ndarray

SQUARES = Objective("ls", None, "raw")
PARAMETERS = len(ASYMPTOTE.names)  # C, A and alpha: as many points are interpolated
ALPHAS = np.geomspace(0.02, 10.0, 24)
STEPS = 100  # of the solver, from the best of ALPHAS
TOLERANCE = 1e-10  # relative decrease of the squares still predicted at an optimum
STEEP = MAX_EXPONENT / 2  # the way from there to the bound is too flat for a solver to take
AT_BOUND = 1e-6  # relative distance within which a parameter lies at its bound


@dataclass(frozen=True, slots=True)
class Asymptotes:
    """Parameters C, A, alpha in each scenario, (S, 3), NaN where too few points remain; what is wrong in the first."""

    params: Array
    fault: str

    def at(self, x: Array) -> Array:
        """Return the loss at ``x`` (m,) in each scenario: (S, m)."""
        asymptote, scale, exponent = (self.params[:, [index]] for index in range(PARAMETERS))
        return np.asarray(asymptote + scale * np.asarray(x, dtype=float) ** -exponent)


def asymptotes(x: Array, losses: Array, weights: Array) -> Asymptotes:
    """Return the law in each scenario, from ``x`` (n,), ``losses`` and ``weights`` (S, n); NaN losses are left out.

    The first scenario must have at least three points.
    """
    used = np.where(np.isnan(losses), 0.0, weights)
    enough = (used > 0).sum(axis=1) >= PARAMETERS
    filled = np.where(np.isnan(losses), 1.0, losses)
    setup = set_up(ASYMPTOTE, SQUARES, {"x": x}, filled[0], used[0])
    found = _solved(setup, filled[enough], used[enough])
    params = np.full((len(losses), PARAMETERS), np.nan)
    params[enough] = setup.to_law_units(found.theta)
    return Asymptotes(params, at_bound(params[:1])[0] or ("" if found.converged[0] else "the fit did not converge"))


def _solved(setup: Setup, losses: Array, weights: Array) -> Minimum:
    count, tried = len(losses), len(ALPHAS)
    start = np.ones((count * tried, PARAMETERS))
    start[:, 2] = np.tile(ALPHAS, count)
    many = replace(setup.problem, losses=np.repeat(losses, tried, axis=0), weights=np.repeat(weights, tried, axis=0))
    start = project(many, start, (0, 1), setup.box, np.inf)
    squares = np.sum(many.weights * (many.losses - setup.problem.bound.predict(start)) ** 2, axis=1)
    best = np.argmin(squares.reshape(count, tried), axis=1)
    chosen = start.reshape(count, tried, PARAMETERS)[np.arange(count), best]
    problem = replace(setup.problem, losses=losses, weights=weights)
    return minimise(problem, chosen, np.inf, setup.box, tolerance=TOLERANCE, max_steps=STEPS)


def at_bound(params: Array) -> list[str]:
    """Return for each row of C, A, alpha (S, 3) which of them lies at its bound, empty if none does."""
    return [_bound(*row) for row in params]


def _bound(asymptote: float, scale: float, exponent: float) -> str:
    if exponent <= AT_BOUND or asymptote <= AT_BOUND:
        which = "exponent" if exponent <= AT_BOUND else "limit"
        return f"the {which} runs to 0: the losses fall without an end in sight"
    if exponent >= STEEP:
        return f"the exponent runs to its bound ({exponent:.3g}): the losses fall once and then no more"
    return "the coefficient runs to 0: the losses do not fall" if scale <= AT_BOUND * asymptote else ""


def shape_fault(x: Array, losses: Array) -> str:
    """Return how the losses (n,) at rising ``x`` differ from a falling convex curve, empty if they do not."""
    slopes = np.diff(losses) / np.diff(x)
    if (slopes >= 0).any():
        at = int(np.argmax(slopes >= 0))
        return f"not falling: {losses[at + 1]:.4g} at {x[at + 1]:.3g} after {losses[at]:.4g} at {x[at]:.3g}"
    if (np.diff(slopes) <= 0).any():
        at = int(np.argmax(np.diff(slopes) <= 0)) + 1
        return f"not convex at {x[at]:.3g}"
    return ""
