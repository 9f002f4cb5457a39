"""Quadratic of log loss in the logs of the knobs: its optimum and curvature, with their uncertainty.

log L = c + g'x + x'Hx/2 near the optimum, by robust least squares (soft-L1, iteratively reweighted). Runs outside the
window, including diverged ones, enter one-sided: the surface there is *at least* at the window's edge. A region where
training diverged thus bounds the shape and cannot bend it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

ITERATIONS = 60
DRAWS = 2000
CONDITION_LIMIT = 1e7  # of the standardized design; above it two terms of the quadratic cannot be distinguished
SCALE_FLOOR = 1e-6  # log loss; below any training noise, keeps the weights of an exactly quadratic table finite


@dataclass(frozen=True, slots=True)
class Quadratic:
    """A fitted quadratic. Coordinates are natural logs of the knobs; losses are natural logs.

    ``optimum`` (k,), ``hessian`` (k, k), ``minimum``: log loss at the optimum, ``noise``: residual scale (0 without
    degrees of freedom), ``convex``: share of draws from the sampling distribution whose curvature is positive in every
    direction (None without degrees of freedom), ``optima`` (draws, k): the optimum of the convex draws. ``reason`` is
    empty if the fit is usable, else says why not.
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
        """Return the ends (k,) of the optimum's interval, or None without degrees of freedom."""
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


def fit_quadratic(
    x: Array, z: Array, beyond: Array | None = None, cap: float = np.inf, *, robust: bool = True, seed: int = 0
) -> Quadratic:
    """Fit log losses ``z`` (n,) at ``x`` (n, k); at the settings ``beyond`` (m, k) log loss is at least ``cap``.

    Requires n >= number of terms. ``robust=False`` is plain least squares. ``seed`` is that of the interval's draws.
    """
    k = x.shape[1]
    center, spread = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-12)
    design = terms((x - center) / spread)
    if np.linalg.cond(design) > CONDITION_LIMIT:
        return _unusable(x, "the settings do not span the knobs: some of them moved together")
    fence = terms((beyond - center) / spread) if beyond is not None and len(beyond) else np.zeros((0, design.shape[1]))
    beta, noise, covariance = _solve(design, z, fence, cap, robust)
    freedom = len(z) - design.shape[1]
    hessian = hessians(beta, k)
    if abs(np.linalg.det(hessian)) < 1e-14:
        return _unusable(x, "the loss does not curve within the window")
    convex, optima = _draws(beta, covariance, freedom, k, seed)
    step = -np.linalg.solve(hessian, beta[1 : 1 + k])
    return Quadratic(
        optimum=center + spread * step,
        hessian=hessian / np.outer(spread, spread),
        minimum=float(beta[0] + 0.5 * beta[1 : 1 + k] @ step),
        noise=noise,
        rows=len(z),
        freedom=freedom,
        convex=convex,
        optima=center + spread * optima,
        reason="",
    )


def _solve(design: Array, z: Array, fence: Array, cap: float, robust: bool) -> tuple[Array, float, Array]:
    """Return coefficients, residual scale and covariance; reweights until the coefficients converge."""
    rows, count = design.shape
    stacked, target = np.concatenate([design, fence]), np.concatenate([z, np.full(len(fence), cap)])
    weights = np.concatenate([np.ones(rows), np.zeros(len(fence))])
    beta = np.zeros(count)
    noise = 0.0
    for _ in range(ITERATIONS if robust or len(fence) else 1):
        root = np.sqrt(weights)[:, None]
        updated = np.linalg.lstsq(stacked * root, target * root[:, 0], rcond=None)[0]
        residual = target - stacked @ updated
        settled = np.max(np.abs(updated - beta)) < 1e-9
        beta, noise = updated, _scale(residual[:rows], rows - count, robust)
        if settled:
            break
        weights = 1 / np.sqrt(1 + (residual / max(noise, SCALE_FLOOR)) ** 2) if robust else np.ones(len(target))
        weights[rows:] *= residual[rows:] > 0  # one-sided: active only where the surface is below the cap
    gram = (stacked * weights[:, None]).T @ stacked
    return beta, noise, np.linalg.pinv(gram) * noise**2


def _scale(residual: Array, freedom: int, robust: bool) -> float:
    """Return the residual scale over the degrees of freedom: 1.4826 times the median absolute residual, or the RMS."""
    if freedom <= 0:
        return 0.0
    inflate = np.sqrt(len(residual) / freedom)
    spread = 1.4826 * np.median(np.abs(residual)) if robust else np.sqrt(np.mean(residual**2))
    return float(spread * inflate)


def _draws(beta: Array, covariance: Array, freedom: int, k: int, seed: int) -> tuple[float | None, Array]:
    """Return the share of convex draws of the coefficients (Student t), and their optima (standardized)."""
    if freedom <= 0:
        return None, np.zeros((0, k))
    rng = np.random.default_rng(seed)
    values, vectors = np.linalg.eigh(covariance)
    normal = rng.standard_normal((DRAWS, len(beta))) * np.sqrt(np.maximum(values, 0)) @ vectors.T
    draws = beta + normal * np.sqrt(freedom / stats.chi2.rvs(freedom, size=DRAWS, random_state=rng))[:, None]
    curvature = hessians(draws, k)
    convex = np.linalg.eigvalsh(curvature)[:, 0] > 0
    optima = -np.linalg.solve(curvature[convex], draws[convex, 1 : 1 + k, None])[..., 0]
    return float(convex.mean()), optima


def _unusable(x: Array, reason: str) -> Quadratic:
    k = x.shape[1]
    nothing = np.full(k, np.nan)
    return Quadratic(
        nothing, np.full((k, k), np.nan), np.nan, 0.0, len(x), len(x) - term_count(k), None, np.zeros((0, k)), reason
    )
