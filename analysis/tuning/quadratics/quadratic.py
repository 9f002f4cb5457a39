"""Quadratic of log loss in the logs of the knobs: its optimum and curvature, with their uncertainty.

log L = c + g'x + x'Hx/2 near the optimum, by robust least squares (soft-L1, iteratively reweighted). Runs outside the
window, including diverged ones, enter one-sided: the surface there is *at least* at the window's edge. A region where
training diverged thus bounds the shape and cannot bend it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc

from sweeplaw.analysis.tuning.quadratics.solver import SCALE_FLOOR, Standardized, StudentDraws, solve

Array = NDArray[np.float64]

CONDITION_LIMIT = 1e7  # of the standardized design; above it two terms of the quadratic cannot be distinguished
LOPSIDED = 0.01  # probability of chance below which the loss is not as steep on both sides of its optimum
FLAT = 1e-14  # determinant of the standardized curvature below which the loss does not curve


@dataclass(frozen=True, slots=True)
class Quadratic:
    """A fitted quadratic. Coordinates are natural logs of the knobs; losses are natural logs.

    ``optimum`` (k,), ``hessian`` (k, k), ``minimum``: log loss at the optimum, ``noise``: residual scale (0 without
    degrees of freedom), ``convex``: share of draws from the sampling distribution whose curvature is positive in every
    direction (None without degrees of freedom), ``optima`` (draws, k): the optimum of the convex draws, none of which
    are kept where no interval was asked for. ``reason`` is empty if the fit is usable, else says why not.
    """

    optimum: Array
    hessian: Array
    minimum: float
    noise: float
    rows: int
    freedom: int
    convex: float | None
    optima: Array
    reason: str

    @property
    def is_convex(self) -> bool:
        """Whether the fitted curvature itself is positive in every direction."""
        return bool(np.linalg.eigvalsh(self.hessian)[0] > 0)

    def interval(self, level: float = 0.95) -> tuple[Array, Array] | None:
        """Return the ends (k,) of the optimum's interval, or None without draws of it."""
        if not len(self.optima):
            return None
        tail = (1 - level) / 2
        low, high = np.quantile(self.optima, [tail, 1 - tail], axis=0)
        return low, high

    def excess(self, x: Array) -> Array:
        """Return the log loss above the minimum at ``x`` (..., k)."""
        step = np.asarray(x) - self.optimum
        excess: Array = 0.5 * np.einsum("...i,ij,...j->...", step, self.hessian, step)
        return excess


@dataclass(frozen=True, slots=True)
class QuadraticProblem:
    """Log losses ``z`` (n,) at ``x`` (n, k), n >= `term_count`; at ``beyond`` (m, k) log loss is at least ``cap``."""

    x: Array
    z: Array
    beyond: Array
    cap: float


def is_lopsided(problem: QuadraticProblem) -> bool:
    """Return whether cubes of the knobs explain more of the log losses than chance would (F test, 1 %).

    A loss that rises faster on one side pulls the optimum of a quadratic to the other, and its interval with it.
    """
    x = (problem.x - problem.x.mean(axis=0)) / np.maximum(problem.x.std(axis=0), 1e-12)
    smaller, rows = terms(x), len(x)
    larger = np.concatenate([smaller, x**3], axis=1)
    added, freedom = x.shape[1], rows - larger.shape[1]
    if freedom < 1 or np.linalg.cond(larger) > CONDITION_LIMIT:
        return False
    left, least = (np.linalg.lstsq(design, problem.z, rcond=None)[1] for design in (smaller, larger))
    ratio = (float(left[0]) - float(least[0])) / added / max(float(least[0]) / freedom, SCALE_FLOOR**2)
    return bool(fdtrc(added, freedom, ratio) < LOPSIDED)


def terms(x: Array) -> Array:
    """Return the design (n, 1 + k + k(k+1)/2) of a full quadratic: constant, linear, half squares and products."""
    k = x.shape[1]
    rows, columns = np.triu_indices(k)
    products = x[:, rows] * x[:, columns] * np.where(rows == columns, 0.5, 1.0)
    return np.concatenate([np.ones((len(x), 1)), x, products], axis=1)


def term_count(knobs: int) -> int:
    """Return the number of coefficients of a full quadratic."""
    return 1 + knobs + knobs * (knobs + 1) // 2


def hessians(coefficients: Array, k: int) -> Array:
    """Return the symmetric (..., k, k) of coefficients (..., terms) in the order of `terms`."""
    rows, columns = np.triu_indices(k)
    out = np.zeros((*coefficients.shape[:-1], k, k))
    out[..., rows, columns] = coefficients[..., 1 + k :]
    out[..., columns, rows] = coefficients[..., 1 + k :]
    return out


def fit_quadratics(
    problems: Sequence[QuadraticProblem], *, robust: bool = True, intervals: bool = True, seed: int = 0
) -> list[Quadratic]:
    """Return the fit of each problem, in their order; problems of one number of knobs are solved together.

    Without ``intervals`` no optima of draws are kept. ``seed`` is that of the draws, which are the same for each
    problem.
    """
    found: dict[int, Quadratic] = {}
    usable: dict[int, list[int]] = {}
    made: dict[int, tuple[Standardized, Array, Array]] = {}
    for at, problem in enumerate(problems):
        center, spread = problem.x.mean(axis=0), np.maximum(problem.x.std(axis=0), 1e-12)
        design = terms((problem.x - center) / spread)
        if np.linalg.cond(design) > CONDITION_LIMIT:
            found[at] = _unusable(problem.x, "the settings do not span the knobs: some of them moved together")
            continue
        fence = terms((problem.beyond - center) / spread)
        made[at] = Standardized(design, problem.z, fence, problem.cap), center, spread
        usable.setdefault(problem.x.shape[1], []).append(at)
    draws = StudentDraws(seed)
    for k, group in usable.items():
        solved = solve([made[at][0] for at in group], robust)
        for at, beta, noise, covariance in zip(group, *solved, strict=True):
            _, center, spread = made[at]
            hessian, rows = hessians(beta, k), len(problems[at].z)
            if abs(np.linalg.det(hessian)) < FLAT:
                found[at] = _unusable(problems[at].x, "the loss does not curve within the window")
                continue
            freedom = rows - len(beta)
            convex, optima = None, np.zeros((0, k))
            if freedom > 0:
                convex, optima = _convex_draws(draws(beta, covariance, freedom), k, intervals)
            step = -np.linalg.solve(hessian, beta[1 : 1 + k])
            found[at] = Quadratic(
                optimum=center + spread * step,
                hessian=hessian / np.outer(spread, spread),
                minimum=float(beta[0] + 0.5 * beta[1 : 1 + k] @ step),
                noise=float(noise),
                rows=rows,
                freedom=freedom,
                convex=convex,
                optima=center + spread * optima,
                reason="",
            )
    return [found[at] for at in range(len(problems))]


def _convex_draws(draws: Array, k: int, optima: bool) -> tuple[float, Array]:
    """Return the share of convex draws of the coefficients (draws, terms), and the optima of these if asked for."""
    curvature = hessians(draws, k)
    convex = positive_definite(curvature)
    if not optima:
        return float(convex.mean()), np.zeros((0, k))
    optima_of = -np.linalg.solve(curvature[convex], draws[convex, 1 : 1 + k, None])[..., 0]
    return float(convex.mean()), np.asarray(optima_of)


def positive_definite(matrices: Array) -> NDArray[np.bool_]:
    """Return which of symmetric ``matrices`` (..., k, k) are positive definite: all their pivots are positive."""
    left = np.array(matrices)
    holds = np.ones(left.shape[:-2], dtype=bool)
    with np.errstate(all="ignore"):
        for k in range(left.shape[-1]):
            pivot = left[..., k, k]
            holds &= pivot > 0
            factor = left[..., k + 1 :, k] / pivot[..., None]
            left[..., k + 1 :, k + 1 :] -= factor[..., :, None] * left[..., None, k, k + 1 :]
    return holds


def _unusable(x: Array, reason: str) -> Quadratic:
    k = x.shape[1]
    nothing = np.full(k, np.nan)
    return Quadratic(
        nothing, np.full((k, k), np.nan), np.nan, 0.0, len(x), len(x) - term_count(k), None, np.zeros((0, k)), reason
    )
