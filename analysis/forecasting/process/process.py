"""The Gaussian process of a forecast: a law, a smooth discrepancy, shared offsets and noise, learnt from the rows.

    log L = f + g (smooth) + offset of the size + offset of the budget + noise

f is the law, linear about its best fit; g is the reducible share of the loss there. The scales of the parts have
grids, and the forecast averages over them by their evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sweeplaw.analysis.fitting.noise.smooth import Smooth
from sweeplaw.analysis.forecasting.process.mixture import quantiles
from sweeplaw.analysis.forecasting.process.offsets import SharedOffsets
from sweeplaw.analysis.forecasting.process.regression import Posterior
from sweeplaw.analysis.forecasting.process.robust import RobustFit
from sweeplaw.analysis.forecasting.process.settings import TREND, ProcessScales

Array = np.ndarray

LEAST_REDUCIBLE = 0.02  # share of the loss
POWER = 1.0  # of the reducible share, to which the discrepancy is proportional


@dataclass(frozen=True, slots=True)
class RunPoints:
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

    def take(self, rows: Array) -> RunPoints:
        """Return the points of these rows, by number or mask."""
        return RunPoints({name: column[rows] for name, column in self.inputs.items()}, self.compute[rows])


@dataclass(frozen=True, slots=True)
class LawAt:
    """The log of the law at the prior's mean (n,), by its derivatives elsewhere, these derivatives (n, p), and the
    scale of the discrepancy (n,): the reducible share of the loss over its geometric mean on the rows."""

    value: Array
    jacobian: Array
    scale: Array


@dataclass(frozen=True, slots=True)
class ProcessDesign:
    """The features of the process at its rows, and what they need to be computed elsewhere."""

    fit: RobustFit
    theta: Array
    smooths: tuple[Smooth, ...]
    sizes: SharedOffsets
    budgets: SharedOffsets
    reducible: float
    compute: float
    range: tuple[float, float]

    @property
    def offsets(self) -> tuple[bool, bool]:
        """Whether several runs share a size, and whether several share a budget."""
        return len(self.sizes.low) > 0, len(self.budgets.low) > 0

    def law_at(self, points: RunPoints) -> LawAt:
        """Return the law about its coordinates at points, and the scale of the discrepancy there."""
        bound = self.fit.mean.bind(points.inputs)
        value, jacobian = bound.derivatives(self.theta)
        share = np.maximum(bound.reducible(self.fit.theta), LEAST_REDUCIBLE)
        scale = (np.nan_to_num(share, nan=1.0) / self.reducible) ** POWER
        return LawAt(value + jacobian @ (bound.mean.prior - self.theta), jacobian, scale)

    def rest_at(self, points: RunPoints, law: LawAt, length: int) -> tuple[Array, Array]:
        """Return the features of all but the law at points (n, m), and the variances they leave, by part (3, n).

        The first are the indicators of the sizes, of which every run is in one at most.
        """
        features, left = self.smooths[length].at(points.logs)
        sizes, alone = self.sizes.at(points.size)
        budgets, lone = self.budgets.at(np.log(points.compute))
        columns = np.concatenate([sizes, law.scale[:, None] * features, budgets], axis=1)
        return columns, np.stack([law.scale**2 * left, alone, lone])

    def scales(self, settings: ProcessScales) -> Array:
        """Return the prior standard deviation of each feature at each setting of one length: (k, m).

        The features are those of `rest_at`, then the derivatives of the law.
        """
        ranks = [len(self.sizes.low), len(self.smooths[settings.length[0]].pivots), len(self.budgets.low)]
        law = np.tile(self.fit.mean.spread / self.fit.scale, (len(settings.values), 1))
        return np.concatenate([np.repeat(settings.scales[:, [1, 0, 2]], ranks, axis=1), law], axis=1)

    def weights(self, points: RunPoints, trend: int) -> Array:
        """Return the inverse variance of the noise at points, relative to that at the centre of the rows.

        The trend ends where the rows do.
        """
        return np.asarray((np.clip(points.compute, *self.range) / self.compute) ** (2 * TREND[trend]))


@dataclass(frozen=True, slots=True)
class Part:
    """The settings of one length and trend, with their log evidence (k,) and the posterior at each."""

    settings: ProcessScales
    evidence: Array
    posterior: Posterior

    @property
    def length(self) -> int:
        """The number of the length of the smooth part."""
        return int(self.settings.length[0])

    def at(self, law: LawAt, rest: tuple[Array, Array], noise: Array) -> tuple[Array, Array]:
        """Return the centre and the squared scale of log L at points under each setting: (k, n).

        ``noise`` (n,) is the variance of a run's own, in units of that at the centre of the rows.
        """
        features = np.concatenate([rest[0], law.jacobian], axis=1)
        own = self.settings.scales**2 @ rest[1] + noise
        variance = np.array([self.posterior.variance(features, at) for at in range(len(own))])
        centre = np.asarray(law.value + self.posterior.mean @ features.T)
        return centre, self.posterior.noise[:, None] * (own + variance)


@dataclass(frozen=True, slots=True)
class Process:
    """A learnt process: its design, and the settings that matter. ``inflation`` multiplies its scales."""

    design: ProcessDesign
    parts: tuple[Part, ...]
    inflation: float = 1.0

    @property
    def weights(self) -> Array:
        """The weight of each setting, in the order of the parts: (k,)."""
        evidence = np.concatenate([part.evidence for part in self.parts])
        weights = np.exp(evidence - np.max(evidence))
        return np.asarray(weights / np.sum(weights))

    def distribution(self, points: RunPoints, noise: bool) -> tuple[Array, Array, float]:
        """Return the centre and scale (k, n) of log L at points under each setting, and the degrees of freedom.

        ``noise`` is whether a run's own noise counts.
        """
        law = self.design.law_at(points)
        features = {length: self.design.rest_at(points, law, length) for length in {one.length for one in self.parts}}
        own = [noise / self.design.weights(points, part.settings.trend[0]) for part in self.parts]
        found = [part.at(law, features[part.length], one) for part, one in zip(self.parts, own, strict=True)]
        centres, squares = (np.concatenate([pair[at] for pair in found]) for at in (0, 1))
        return centres, np.sqrt(squares) * self.inflation, self.parts[0].posterior.freedom

    def quantiles(self, points: RunPoints, levels: Sequence[float], noise: bool) -> Array:
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
