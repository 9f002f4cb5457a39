"""Many robust least-squares problems solved together: one batch of QR decompositions for each round of reweighting.

Problems of different sizes are padded with rows of weight zero. A problem leaves the batch when its coefficients
settle, so that the number of rounds is that of the slowest alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ITERATIONS = 60
DRAWS = 2000
SETTLED = 1e-9  # change of every coefficient at which a problem is solved
SCALE_FLOOR = 1e-6  # log loss; below any training noise, keeps the weights of an exactly quadratic table finite
BATCH = 2**20  # numbers in the padded rows of a batch: 8 MB


@dataclass(frozen=True, slots=True)
class Standardized:
    """``design`` (n, terms) and ``z`` (n,) of a problem; the rows ``fence`` (m, terms) are to be at least ``cap``."""

    design: Array
    z: Array
    fence: Array
    cap: float


def solve(problems: Sequence[Standardized], robust: bool) -> tuple[Array, Array, Array]:
    """Return coefficients (problems, terms), residual scales (problems,) and covariances (problems, terms, terms).

    All problems have the same number of terms. A fence has weight only where the surface is below its cap.
    """
    count = problems[0].design.shape[1]
    beta, noise = np.zeros((len(problems), count)), np.zeros(len(problems))
    covariance = np.zeros((len(problems), count, count))
    for batch in _batches(problems, count):
        beta[batch], noise[batch], gram = _reweighted([problems[at] for at in batch], robust)
        covariance[batch] = np.linalg.pinv(gram, hermitian=False) * noise[batch, None, None] ** 2
    return beta, noise, covariance


def _batches(problems: Sequence[Standardized], count: int) -> Iterator[list[int]]:
    """Yield the positions of problems that are padded and solved together: those of similar size, within BATCH."""
    order = sorted(range(len(problems)), key=lambda at: (len(problems[at].fence), len(problems[at].z)))
    batch: list[int] = []
    most = 0
    for at in order:
        most = max(most, len(problems[at].z) + len(problems[at].fence))
        if batch and (len(batch) + 1) * most * count > BATCH:
            yield batch
            batch, most = [], len(problems[at].z) + len(problems[at].fence)
        batch.append(at)
    if batch:
        yield batch


def _reweighted(problems: Sequence[Standardized], robust: bool) -> tuple[Array, Array, Array]:
    """Return coefficients, residual scales and weighted Gram matrices of one batch."""
    design, valid = _padded([one.design for one in problems])
    z = _padded([one.z[:, None] for one in problems])[0][..., 0]
    fence, there = _padded([one.fence for one in problems])
    cap = np.array([one.cap for one in problems])
    rows, count = valid.sum(axis=1), design.shape[2]
    beta, noise = np.zeros((len(problems), count)), np.zeros(len(problems))
    gram = np.zeros((len(problems), count, count))
    weights, fence_weights = valid.astype(float), np.zeros(there.shape)
    open_ = np.arange(len(problems))
    for _ in range(ITERATIONS if robust or there.any() else 1):
        stacked = _weighted_rows(design[open_], z[open_], weights)
        if fence_weights.any():
            stacked = np.concatenate([stacked, _active(fence[open_], cap[open_], fence_weights)], axis=1)
        updated = _least_squares(stacked)
        gram[open_] = _gram(stacked)
        residual = z[open_] - _product(design[open_], updated)
        settled = np.max(np.abs(updated - beta[open_]), axis=1) < SETTLED
        beta[open_] = updated
        noise[open_] = _scales(residual, valid[open_], rows[open_], count, robust)
        open_, residual = open_[~settled], residual[~settled]
        if not len(open_):
            return beta, noise, gram
        below = cap[open_, None] - _product(fence[open_], beta[open_])
        scale = np.maximum(noise[open_], SCALE_FLOOR)[:, None]
        weights, fence_weights = (
            soft_weights(one, scale) if robust else np.ones(one.shape) for one in (residual, below)
        )
        weights = weights * valid[open_]
        fence_weights = fence_weights * (there[open_] & (below > 0))
    # What did not settle has the curvature of the weights of its last residuals.
    held = [_weighted_rows(design[open_], z[open_], weights), _active(fence[open_], cap[open_], fence_weights)]
    gram[open_] = _gram(np.concatenate(held, axis=1))
    return beta, noise, gram


def _active(fence: Array, cap: Array, weights: Array) -> Array:
    """Return the rows of the fences that have weight, as `_weighted_rows` does, as many for each problem."""
    most = int((weights > 0).sum(axis=1).max(initial=0))
    at = np.argsort(weights == 0, axis=1, kind="stable")[:, :most]
    rows, target = np.take_along_axis(fence, at[..., None], axis=1), np.broadcast_to(cap[:, None], at.shape)
    return _weighted_rows(rows, target, np.take_along_axis(weights, at, axis=1))


def _gram(stacked: Array) -> Array:
    rows = stacked[..., :-1]
    return np.asarray(np.swapaxes(rows, 1, 2) @ rows)


def soft_weights(residual: Array, scale: Array | float) -> Array:
    """Return the weights of the soft-L1 loss 2(sqrt(1 + (r/s)^2) - 1) in reweighted least squares."""
    return np.asarray(1 / np.sqrt(1 + (residual / scale) ** 2))


def _padded(parts: Sequence[Array]) -> tuple[Array, NDArray[np.bool_]]:
    """Return ``parts`` (n_i, columns) as one array (parts, most n, columns) with zeros after each, and a mask."""
    sizes = np.array([len(part) for part in parts])
    valid = np.arange(sizes.max()) < sizes[:, None]
    out = np.zeros((*valid.shape, parts[0].shape[1]))
    out[valid] = np.concatenate(parts)
    return out, valid


def _weighted_rows(design: Array, target: Array, weights: Array) -> Array:
    """Return the rows (problems, n, terms + 1) of design and target, times the roots of their weights."""
    root = np.sqrt(weights)[..., None]
    return np.concatenate([design, target[..., None]], axis=2) * root


def _product(design: Array, beta: Array) -> Array:
    """Return the values (problems, n) of the surfaces at rows of a design."""
    return np.asarray((design @ beta[..., None])[..., 0])


def _least_squares(stacked: Array) -> Array:
    """Return the solutions (problems, terms) of rows (problems, n, terms + 1) whose last column is the target."""
    count = stacked.shape[2] - 1
    triangle = np.asarray(np.linalg.qr(stacked, mode="r"))[:, :count]
    pivots = np.abs(np.diagonal(triangle[..., :count], axis1=1, axis2=2))
    deficient = pivots.min(axis=1) <= np.finfo(float).eps * stacked.shape[1] * pivots.max(axis=1)
    found = np.empty((len(stacked), count))
    if not deficient.all():
        sound = triangle[~deficient]
        found[~deficient] = np.linalg.solve(sound[..., :count], sound[..., count:])[..., 0]
    for at in np.flatnonzero(deficient):
        found[at] = np.linalg.lstsq(stacked[at, :, :count], stacked[at, :, count], rcond=None)[0]
    return found


def _scales(residual: Array, valid: NDArray[np.bool_], rows: NDArray[np.int64], count: int, robust: bool) -> Array:
    """Return the residual scale over the degrees of freedom, 0 without: 1.4826 times the median absolute residual, or
    the root mean square.
    """
    freedom = rows - count
    if robust:
        ordered = np.sort(np.where(valid, np.abs(residual), np.inf), axis=1)
        middle = [np.take_along_axis(ordered, at[:, None], axis=1)[:, 0] for at in ((rows - 1) // 2, rows // 2)]
        spread = 1.4826 * (middle[0] + middle[1]) / 2
    else:
        spread = np.sqrt(np.sum(np.where(valid, residual, 0.0) ** 2, axis=1) / rows)
    return np.where(freedom > 0, spread * np.sqrt(rows / np.maximum(freedom, 1)), 0.0)


class StudentDraws:
    """Draws of coefficients from their sampling distribution (Student t), with the same random numbers for each."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._normal: dict[int, tuple[Array, np.random.Generator, object]] = {}
        self._factors: dict[tuple[int, int], Array] = {}

    def __call__(self, beta: Array, covariance: Array, freedom: int) -> Array:
        """Return draws (DRAWS, terms) of coefficients with this covariance and these degrees of freedom."""
        values, vectors = np.linalg.eigh(covariance)
        normal, factor = self._numbers(len(beta), freedom)
        turned = normal * np.sqrt(np.maximum(values, 0)) @ vectors.T
        return np.asarray(beta + turned * factor)

    def _numbers(self, count: int, freedom: int) -> tuple[Array, Array]:
        """Return normal numbers (DRAWS, count), and the factors (DRAWS, 1) that make Student's t of them."""
        if count not in self._normal:
            rng = np.random.default_rng(self._seed)
            normal = rng.standard_normal((DRAWS, count))
            self._normal[count] = normal, rng, rng.bit_generator.state
        normal, rng, state = self._normal[count]
        if (count, freedom) not in self._factors:
            rng.bit_generator.state = state  # type: ignore[assignment]
            self._factors[count, freedom] = np.sqrt(freedom / rng.chisquare(freedom, DRAWS))[:, None]
        return normal, self._factors[count, freedom]
