"""Learning the process of a forecast from rows: the law by a robust fit, the scales of the other parts by evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from sweeplaw.analysis.fitting.noise.smooth import smooth
from sweeplaw.analysis.forecasting.process.offsets import NO_GROUPS, groups
from sweeplaw.analysis.forecasting.process.process import LEAST_REDUCIBLE, Part, Process, ProcessDesign, RunPoints
from sweeplaw.analysis.forecasting.process.regression import Gram, evidences, gram, posterior
from sweeplaw.analysis.forecasting.process.robust import RobustFit, descend, robust_fit
from sweeplaw.analysis.forecasting.process.settings import (
    LENGTHS,
    START,
    ProcessScales,
    combined,
    offset_block,
    smooth_block,
)
from sweeplaw.analysis.laws.law import Law

Array = np.ndarray

SAME_SIZE, SAME_BUDGET = (0.01, 0.02), (0.1, 0.35)  # gaps of log N and log C that part groups, and their widest
KEPT = 6.0  # log evidence below the best beyond which a setting has no weight
SLACK = 2.0  # more, for scales of one part beside the best of the others
GAUSS_NEWTON_STEPS = 8
SWEEPS = (2, 1)  # of the search for the best scales, before each time that the law is made linear again


def learn(law: Law, points: RunPoints, losses: Array, start: Array | None = None) -> Process:
    """Return the process learnt from runs of these losses. ``start`` are parameters of the law to begin at.

    On one thread: for matrices of this size several BLAS threads mostly wait for each other (15 times the CPU).
    """
    with threadpool_limits(1, "blas"):
        return _learn(law, points, losses, start)


def _learn(law: Law, points: RunPoints, losses: Array, start: Array | None) -> Process:
    fit = robust_fit(law, points.inputs, losses, start)
    design, target, best = _design(fit, points), np.log(losses), START
    for sweeps in SWEEPS:
        rows = _Rows(design, points, target)
        best = _search(rows, best, sweeps)
        design = replace(design, theta=_relinearise(rows, best))
    rows = _Rows(design, points, target)
    return Process(design, tuple(_parts(rows, _likely(rows, best))))


class _Rows:
    """The rows of a table in the features of a design, with the sufficient statistics computed so far.

    Rows of the same inputs have the same features: they are one point, whose target is their weighted mean.
    """

    def __init__(self, design: ProcessDesign, points: RunPoints, target: Array) -> None:
        first, self.point = _distinct(points)
        self.design, self.points, self.target = design, points.take(first), target
        self.law = design.law_at(self.points)
        self._rest: dict[int, Array] = {}
        self._grams: dict[tuple[int, int], Gram] = {}

    def rest(self, length: int) -> Array:
        """Return the features of all but the law at the points: (k, m)."""
        if length not in self._rest:
            self._rest[length] = self.design.rest_at(self.points, self.law, length)[0]
        return self._rest[length]

    def weights(self, trend: int) -> Array:
        """Return the weight of each row under a trend of the noise: (n,)."""
        return np.asarray(self.design.fit.weights * self.design.weights(self.points, trend)[self.point])

    def means(self, trend: int) -> tuple[Array, Array]:
        """Return the sum of the weights at each point, and the mean of the target with them: (k,) each."""
        weights = self.weights(trend)
        total = np.bincount(self.point, weights)
        return total, np.bincount(self.point, weights * self.target) / total

    def gram(self, settings: ProcessScales) -> Gram:
        """Return the sufficient statistics for settings of one length and trend."""
        length, trend = int(settings.length[0]), int(settings.trend[0])
        if (length, trend) not in self._grams:
            features = np.concatenate([self.rest(length), self.law.jacobian], axis=1)
            weights, (total, mean) = self.weights(trend), self.means(trend)
            stats = gram(features, mean - self.law.value, total, len(self.design.sizes.low))
            stats.matrix[-1, -1] += weights @ (self.target - mean[self.point]) ** 2
            logs = float(np.sum(np.log(weights)))
            self._grams[length, trend] = replace(stats, log_weights=logs, rows=len(self.target))
        return self._grams[length, trend]

    def evidence(self, settings: ProcessScales) -> Array:
        """Return the log of evidence times prior at each setting."""
        found = np.empty(len(settings.values))
        for rows in settings.by_length_and_trend():
            some = settings.take(rows)
            found[rows] = evidences(self.gram(some), self.design.scales(some))
        return np.asarray(found + settings.log_prior)


def _distinct(points: RunPoints) -> tuple[Array, Array]:
    """Return the first row of each combination of inputs, in order (k,), and which of them each row has (n,)."""
    columns = np.stack([*points.inputs.values(), points.compute])
    _, first, index = np.unique(columns, axis=1, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return first[order], np.argsort(order)[index.ravel()]


def _likely(rows: _Rows, best: ProcessScales) -> ProcessScales:
    """Return the combinations of scales that are likely next to the best ones of the other parts."""
    smooth, offsets = smooth_block(best), offset_block(best, *rows.design.offsets)
    kept = [block.take(_within(rows.evidence(block), KEPT + SLACK)) for block in (smooth, offsets)]
    return combined(*kept)


def _within(evidence: Array, distance: float) -> Array:
    return np.asarray(evidence > np.max(evidence) - distance)


def _parts(rows: _Rows, settings: ProcessScales) -> Iterator[Part]:
    """Yield the settings whose evidence is near the best, with their posteriors."""
    evidence = rows.evidence(settings)
    kept = _within(evidence, KEPT)
    settings, evidence = settings.take(kept), evidence[kept]
    for some in settings.by_length_and_trend():
        part = settings.take(some)
        yield Part(part, evidence[some], posterior(rows.gram(part), rows.design.scales(part)))


def _search(rows: _Rows, best: ProcessScales, sweeps: int) -> ProcessScales:
    """Return the setting of highest evidence that sweeps over the two blocks reach."""
    for _ in range(sweeps):
        before = best
        for block in (smooth_block(best), offset_block(best, *rows.design.offsets)):
            best = block.take(int(np.argmax(rows.evidence(block))))
        if np.array_equal(before.values, best.values):
            break
    return best


def _design(fit: RobustFit, points: RunPoints) -> ProcessDesign:
    share = np.maximum(fit.mean.bind(points.inputs).reducible(fit.theta), LEAST_REDUCIBLE)
    several = len(points.inputs) > 1  # of one input, every value is a size and a budget
    sizes = groups(points.size, *SAME_SIZE) if several and "N" in points.inputs else NO_GROUPS
    budgets = groups(np.log(points.compute), *SAME_BUDGET) if several else NO_GROUPS
    smooths = tuple(smooth(points.logs, length) for length in LENGTHS)
    return ProcessDesign(
        fit, fit.theta, smooths, sizes, budgets, float(np.exp(np.mean(np.log(share)))),
        float(np.exp(np.mean(np.log(points.compute)))), (float(points.compute.min()), float(points.compute.max())),
    )  # fmt: skip


def _relinearise(rows: _Rows, setting: ProcessScales) -> Array:
    """Return the law's coordinates of highest posterior density under one setting, the other parts integrated out."""
    design, trend = rows.design, int(setting.trend[0])
    weights, target = rows.means(trend)
    bound = design.fit.mean.bind(rows.points.inputs)
    scales = design.scales(setting)[0]
    rest, law = np.split(scales, [-bound.mean.prior.size])
    whiten = _whitener(rows.rest(int(setting.length[0])) * rest, weights, len(design.sizes.low))

    def objective(at: Array) -> tuple[float, Array]:
        residual = target - bound.value(at)
        total = float(residual @ whiten(residual) + np.sum(((at - bound.mean.prior) / law) ** 2))
        return total, residual

    def step(at: Array, residual: Array, damping: float) -> Array:
        jacobian = bound.derivatives(at)[1]
        precision = law**-2
        matrix = jacobian.T @ whiten(jacobian)
        matrix[np.diag_indices(law.size)] += precision + damping * np.diag(matrix)
        return np.linalg.solve(matrix, jacobian.T @ whiten(residual) + precision * (bound.mean.prior - at))

    return descend(bound.mean, design.theta, objective, step, GAUSS_NEWTON_STEPS)


def _whitener(features: Array, weights: Array, groups: int) -> Callable[[Array], Array]:
    """Return the product with the inverse covariance of rows of these weights (n,) that have random ``features``
    (n, m), the first of them indicators of ``groups``: X (n,) or (n, c) to R^-1 X, by the Woodbury identity.
    """
    indicators, others = features[:, :groups], features[:, groups:]
    shared = 1.0 + weights @ indicators**2

    def within(columns: Array) -> Array:  # the others left out
        weighted = (weights * columns.T).T
        means = ((indicators.T @ weighted).T / shared).T
        return np.asarray(weighted - (weights * (indicators @ means).T).T)

    prepared = within(others)
    inner = np.linalg.inv(np.linalg.cholesky(np.eye(others.shape[1]) + others.T @ prepared))
    half = inner @ prepared.T
    return lambda columns: np.asarray(within(columns) - half.T @ (half @ columns))
