"""Lack of fit: do the residuals of a law follow a smooth surface that no choice of its parameters would give it?

The residuals are tested for terms of second and third order in the logarithms of the inputs, beyond what the law's own
parameters can absorb, by an F test against what is left. Where points have replicates, the scatter of the point means
is tested against that of the replicates too (Fisher's pure error).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ncfdtrinc
from scipy.stats import f as fisher

from sweeplaw.analysis.adequacy.finding import Finding
from sweeplaw.analysis.adequacy.points import FitPoints, orthonormal
from sweeplaw.trials.quantities import percent

Array = np.ndarray

LEVEL = 0.01  # of a test: false alarms measured .00 to .04
LEAST_FREEDOM = 3  # degrees of freedom of the noise, below which nothing is tested
NEGLIGIBLE = 5e-4  # of the loss: a smaller misfit is none, however surely it is there
POWER = 0.9  # with which a misfit would have been found that the verdict calls absent
LARGEST_UNSEEN = 0.1  # of the spread of the losses: if a larger misfit could hide, the law cannot be judged


@dataclass(frozen=True, slots=True)
class _Test:
    """An F test: the statistic, its p-value, the misfit and noise in parts of the loss, the misfit it would detect."""

    statistic: float
    p_value: float
    misfit: float
    noise: float
    detectable: float
    terms: int
    freedom: int


def lack_of_fit(points: FitPoints, spread: float) -> Finding:
    """Return whether the residuals have a smooth pattern. ``spread`` is that of the log losses."""
    count = len(points.residual)
    terms = _terms(points, 3) if count - points.params - _count(points, 3) >= LEAST_FREEDOM else _terms(points, 2)
    freedom = count - points.basis.shape[1] - terms.shape[1]
    if freedom < LEAST_FREEDOM or not terms.shape[1]:
        return Finding("lack_of_fit", "unknown", f"{count} points are too few for {points.params} parameters")
    left = points.left
    smooth = terms @ (terms.T @ left)
    test = _f_test(smooth, float(left @ left - smooth @ smooth), terms.shape[1], freedom, points)
    return _judged("lack_of_fit", test, spread, "the residuals follow a smooth pattern")


def replicates(points: FitPoints, spread: float) -> Finding | None:
    """Return whether point means scatter more than replicates explain; None with too few replicates."""
    rank = len(points.residual) - points.basis.shape[1]
    if points.pure_freedom < LEAST_FREEDOM or rank < 1:
        return None
    test = _f_test(points.left, points.pure_squares, rank, points.pure_freedom, points)
    if not math.isfinite(test.statistic):  # copies of one run scatter by nothing
        return None
    return _judged("replicates", test, spread, "the residuals are larger than the scatter of repeated runs")


def _f_test(smooth: Array, squares: float, terms: int, freedom: int, points: FitPoints) -> _Test:
    noise, count = math.sqrt(max(squares, 0.0) / freedom), len(points.residual)
    statistic = float(smooth @ smooth) / terms / noise**2 if noise > 0 else math.inf
    critical = float(fisher.isf(LEVEL, terms, freedom))
    strength = float(ncfdtrinc(terms, freedom, 1 - POWER, critical))
    weight = float(np.mean(points.weight)) * count
    misfit = math.sqrt(float(smooth @ smooth) / weight)
    return _Test(
        statistic, float(fisher.sf(statistic, terms, freedom)), misfit * points.relative,
        noise * points.relative, noise * points.relative * math.sqrt(strength / weight), terms, freedom,
    )  # fmt: skip


def _judged(name: str, test: _Test, spread: float, pattern: str) -> Finding:
    numbers = {
        "p_value": test.p_value, "f": test.statistic, "terms": test.terms, "degrees_of_freedom": test.freedom,
        "misfit_of_loss": test.misfit, "noise_of_loss": test.noise, "detectable_of_loss": test.detectable,
    }  # fmt: skip
    if test.p_value < LEVEL and test.misfit > NEGLIGIBLE:
        sizes = f"{percent(test.misfit, '.2f')} of the loss against a noise of {percent(test.noise, '.2f')}"
        return Finding(name, "failed", f"{pattern}: {sizes} (F test, p {chance(test.p_value)})", numbers)
    if test.detectable > max(LARGEST_UNSEEN * spread, NEGLIGIBLE):
        hidden = f"a misfit of {percent(test.detectable, '.2f')} of the loss could hide in the noise of these rows"
        return Finding(name, "unknown", hidden, numbers)
    seen = max(test.detectable, NEGLIGIBLE)
    sentence = f"no misfit found; one of {percent(seen, '.2f')} of the loss would have been"
    return Finding(name, "passed", sentence, numbers)


def chance(p_value: float) -> str:
    """Return a p-value in words: ``= 0.02``, ``< 0.0001``."""
    return "< 0.0001" if p_value < 1e-4 else f"= {p_value:.1g}"


def _exponents(inputs: int, degree: int) -> list[tuple[int, ...]]:
    """Return the exponents of every term of order 2 to ``degree``."""
    orders = itertools.product(range(degree + 1), repeat=inputs)
    return [order for order in orders if 2 <= sum(order) <= degree]


def _count(points: FitPoints, degree: int) -> int:
    return len(_exponents(len(points.inputs), degree))


def _terms(points: FitPoints, degree: int) -> Array:
    """Return an orthonormal basis of the polynomial terms, weighted, beyond the law's tangents: (m, q)."""
    logs = [np.log(column) for column in points.inputs.values()]
    unit = [(log - log.mean()) / (log.std() or 1.0) for log in logs]
    columns = [np.prod([one**power for one, power in zip(unit, order, strict=True)], axis=0)
               for order in _exponents(len(unit), degree)]  # fmt: skip
    weighted = np.sqrt(points.weight)[:, None] * np.stack(columns, axis=1)
    beyond = points.without(weighted / np.maximum(np.linalg.norm(weighted, axis=0), 1e-300))
    return orthonormal(beyond[:, np.linalg.norm(beyond, axis=0) > 1e-6])
