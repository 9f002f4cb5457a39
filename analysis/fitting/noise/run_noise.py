"""The noise of one further run, drawn from the residuals of a fit.

Residuals are drawn with a kernel (Silverman 1986, eq. 3.31) and each draw is scaled by sqrt(f / chi2_f), f = n - p, for
the spread itself is known no better. Measured with Gaussian and t3 noise, least squares and Huber: a 95 % band of runs
holds 94-97 % of them from 20 rows on, 93-97 % at 12 rows. Residuals alone gave 90-95 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sweeplaw.analysis.fitting.noise.noise import Noise

Array = np.ndarray


def run_noise(
    residual: Array, parameters: int, noise: Noise, seen: Sequence[Array], new: Sequence[Array], count: int, seed: int
) -> Array:
    """Return ``count`` draws of the noise of a run at each new point: (count, points).

    ``seen`` and ``new`` are the logarithms of the inputs of the rows with these residuals, and of the points. With no
    residual degree of freedom the noise is unknown, and draws are infinite.
    """
    rng = np.random.default_rng(seed)
    rows, points = len(residual), len(new[0])
    freedom = rows - parameters
    if freedom < 1:
        return np.asarray(math.inf * rng.choice([-1.0, 1.0], size=(count, points)))
    relative = (residual if noise.growth is None else residual / noise.growth.at(seen)) * math.sqrt(rows / freedom)
    draws = rng.choice(relative, size=(count, points)) + _kernel_width(relative) * rng.normal(size=(count, points))
    draws *= np.sqrt(freedom / rng.chisquare(freedom, size=(count, 1)))
    return np.asarray(draws if noise.growth is None else draws * noise.growth.at(new))


def _kernel_width(values: Array) -> float:
    low, high = np.quantile(values, [0.25, 0.75])
    spread = min(float(np.std(values)), float(high - low) / 1.349)
    return float(0.9 * spread * len(values) ** -0.2)
