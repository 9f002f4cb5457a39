"""Functional ANOVA of a grid: the shares of the variance of its values by axis and by pair, less what noise adds.

The Hoeffding decomposition under the uniform measure on the grid's levels (Hutter et al. 2014 fit a forest for this).
On a full grid it is exact: every effect is a mean over the other axes. Missing points are first filled with the
additive-plus-pairs fit to the others. Noise adds the same variance to each degree of freedom of an effect, which is
subtracted (the estimate of components of variance, as in the epsilon squared of Kelley 1935).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

FILL_ROUNDS = 200
FILL_SETTLED = 1e-7
BY_CHANCE = 0.05  # probability of an effect as large without one, above which it is within the noise


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of the variance of a grid: ``axes`` (axes,), ``pairs`` beyond their axes, the ``rest``, and ``noise``.

    ``within_noise`` (axes,): whether noise alone would give an axis as large a share in one of twenty grids.
    """

    axes: tuple[float, ...]
    pairs: Mapping[tuple[int, int], float]
    rest: float
    noise: float = 0.0
    within_noise: tuple[bool, ...] = ()


def shares(grid: Array) -> Shares:
    """Return the shares of the variance of a full ``grid``. They sum to one, or are all zero if it is constant."""
    mean, total = grid.mean(), grid.var()
    axes = range(grid.ndim)
    if not total > 0:
        return Shares((0.0,) * grid.ndim, dict.fromkeys(combinations(axes, 2), 0.0), 0.0)
    # Means over all but two axes first: each further mean is then over a small table.
    tables = {(i, j): grid.mean(axis=tuple(k for k in axes if k not in (i, j))) for i, j in combinations(axes, 2)}
    single = [_single(grid, tables, i) - mean for i in axes]
    singles = tuple(float((effect**2).mean() / total) for effect in single)
    pairs = {
        (i, j): float(((table - mean - single[i][:, None] - single[j][None, :]) ** 2).mean() / total)
        for (i, j), table in tables.items()
    }
    return Shares(singles, pairs, float(max(0.0, 1 - sum(singles) - sum(pairs.values()))))


def without_noise(found: Shares, grid: Array, variance: float, measured: int, freedom: int) -> Shares:
    """Return the shares less what noise adds to them.

    ``variance`` is that of the noise of a point of the full ``grid``, known from ``freedom`` degrees of freedom;
    ``measured`` points were not filled.
    """
    total = float(grid.var())
    if not total > 0:
        return found
    each = variance / (measured * total)  # of a degree of freedom
    free = [size - 1 for size in grid.shape]
    of_pairs = {(i, j): free[i] * free[j] for i, j in found.pairs}
    left = max(0, measured - 1 - sum(free) - sum(of_pairs.values()))
    larger = [
        stats.f.sf(share / (k * each), k, freedom) if k else 1.0 for share, k in zip(found.axes, free, strict=True)
    ]
    return Shares(
        tuple(max(0.0, share - k * each) for share, k in zip(found.axes, free, strict=True)),
        {pair: max(0.0, share - of_pairs[pair] * each) for pair, share in found.pairs.items()},
        max(0.0, found.rest - left * each),
        min(1.0, (measured - 1) * each),
        tuple(bool(chance > BY_CHANCE) for chance in larger),
    )


def _single(grid: Array, tables: Mapping[tuple[int, int], Array], axis: int) -> Array:
    if grid.ndim == 1:
        return grid
    pair = next(pair for pair in tables if axis in pair)
    return np.asarray(tables[pair].mean(axis=1 if pair[0] == axis else 0))


def filled(grid: Array, missing: NDArray[np.bool_]) -> Array:
    """Return ``grid`` with missing points at the additive-plus-pairs least-squares fit to the others (iteratively)."""
    out = np.where(missing, np.nanmean(grid), grid)
    spread = max(float(np.nanstd(grid)), 1e-300)
    for _ in range(FILL_ROUNDS):
        smooth = _low_order(out)
        change = float(np.abs(out[missing] - smooth[missing]).max())
        out[missing] = smooth[missing]
        if change < FILL_SETTLED * spread:
            break
    return out


def _low_order(grid: Array) -> Array:
    """Return the part of a full grid that single axes and pairs explain."""
    axes, mean = range(grid.ndim), grid.mean()
    if grid.ndim == 1:
        return np.full_like(grid, mean)
    single = [grid.mean(axis=tuple(k for k in axes if k != i), keepdims=True) - mean for i in axes]
    out = np.full_like(grid, mean)
    for effect in single:
        out += effect
    if grid.ndim > 2:  # with two axes the pair is the grid itself, so a missing point would keep its value
        for i, j in combinations(axes, 2):
            table = grid.mean(axis=tuple(k for k in axes if k not in (i, j)), keepdims=True)
            out += table - mean - single[i] - single[j]
    return out
