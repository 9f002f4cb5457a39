"""Joint estimator: one surface log L = f_cell + (x - x*)'H(x - x*)/2 with x* linear in the features of the cell.

x are the logs of the knobs, H one curvature shared by all cells, f_cell an offset per cell. Expanded, the surface is
linear in H and in H x*, so robust least squares (soft-L1, reweighted) with the offsets eliminated is a small normal
system per resample, and all resamples are solved together as arrays. If a knob's law omits features (a batch size that
depends on D alone), H x* is restricted, and Gauss-Newton steps on the same normal system find it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sweeplaw.analysis.hyperlaws.features import Features
from sweeplaw.analysis.hyperlaws.pooled import determining_cells, solve
from sweeplaw.analysis.tuning.cell_settings import WINDOWS
from sweeplaw.analysis.tuning.cells import CellTable
from sweeplaw.analysis.tuning.design import at_edges
from sweeplaw.analysis.tuning.quadratics.solver import soft_weights
from sweeplaw.trials.progress import ProgressCallback, no_progress
from sweeplaw.trials.quantities import percent

Array = NDArray[np.float64]

TRIES, FOUND = 100, 0.95  # resamples of the cells, and the share of them that must have a minimum in a window
# Least width of a window over the scale of the residuals. Of planted bowls of five rates with 0.4 to 2 % of noise, the
# narrowest window with a minimum had intervals 2 to 3 times as wide; the widest covered .89 of the exponents, not .95.
NOISES = 8
ITERATIONS = 60
SETTLED = 1e-8  # change of the optimum (standardized logs of the knobs) at which reweighting stops
RESAMPLES_SETTLED = 1e-4  # for resamples: two orders below the spread between them
RESTRICTED_STEPS = 3
# Limit of multiplications in a product of one block of resamples. Above it OpenBLAS starts its threads for matrices too
# small to gain from them: measured on two busy cores, 5.6 s of CPU for 1000 resamples against 1.4 s below it.
BLOCK_WORK = 450_000
SCALE_FLOOR = 1e-7
LEAST_SPREAD = 1e-12  # of a log knob; with one level in the window there is no curvature, and no law


@dataclass(frozen=True, slots=True)
class Joint:
    """Rows within ``window`` of their cell's best, standardized; ``scale`` is the residual scale of the soft-L1.

    A window wider than the first of WINDOWS is for grids too coarse, or runs too noisy, for a minimum in that; `notes`
    say so.
    ``design`` (n, p): the terms of H, then each knob's features; ``shift``, ``spread`` (knobs,): of the
    standardization; ``weights`` (n,): of the full fit, from which resamples start.
    """

    table: CellTable
    features: Features
    window: float
    used: NDArray[np.bool_]
    design: Array
    z: Array
    starts: NDArray[np.int64]
    cell: NDArray[np.int64]
    shift: Array
    spread: Array
    scale: float
    weights: Array

    @property
    def name(self) -> str:
        """The estimator option."""
        return "joint"

    @property
    def notes(self) -> tuple[str, ...]:
        """Which runs are fitted instead of those within the first window, and why."""
        if self.window == WINDOWS[0]:
            return ()
        return (
            f"runs within {percent(self.window)} of the best of their cell are fitted: those within "
            f"{percent(WINDOWS[0])} have no minimum in the knobs, or one that noise hides",
        )

    @property
    def cells_without(self) -> dict[int, str]:
        """Cells without a contribution: none, since the lowest row of each cell is in the window."""
        return {}

    def coefficients(self, weights: Array, progress: ProgressCallback = no_progress) -> Array:
        """Return (draws, knobs, q) for cell weights (draws, cells); NaN if the shared curvature is not convex."""
        settled = SETTLED if len(weights) == 1 else RESAMPLES_SETTLED
        block = int(np.clip(BLOCK_WORK // self.design.size, 16, 256))
        blocks = [np.zeros((0, *self.features.allowed.shape))]
        for first in range(0, len(weights), block):
            progress(first, len(weights))
            blocks.append(_fit(self, weights[first : first + block], settled)[0])
        centers = np.concatenate(blocks)
        out = centers * self.spread[:, None]
        out[..., 0] += self.shift
        return out

    def curvature(self) -> Array:
        """Return H (knobs, knobs) of the full fit: second derivatives of log loss by natural logs of the knobs."""
        hessian: Array = _fit(self, np.ones((1, len(self.table.cells))), SETTLED)[1][0]
        return hessian / np.outer(self.spread, self.spread)


def joint(table: CellTable, features: Features) -> Joint:
    """Return the estimator from the runs within the first of WINDOWS, or within a wider one.

    A wider one is for grids too coarse, or runs too noisy, for a minimum within the first: where the cells, and nearly
    all of TRIES resamples of them, have none there. Runs are taken into a window by their losses, noise included, so
    it should be wide beside the noise: the narrowest with such a minimum and of at least NOISES times the residuals in
    the widest that has one, else that widest. None is sought for a knob whose best value is the lowest or highest
    tried in most cells: a wide window would find one beyond.
    """
    first = joint_within(table, features, WINDOWS[0])
    whole, resampled = np.ones((1, len(table.cells))), determining_cells(features, table.recipe, TRIES, seed=0)
    at_edge = max(map(sum, at_edges(table).values())) > len(table.cells) / 2
    if at_edge or _has_minimum(first, whole, resampled):
        return first
    wider = [joint_within(table, features, window) for window in WINDOWS[1:]]
    sound = [one for one in wider if _has_minimum(one, whole, resampled)]
    return next((one for one in sound if one.window >= NOISES * sound[-1].scale), sound[-1] if sound else first)


def _has_minimum(estimator: Joint, *weights: Array) -> bool:
    """Return whether the loss has a minimum with nearly all of each of these cell weights (draws, cells)."""
    shares = (np.isfinite(estimator.coefficients(some)).all(axis=(1, 2)).mean() for some in weights)
    return all(share >= FOUND for share in shares)


def joint_within(table: CellTable, features: Features, window: float) -> Joint:
    """Return the estimator from rows of ``table`` with a relative excess below ``window`` over their cell's best.

    Its scale is 1.4826 times the median absolute residual of the full fit.
    """
    used = table.excess < window
    x, cell, z = table.x[used], table.cell[used], table.z[used] - table.lowest[table.cell[used]]
    shift, spread = x.mean(axis=0), np.maximum(x.std(axis=0), LEAST_SPREAD)
    standard = (x - shift) / spread
    rows, columns = np.triu_indices(x.shape[1])
    products = standard[:, rows] * standard[:, columns] * np.where(rows == columns, 0.5, 1.0)
    linear = (standard[:, :, None] * features.matrix[cell][:, None, :]).reshape(len(x), -1)
    estimator = Joint(
        table=table,
        features=features,
        window=window,
        used=used,
        design=np.concatenate([products, linear], axis=1),
        z=z,
        starts=np.flatnonzero(np.diff(cell, prepend=-1)),
        cell=cell,
        shift=shift,
        spread=spread,
        scale=np.inf,
        weights=np.ones(len(z)),
    )
    for _ in range(2):  # plain least squares first, then the scale of a robust fit
        residual = _fit(estimator, np.ones((1, len(table.cells))), SETTLED)[2][0]
        estimator = replace(estimator, scale=max(1.4826 * float(np.median(np.abs(residual))), SCALE_FLOOR))
    _, _, residual = _fit(estimator, np.ones((1, len(table.cells))), SETTLED)
    return replace(estimator, weights=soft_weights(residual, estimator.scale)[0])


def _fit(estimator: Joint, cell_weights: Array, settled: float) -> tuple[Array, Array, Array]:
    """Return standardized optima (draws, knobs, q), H (draws, knobs, knobs) and residuals (draws, n)."""
    weights = np.broadcast_to(estimator.weights, (len(cell_weights), len(estimator.z)))
    centers = np.full((len(cell_weights), *estimator.features.allowed.shape), np.inf)
    for _ in range(ITERATIONS):
        gram, right, offsets = _normal(estimator, weights, cell_weights)
        beta = solve(gram, right)
        beta, updated, hessian = _restricted(estimator.features, gram, beta, centers)
        level = offsets[..., 0] - np.einsum("bcp,bp->bc", offsets[..., 1:], beta)
        residual = estimator.z - level[:, estimator.cell] - beta @ estimator.design.T
        moved = np.nanmax(np.abs(updated - centers), initial=0.0) if np.isfinite(centers).any() else np.inf
        centers = updated
        if moved < settled or not np.isfinite(estimator.scale):
            break
        weights = soft_weights(residual, estimator.scale)
    return centers, hessian, residual


def _normal(estimator: Joint, weights: Array, cell_weights: Array) -> tuple[Array, Array, Array]:
    """Return the normal system, gram (draws, p, p) and right side (draws, p), with the cells' offsets eliminated.

    The third value is the cells' weighted means of (z, design), (draws, cells, 1 + p).
    """
    both = np.concatenate([estimator.z[:, None], estimator.design], axis=1)
    mass = np.add.reduceat(weights, estimator.starts, axis=1)
    sums = [np.add.reduceat(weights * column, estimator.starts, axis=1) for column in both.T]
    means = np.stack(sums, axis=2) / mass[..., None]
    total = _second(both, weights * cell_weights[:, estimator.cell])
    total -= means.swapaxes(1, 2) @ ((cell_weights * mass)[..., None] * means)
    return total[:, 1:, 1:], total[:, 1:, 0], means


def _second(part: Array, weights: Array) -> Array:
    """Return the weighted sums (draws, p, p) of products of two columns of ``part`` (n, p)."""
    if len(weights) == 1:  # one matrix product; for many draws the products of columns are computed once
        return ((part * weights[0, :, None]).T @ part)[None]
    squares = part[:, :, None] * part[:, None, :]
    return (weights @ squares.reshape(len(part), -1)).reshape(len(weights), *squares.shape[1:])


def _restricted(features: Features, gram: Array, beta: Array, before: Array) -> tuple[Array, Array, Array]:
    """Return (beta, optima, H): ``beta`` projected (in the norm of ``gram``) to optima with only allowed terms."""
    knobs, q = features.allowed.shape
    count = knobs * (knobs + 1) // 2
    hessian = _symmetric(beta[:, :count], knobs)
    optima = -_left_solve(hessian, beta[:, count:].reshape(-1, knobs, q))
    if not features.allowed.all():
        optima = np.where(features.allowed, np.where(np.isfinite(before), before, optima), 0.0)
        best = beta
        for _ in range(RESTRICTED_STEPS):
            jacobian, current = _jacobian(features, hessian, optima)
            weighted = np.einsum("bij,bjk->bik", gram, jacobian)
            step = solve(
                np.einsum("bji,bjk->bik", jacobian, weighted), np.einsum("bji,bj->bi", weighted, best - current)
            )
            hessian = hessian + _symmetric(step[:, :count], knobs)
            moved = np.zeros_like(optima)
            moved[:, features.allowed] = step[:, count:]
            optima = optima + moved
        beta = _jacobian(features, hessian, optima)[1]
    convex = np.linalg.eigvalsh(np.nan_to_num(hessian))[:, 0] > 0
    return beta, np.where(convex[:, None, None], optima, np.nan), hessian


def _jacobian(features: Features, hessian: Array, optima: Array) -> tuple[Array, Array]:
    """Return the derivative (draws, p, free) of beta = (H, -H optima) by H and the allowed terms, and beta."""
    draws, knobs, q = optima.shape
    rows, columns = np.triu_indices(knobs)
    count, free = len(rows), np.argwhere(features.allowed)
    out = np.zeros((draws, count + knobs * q, count + len(free)))
    linear = out[:, count:].reshape(draws, knobs, q, -1)
    for t, (i, j) in enumerate(zip(rows, columns, strict=True)):
        out[:, t, t] = 1.0
        linear[:, i, :, t] -= optima[:, j]
        if i != j:
            linear[:, j, :, t] -= optima[:, i]
    for t, (j, m) in enumerate(free):
        linear[:, :, m, count + t] -= hessian[:, :, j]
    beta = np.concatenate([hessian[:, rows, columns], -(hessian @ optima).reshape(draws, -1)], axis=1)
    return out, beta


def _symmetric(upper: Array, knobs: int) -> Array:
    rows, columns = np.triu_indices(knobs)
    out = np.zeros((len(upper), knobs, knobs))
    out[:, rows, columns] = upper
    out[:, columns, rows] = upper
    return out


def _left_solve(hessian: Array, right: Array) -> Array:
    """Return ``hessian`` \\ ``right``; NaN if singular."""
    singular = ~(np.abs(np.linalg.det(np.nan_to_num(hessian))) > 1e-14)
    safe = np.where(singular[:, None, None], np.eye(hessian.shape[1]), hessian)
    return np.where(singular[:, None, None], np.nan, np.linalg.solve(safe, right))
