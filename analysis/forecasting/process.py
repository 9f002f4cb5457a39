"""The Gaussian process of a forecast: a law, a smooth discrepancy, shared offsets and noise, learnt from the rows.

    log L = f + g (smooth) + offset of the size + offset of the budget + noise

f is the law, linear about its best fit; g is the reducible share of the loss there. The scales of the parts have
grids, and the forecast averages over them by their evidence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from sweeplaw.analysis.forecasting.features import NO_GROUPS, Groups, Smooth, groups, smooth
from sweeplaw.analysis.forecasting.mean import BoundMean
from sweeplaw.analysis.forecasting.mixture import quantiles
from sweeplaw.analysis.forecasting.regression import Gram, Posterior, evidences, gram, posterior
from sweeplaw.analysis.forecasting.robust import RobustFit, descend, robust_fit
from sweeplaw.analysis.forecasting.settings import (
    LENGTHS,
    START,
    TREND,
    Settings,
    offset_block,
    smooth_block,
    whole_grid,
)
from sweeplaw.analysis.laws.law import Law

Array = np.ndarray

LEAST_REDUCIBLE = 0.02
POWER = 1.0
SAME_SIZE, SAME_BUDGET = (0.01, 0.02), (0.1, 0.35)  # gaps of log N and log C that part groups, and their widest
KEPT = 6.0  # log evidence below the best beyond which a setting has no weight
GAUSS_NEWTON_STEPS = 8
SWEEPS = (2, 1)  # of the search for the best scales, before each time that the law is made linear again


@dataclass(frozen=True, slots=True)
class Points:
    """Where runs are: the law's ``inputs`` by name, and the ``compute`` of each, up to a factor."""

    inputs: Mapping[str, Array]
    compute: Array

    @property
    def logs(self) -> Array:
        """The logarithms of the inputs: (n, d)."""
        return np.stack([np.log(column) for column in self.inputs.values()], axis=1)

    @property
    def size(self) -> Array:
        """The logarithm of N (n,), of the first input where there is none."""
        return np.asarray(np.log(self.inputs.get("N", next(iter(self.inputs.values())))))

    def take(self, rows: Array) -> Points:
        """Return the points of these rows, by number or mask."""
        return Points({name: column[rows] for name, column in self.inputs.items()}, self.compute[rows])


@dataclass(frozen=True, slots=True)
class Design:
    """The features of the process at its rows, and what they need to be computed elsewhere."""

    fit: RobustFit
    theta: Array
    smooths: tuple[Smooth, ...]
    sizes: Groups
    budgets: Groups
    reducible: float
    compute: float
    range: tuple[float, float]

    @property
    def offsets(self) -> tuple[bool, bool]:
        """Whether several runs share a size, and whether several share a budget."""
        return len(self.sizes.low) > 0, len(self.budgets.low) > 0

    def reducible_at(self, bound: BoundMean) -> Array:
        """Return the scale of the discrepancy: the reducible share of the loss over its geometric mean on the rows."""
        share = np.maximum(bound.reducible(self.fit.theta), LEAST_REDUCIBLE)
        return np.asarray((np.nan_to_num(share, nan=1.0) / self.reducible) ** POWER)

    def at(self, points: Points, length: int) -> tuple[Array, Array, Array, Array]:
        """Return the law's log and features (n, m) at points, the shift to the prior's mean of the
        law's coordinates, and the variances that the features leave, by part (3, n)."""
        bound = self.fit.mean.bind(points.inputs)
        value, jacobian = bound.derivatives(self.theta)
        scale = self.reducible_at(bound)
        features, left = self.smooths[length].at(points.logs)
        sizes, alone = self.sizes.at(points.size)
        budgets, lone = self.budgets.at(np.log(points.compute))
        columns = np.concatenate([jacobian, scale[:, None] * features, sizes, budgets], axis=1)
        return value, columns, bound.mean.prior - self.theta, np.stack([scale**2 * left, alone, lone])

    def scales(self, settings: Settings) -> Array:
        """Return the prior standard deviation of each feature at each setting of one length: (k, m)."""
        ranks = [len(self.smooths[settings.length[0]].pivots), len(self.sizes.low), len(self.budgets.low)]
        law = np.tile(self.fit.mean.spread / self.fit.scale, (len(settings.values), 1))
        return np.concatenate([law, np.repeat(settings.scales, ranks, axis=1)], axis=1)

    def weights(self, points: Points, trend: int) -> Array:
        """Return the inverse variance of the noise at points, relative to that at the centre of the rows.

        The trend ends where the rows do.
        """
        return np.asarray((np.clip(points.compute, *self.range) / self.compute) ** (2 * TREND[trend]))


@dataclass(frozen=True, slots=True)
class Part:
    """The settings of one length and trend, with their log evidence (k,) and the posterior at each."""

    settings: Settings
    evidence: Array
    posterior: Posterior

    @property
    def length(self) -> int:
        """The number of the length of the smooth part."""
        return int(self.settings.length[0])

    def at(self, design: Design, points: Points, noise: bool) -> tuple[Array, Array]:
        """Return the centre and the squared scale of log L at points under each setting: (k, n)."""
        value, features, shift, left = design.at(points, self.length)
        law = value + features[:, : len(shift)] @ shift
        own = self.settings.scales**2 @ left + noise / design.weights(points, self.settings.trend[0])
        variance = np.array([self.posterior.variance(features, at) for at in range(len(own))])
        centre = np.asarray(law + self.posterior.mean @ features.T)
        return centre, self.posterior.noise[:, None] * (own + variance)


@dataclass(frozen=True, slots=True)
class Process:
    """A learnt process: its design, and the settings that matter. ``inflation`` multiplies its scales."""

    design: Design
    parts: tuple[Part, ...]
    inflation: float = 1.0

    @property
    def weights(self) -> Array:
        """The weight of each setting, in the order of the parts: (k,)."""
        evidence = np.concatenate([part.evidence for part in self.parts])
        weights = np.exp(evidence - np.max(evidence))
        return np.asarray(weights / np.sum(weights))

    def distribution(self, points: Points, noise: bool) -> tuple[Array, Array, float]:
        """Return the centre and scale (k, n) of log L at points under each setting, and the degrees of freedom.

        ``noise`` is whether a run's own noise counts.
        """
        found = [part.at(self.design, points, noise) for part in self.parts]
        centres, squares = (np.concatenate([pair[at] for pair in found]) for at in (0, 1))
        return centres, np.sqrt(squares) * self.inflation, self.parts[0].posterior.freedom

    def quantiles(self, points: Points, levels: Sequence[float], noise: bool) -> Array:
        """Return quantiles of log L at points: (levels, n)."""
        centres, scales, freedom = self.distribution(points, noise)
        return np.stack([quantiles(level, self.weights, centres, scales, freedom) for level in levels])

    @property
    def params(self) -> Array:
        """The law's parameters (p,), in its own units, about which the process is linear."""
        mean = self.design.fit.mean
        params = mean.params(self.design.theta)
        return params * mean.law.scales(params[None], mean.centre)[0] if mean.law.scaled else params

    def inflated(self, factor: float) -> Process:
        """Return the process with its scales multiplied."""
        return replace(self, inflation=factor)


def learn(law: Law, points: Points, losses: Array, start: Array | None = None) -> Process:
    """Return the process learnt from runs of these losses. ``start`` are parameters of the law to begin at.

    On one thread: for matrices of this size several BLAS threads mostly wait for each other (15 times the CPU).
    """
    with threadpool_limits(1, "blas"):
        return _learn(law, points, losses, start)


def _learn(law: Law, points: Points, losses: Array, start: Array | None) -> Process:
    fit = robust_fit(law, points.inputs, losses, start)
    design = _design(fit, points)
    target = np.log(losses)
    best = START
    for sweeps in SWEEPS:
        best = _search(design, points, target, best, sweeps)
        design = replace(design, theta=_relinearise(design, points, target, best))
    return Process(design, tuple(_parts(design, points, target, whole_grid(*design.offsets))))


def _parts(design: Design, points: Points, target: Array, settings: Settings) -> Iterator[Part]:
    """Yield the settings whose evidence is near the best, with their posteriors."""
    evidence = _evidence(design, points, target, settings)
    kept = evidence > np.max(evidence) - KEPT
    settings, evidence = settings.take(kept), evidence[kept]
    for rows in settings.by_length_and_trend():
        some = settings.take(rows)
        stats = _gram(design, points, target, some)
        yield Part(some, evidence[rows], posterior(stats, design.scales(some)))


def _search(design: Design, points: Points, target: Array, best: Settings, sweeps: int) -> Settings:
    """Return the setting of highest evidence that sweeps over the two blocks reach."""
    for _ in range(sweeps):
        for block in (smooth_block(best), offset_block(best, *design.offsets)):
            best = block.take(int(np.argmax(_evidence(design, points, target, block))))
    return best


def _design(fit: RobustFit, points: Points) -> Design:
    share = np.maximum(fit.mean.bind(points.inputs).reducible(fit.theta), LEAST_REDUCIBLE)
    several = len(points.inputs) > 1  # of one input, every value is a size and a budget
    sizes = groups(points.size, *SAME_SIZE) if several and "N" in points.inputs else NO_GROUPS
    budgets = groups(np.log(points.compute), *SAME_BUDGET) if several else NO_GROUPS
    smooths = tuple(smooth(points.logs, length) for length in LENGTHS)
    return Design(
        fit, fit.theta, smooths, sizes, budgets, float(np.exp(np.mean(np.log(share)))),
        float(np.exp(np.mean(np.log(points.compute)))), (float(points.compute.min()), float(points.compute.max())),
    )  # fmt: skip


def _gram(design: Design, points: Points, target: Array, settings: Settings) -> Gram:
    """Return the sufficient statistics of the rows for settings of one length and trend."""
    value, features, shift, _ = design.at(points, settings.length[0])
    residual = target - value - features[:, : len(shift)] @ shift
    return gram(features, residual, design.fit.weights * design.weights(points, settings.trend[0]))


def _evidence(design: Design, points: Points, target: Array, settings: Settings) -> Array:
    """Return the log of evidence times prior at each setting."""
    found = np.empty(len(settings.values))
    for rows in settings.by_length_and_trend():
        some = settings.take(rows)
        found[rows] = evidences(_gram(design, points, target, some), design.scales(some))
    return np.asarray(found + settings.log_prior)


def _relinearise(design: Design, points: Points, target: Array, setting: Settings) -> Array:
    """Return the law's coordinates of highest posterior density under one setting, the other parts integrated out."""
    length, trend = setting.length[0], setting.trend[0]
    bound = design.fit.mean.bind(points.inputs)
    law = bound.mean.prior.size
    scales = design.scales(setting)[0]
    rest = design.at(points, length)[1][:, law:] * scales[law:]
    weights = design.fit.weights * design.weights(points, trend)
    inner = np.linalg.inv(np.linalg.cholesky(np.eye(rest.shape[1]) + rest.T @ (weights[:, None] * rest)))
    half = inner @ (rest.T * weights)

    def whiten(columns: Array) -> Array:  # X -> R^-1 X, by the Woodbury identity
        return np.asarray((weights * columns.T).T - half.T @ (half @ columns))

    def objective(at: Array) -> tuple[float, Array]:
        residual = target - bound.value(at)
        total = float(residual @ whiten(residual) + np.sum(((at - bound.mean.prior) / scales[:law]) ** 2))
        return total, residual

    def step(at: Array, residual: Array, damping: float) -> Array:
        jacobian = bound.derivatives(at)[1]
        precision = scales[:law] ** -2
        matrix = jacobian.T @ whiten(jacobian)
        matrix[np.diag_indices(law)] += precision + damping * np.diag(matrix)
        return np.linalg.solve(matrix, jacobian.T @ whiten(residual) + precision * (bound.mean.prior - at))

    return descend(bound.mean, design.theta, objective, step, GAUSS_NEWTON_STEPS)
