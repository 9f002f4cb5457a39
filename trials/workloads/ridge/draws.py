"""Samples, label noise and feature directions of a seed, so that a larger problem extends a smaller one.

The first n samples of a seed are the same for every number of samples, and the first k features for every number of
features: the predictors of an ensemble divide the features of a single predictor of their total size among themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sweeplaw.trials.workloads.ridge.spectrum import Floats

_SAMPLES, _NOISE, _FEATURES = range(3)  # independent streams of one seed


@dataclass(frozen=True, slots=True)
class NormalDraws:
    """Independent standard normal numbers of several seeds: ``samples`` (seeds, n, modes), ``noise`` (seeds, n) and
    ``directions`` (seeds, predictors, features, modes).
    """

    samples: Floats
    noise: Floats
    directions: Floats


def allocate(seeds: int, samples: int, predictors: int, features: int, dimension: int) -> NormalDraws:
    """Return uninitialized arrays for the draws of ``seeds`` seeds, to be reused: fresh memory is slow to touch."""
    return NormalDraws(
        np.empty((seeds, samples, dimension)),
        np.empty((seeds, samples)),
        np.empty((seeds, predictors, features, dimension)),
    )


def draw(seeds: Sequence[int], room: NormalDraws) -> NormalDraws:
    """Return the draws of these seeds, which fill the first places of ``room``."""
    for index, seed in enumerate(seeds):
        _stream(seed, _SAMPLES).standard_normal(out=room.samples[index])
        _stream(seed, _NOISE).standard_normal(out=room.noise[index])
        _stream(seed, _FEATURES).standard_normal(out=room.directions[index])
    count = len(seeds)
    return NormalDraws(room.samples[:count], room.noise[:count], room.directions[:count])


def _stream(seed: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64([seed % 2**64, number]))
