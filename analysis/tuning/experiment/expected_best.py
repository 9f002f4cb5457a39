"""The expected lowest of k settings drawn from those that were run, and what it is on a loss that did not pick it.

With the settings in ascending order of the loss that picks, the lowest of k drawn without replacement is the i-th with
probability C(n - i, k - 1) / C(n, k). The expectation under it is unbiased for k fresh draws (Tang et al. 2020, arXiv
2004.13705, equation 6); drawing with replacement (Dodge et al. 2019, arXiv 1909.03004) is biased low in k.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SUPPORTED = 4  # k up to a 1 / SUPPORTED of the draws has an interval: beyond, the lowest few decide it all


def rank_weights(count: int, draws: Sequence[int]) -> Array:
    """Return the probability that the lowest of k drawn from ``count`` is each of them, in order: (draws, count).

    Raise ValueError for a k outside [1, count].
    """
    weights = np.zeros((len(draws), count))
    for row, k in zip(weights, draws, strict=True):
        if not 1 <= k <= count:
            raise ValueError(f"k = {k} of {count} draws")
        left = np.arange(count - 1.0, k - 1, -1)  # after each but the last that can be the lowest
        row[: count - k + 1] = k / count * np.cumprod(np.r_[1.0, (left - k + 1) / left])
    return weights


def expected_best(pick: Array, report: Array, draws: Sequence[int]) -> tuple[Array, Array]:
    """Return the expected loss that picks and the one reported, of the lowest of each k by ``pick``: (draws,) each.

    ``pick`` and ``report`` are (settings,).
    """
    order = np.argsort(pick, kind="stable")
    weights = rank_weights(len(pick), draws)
    return weights @ pick[order], weights @ report[order]


def intervals(
    pick: Array, values: Array, draws: Sequence[int], level: float, count: int, rng: np.random.Generator
) -> Array:
    """Return intervals of the expected ``values`` (settings,) of the lowest of each k by ``pick``: (draws, 2).

    They are of the bootstrap-t (Efron 1981) with ``count`` samples of the settings and jackknife errors: excess losses
    are skewed, and the few lowest decide. NaN where a sample has no spread.
    """
    weights = rank_weights(len(pick), draws)
    ordered = values[np.argsort(pick, kind="stable")]
    sampled = rng.integers(0, len(pick), (count, len(pick)))
    order = np.take_along_axis(sampled, np.argsort(pick[sampled], axis=1, kind="stable"), axis=1)
    own, error = weights @ ordered, _errors(ordered, draws)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (values[order] @ weights.T - own) / _errors(values[order], draws)
    t = np.where(np.isfinite(t), t, np.nan)
    spread = ~np.isnan(t).all(axis=0)
    ends = np.full((2, len(draws)), np.nan)
    tails = [(1 - level) / 2, (1 + level) / 2]
    ends[:, spread] = np.nanquantile(t[:, spread], tails, axis=0, method="median_unbiased") if spread.any() else np.nan
    low, high = ends
    return np.stack([own - high * error, own - low * error], axis=1)


def _errors(ordered: Array, draws: Sequence[int]) -> Array:
    """Return jackknife standard errors of the expectation for each k: (..., draws) of ``ordered`` (..., settings)."""
    count = ordered.shape[-1]
    found = []
    for weights in rank_weights(count - 1, draws):
        before = np.cumsum(ordered[..., :-1] * weights, axis=-1)  # sums up to each setting that stays in its place
        after = ordered[..., 1:] * weights  # of settings that move up by one
        behind = after.sum(axis=-1, keepdims=True) - np.cumsum(after, axis=-1)
        zero = np.zeros((*ordered.shape[:-1], 1))
        left_out = np.concatenate([zero, before], axis=-1) + np.concatenate([after.sum(-1, keepdims=True), behind], -1)
        found.append(left_out.std(axis=-1) * (count - 1) ** 0.5)
    return np.stack(found, axis=-1)


def supported(count: int, draws: Sequence[int]) -> NDArray[np.bool_]:
    """Return for which k the settings are enough for an interval: (draws,)."""
    return np.asarray(draws) * SUPPORTED <= count


def ladder(count: int) -> list[int]:
    """Return the k that are shown of ``count`` draws: 1, 2, 3, 4, 6, 8, 12, 16, … and all."""
    steps = [1, 2, 3]
    while steps[-1] < count:
        steps.append(steps[-2] * 2)
    return [k for k in steps if k < count] + [count]
