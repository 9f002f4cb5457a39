"""A smooth misfit of a law: what it adds to the variance of the parameters, and so of all that they imply.

Residuals are the law's error, a smooth function of the log inputs that scales with the reducible loss, and noise. Its
amplitude is weighed by the restricted likelihood of the residuals, over lengths and amplitudes alike, none included. An
error that the law's parameters absorb leaves no trace in the residuals and moves N* all the same, so the variance is
that of the error itself (its kernel), not of what is left of it. It counts where some amplitude is likelier than none.

Measured on the sizes N* of an additive law at 126 and 42 rows with .8 % of noise, 400 sets each, nominal .95: of the
same form .970 and .968 (without it .963 and .953), of a coupled one (k = .9) .948 and .955 (.915 and .930), beside a
smooth error of half a per cent .915 and .927 (.733 and .883).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sweeplaw.analysis.fitting.noise.clustered import jacobian
from sweeplaw.analysis.fitting.noise.smooth import smooth
from sweeplaw.analysis.fitting.solver.solve import Setup

Array = np.ndarray

LENGTHS = (2.0, 4.0)  # in e-folds of the inputs, as of forecasts
AMPLITUDES = np.array([0.0, 0.25, 0.5, 1.0, 2.0, 4.0])  # in units of the noise
LEAST_GAIN = 0.1  # of the log likelihood by the best amplitude over none: 28 % of tables that have no misfit
LEAST_REDUCIBLE = 0.02  # share of the loss
CLIP = 3.0  # robust standard deviations at which a residual is cut
LEAST_FREEDOM = 8  # rows beyond the parameters


def misfit_covariance(
    setup: Setup, theta: Array, residual: Array, logs: Sequence[Array], rows: Array, relative: Array | None
) -> Array | None:
    """Return the covariance (p, p) that a smooth misfit adds to parameters at their optimum ``theta`` (p,).

    ``residual`` (n,), ``logs`` of the inputs and the ``relative`` spread of the noise are those of ``rows``, by number.
    None where nothing hints at a misfit, or the rows are too few.
    """
    free = np.flatnonzero(~setup.box.frozen & (theta > setup.box.low) & (theta < setup.box.high))
    slopes = jacobian(setup, theta, rows)[:, free]
    size = np.linalg.norm(slopes, axis=0)
    if len(residual) - len(free) < LEAST_FREEDOM or not free.size or not (np.isfinite(size).all() and size.all()):
        return None
    points, share = np.stack(logs, axis=1), _reducible(setup, theta, rows)
    inverse = np.linalg.pinv(slopes / size) / size[:, None]  # from residuals to parameters
    spread = np.ones(len(rows)) if relative is None else relative
    target = _clipped(residual / spread)
    likelihoods, found = np.empty((len(LENGTHS), len(AMPLITUDES))), []
    for at, length in enumerate(LENGTHS):
        features = smooth(points, length).at(points)[0] * share[:, None]
        likelihoods[at], noise = restricted_likelihood(
            target, slopes / size / spread[:, None], features / spread[:, None]
        )
        moved = inverse @ features
        found.append((noise * AMPLITUDES**2, moved @ moved.T))
    if np.max(likelihoods) - likelihoods[0, 0] <= LEAST_GAIN:
        return None
    weights = np.exp(likelihoods - np.max(likelihoods))
    weights /= np.sum(weights)
    added = np.zeros((len(theta), len(theta)))
    for weight, (variances, covariance) in zip(weights, found, strict=True):
        added[np.ix_(free, free)] += float(weight @ variances) * covariance
    return added


def _clipped(residual: Array) -> Array:
    width = CLIP * float(np.median(np.abs(residual))) / 0.6745
    return np.clip(residual, -width, width) if width > 0 else residual


def _reducible(setup: Setup, theta: Array, rows: Array) -> Array:
    """Return the scale of the law's error at each row: the reducible loss, relative to its geometric mean.

    It is a share of the loss where residuals are, and times sqrt(weight), as the residuals are.
    """
    law, problem = setup.law, setup.problem
    predicted = problem.bound.predict(theta[None])[0][rows]
    known = {**dict(law.fixed), **dict(zip(law.names, setup.to_law_units(theta[None])[0].tolist(), strict=True))}
    asymptote = known.get(law.asymptote or "", 0.0)
    share = np.maximum(1 - asymptote / predicted, LEAST_REDUCIBLE)
    share = share if problem.space == "log" else share * predicted
    return np.asarray(share / np.exp(np.mean(np.log(share))) * np.sqrt(problem.weights[rows]))


def restricted_likelihood(target: Array, slopes: Array, features: Array) -> tuple[Array, Array]:
    """Return the restricted log likelihood and the variance of the noise at each amplitude: two (k,) arrays.

    With A what is left of the features beyond the slopes, the eigenvalues of A'A and the target along A give both.
    """
    basis = np.linalg.qr(slopes)[0]
    left = features - basis @ (basis.T @ features)
    rest = target - basis @ (basis.T @ target)
    values, vectors = np.linalg.eigh(left.T @ left)
    known = values > 1e-10 * max(float(values[-1]), 1e-300)
    values, along = values[known], (left @ vectors[:, known]).T @ rest
    squares = along**2 / values  # of the target, in each direction
    freedom = len(target) - slopes.shape[1]
    growth = 1 + AMPLITUDES[:, None] ** 2 * values
    total = float(rest @ rest) - float(np.sum(squares)) + np.sum(squares / growth, axis=1)
    noise = np.maximum(total, 1e-300) / freedom
    return -(freedom * np.log(noise) + np.sum(np.log(growth), axis=1)) / 2, noise
