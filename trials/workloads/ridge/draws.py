"""Samples, label noise and feature directions of a seed, so that a larger problem extends a smaller one.

The first n samples of a seed are the same for every number of samples, and the first k features for every number of
features: the predictors of an ensemble divide the features of a single predictor of their total size among themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeplaw.trials.workloads.ridge.spectrum import Floats

_SAMPLES, _NOISE, _FEATURES = range(3)  # independent streams of one seed


@dataclass(frozen=True, slots=True)
class Draws:
    """Independent standard normal numbers of several seeds: ``samples`` (seeds, n, modes), ``noise`` (seeds, n) and
    ``directions`` (seeds, predictors, features, modes).
    """

    samples: Floats
    noise: Floats
    directions: Floats


def draw(seeds: list[int], samples: int, predictors: int, features: int, dimension: int) -> Draws:
    """Return the draws of these seeds."""
    found = Draws(
        np.empty((len(seeds), samples, dimension)),
        np.empty((len(seeds), samples)),
        np.empty((len(seeds), predictors, features, dimension)),
    )
    for index, seed in enumerate(seeds):
        _stream(seed, _SAMPLES).standard_normal(out=found.samples[index])
        _stream(seed, _NOISE).standard_normal(out=found.noise[index])
        _stream(seed, _FEATURES).standard_normal(out=found.directions[index])
    return found


def _stream(seed: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64([seed % 2**64, number]))
