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


def flattery(pick: Array, report: Array, draws: Sequence[int]) -> Array:
    """Return by how much ``pick`` is lower at the lowest of each k by itself than at that by ``report``: (draws,).

    Both are read on the loss that picks, so that the two may be losses on text of different entropy. If they are
    equally noisy, the settings that they pick are equally good, and the expectation is how far noise makes the pick
    look better than it is.
    """
    return np.maximum(expected_best(report, pick, draws)[1] - expected_best(pick, report, draws)[0], 0.0)


def intervals(
    pick: Array, values: Array, draws: Sequence[int], level: float, count: int, rng: np.random.Generator
) -> Array:
    """Return intervals of the expected ``values`` (settings,) of the lowest of each k by ``pick``: (draws, 2).

    They are of the bootstrap-t (Efron 1981) with ``count`` samples of the settings and jackknife errors: excess losses
    are skewed, and the few lowest decide. NaN where a sample has no spread.
    """
    return _intervals([(1.0, pick, values)], draws, level, count, rng)


def flattery_intervals(
    pick: Array, report: Array, draws: Sequence[int], level: float, count: int, rng: np.random.Generator
) -> Array:
    """Return intervals of `flattery`, as `intervals`: (draws, 2). It is never below 0."""
    return np.maximum(_intervals([(1.0, report, pick), (-1.0, pick, pick)], draws, level, count, rng), 0.0)


Terms = Sequence[tuple[float, Array, Array]]  # factor, the loss that picks, the values: a sum of expectations


def _intervals(terms: Terms, draws: Sequence[int], level: float, count: int, rng: np.random.Generator) -> Array:
    size = len(terms[0][1])
    (own,), (error,) = _estimates(terms, np.arange(size)[None], draws)
    sampled, errors = _estimates(terms, rng.integers(0, size, (count, size)), draws)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (sampled - own) / errors
    t = np.where(np.isfinite(t), t, np.nan)
    spread = ~np.isnan(t).all(axis=0)
    ends = np.full((2, len(draws)), np.nan)
    tails = [(1 - level) / 2, (1 + level) / 2]
    ends[:, spread] = np.nanquantile(t[:, spread], tails, axis=0, method="median_unbiased") if spread.any() else np.nan
    low, high = ends
    return np.stack([own - high * error, own - low * error], axis=1)


def _estimates(terms: Terms, samples: NDArray[np.int64], draws: Sequence[int]) -> tuple[Array, Array]:
    """Return the sum of the terms for each of ``samples`` (samples, settings), and its jackknife standard error:
    (samples, draws) each.
    """
    size = samples.shape[1]
    ranked = []
    for factor, pick, values in terms:
        order = np.argsort(pick[samples], axis=1, kind="stable")
        place = np.argsort(order, axis=1)  # of each setting
        ranked.append((factor * np.take_along_axis(values[samples], order, axis=1), place))
    expected: Array = np.sum([ordered @ rank_weights(size, draws).T for ordered, _ in ranked], axis=0)
    errors = []
    for weights in rank_weights(size - 1, draws):
        left_out = [np.take_along_axis(_without_each(ordered, weights), place, axis=1) for ordered, place in ranked]
        errors.append(np.sum(left_out, axis=0).std(axis=1) * (size - 1) ** 0.5)
    return expected, np.stack(errors, axis=1)


def _without_each(ordered: Array, weights: Array) -> Array:
    """Return the expectation without each of the settings, in their order: (samples, settings) of ``ordered``."""
    before = np.cumsum(ordered[:, :-1] * weights, axis=1)  # sums up to each setting that stays in its place
    after = ordered[:, 1:] * weights  # of settings that move up by one
    whole = after.sum(axis=1, keepdims=True)
    moved = np.hstack([whole, whole - np.cumsum(after, axis=1)])
    return np.asarray(np.hstack([np.zeros_like(whole), before]) + moved)


def supported(count: int, draws: Sequence[int]) -> NDArray[np.bool_]:
    """Return for which k the settings are enough for an interval: (draws,)."""
    return np.asarray(draws) * SUPPORTED <= count


def ladder(count: int) -> list[int]:
    """Return the k that are shown of ``count`` draws: 1, 2, 3, 4, 6, 8, 12, 16, … and all."""
    steps = [1, 2, 3]
    while steps[-1] < count:
        steps.append(steps[-2] * 2)
    return [k for k in steps if k < count] + [count]
