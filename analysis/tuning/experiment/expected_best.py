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
        row[0] = k / count
        for i in range(1, count - k + 1):
            row[i] = row[i - 1] * (count - i - k + 1) / (count - i)
    return weights


def expected_best(pick: Array, report: Array, draws: Sequence[int]) -> tuple[Array, Array]:
    """Return the expected loss that picks and the one reported, of the lowest of each k by ``pick``: (draws,) each.

    ``pick`` and ``report`` are (settings,).
    """
    order = np.argsort(pick, kind="stable")
    weights = rank_weights(len(pick), draws)
    return weights @ pick[order], weights @ report[order]


def resampled(
    pick: Array, report: Array, draws: Sequence[int], count: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Return `expected_best` of ``count`` bootstrap samples of the settings: (count, draws) each."""
    weights = rank_weights(len(pick), draws)
    sampled = rng.integers(0, len(pick), (count, len(pick)))
    order = np.take_along_axis(sampled, np.argsort(pick[sampled], axis=1, kind="stable"), axis=1)
    return pick[order] @ weights.T, report[order] @ weights.T


def supported(count: int, draws: Sequence[int]) -> NDArray[np.bool_]:
    """Return for which k the settings are enough for an interval: (draws,)."""
    return np.asarray(draws) * SUPPORTED <= count


def ladder(count: int) -> list[int]:
    """Return the k that are shown of ``count`` draws: 1, 2, 3, 4, 6, 8, 12, 16, … and all."""
    steps = [1, 2, 3]
    while steps[-1] < count:
        steps.append(steps[-2] * 2)
    return [k for k in steps if k < count] + [count]
