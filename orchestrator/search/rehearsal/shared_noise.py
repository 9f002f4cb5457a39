"""Noise that runs of one value of a knob share: runs of one batch size, say, which end on the same batches of data.

A surface through single runs takes such noise for shape. Here the log of the loss near the best of each cell is a
quadratic in the coordinates plus a Gaussian process (Matern 5/2) plus an effect of each value of one knob plus noise;
the variances are those of greatest restricted likelihood over all cells (Patterson and Thompson 1971). The process is
smooth in every knob while the effects jump from value to value, which separates them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sweeplaw.trials.workloads.replay.surface import LENGTHS, Array, matern, monomials

PROCESS = (0.0, 0.1, 1.0, 10.0, 100.0)  # variance of the process over that of the noise of a run alone
EFFECT = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)  # and that of the effects
LIKELIER = 10.0  # gain of twice the log likelihood from which the effects are believed
LEAST = 1e-6  # relative; below any training noise, effects are rounding
DEGREE = 2
DRAWS = 1000  # of the noise, for the regret that it causes


@dataclass(frozen=True, slots=True, eq=False)
class NearRuns:
    """Runs near the best of one cell: coordinates ``points`` (n, knobs), log losses ``z`` (n,)."""

    points: Array
    z: Array

    @property
    def informative(self) -> bool:
        """Whether there are more runs than terms of a quadratic, by two at least."""
        return bool(len(self.z) > monomials(self.points[:1], DEGREE).shape[1] + 2)

    @property
    def trend(self) -> Array:
        """The terms of a quadratic (n, terms)."""
        return monomials(self.points - self.points.mean(axis=0), DEGREE)

    def alike(self, knob: int) -> Array:
        """Return which pairs of runs have one value of a knob: (n, n), 0 or 1."""
        return np.asarray(np.equal.outer(self.points[:, knob], self.points[:, knob]), dtype=float)


@dataclass(frozen=True, slots=True)
class SharedNoise:
    """Noise shared by the runs of one value of the knob number ``knob``: relative standard deviations of the part that
    is ``shared``, and of the part of a run ``alone``. ``length`` and ``process`` are those of the smooth surface.
    """

    knob: int
    shared: float
    alone: float
    length: float
    process: float

    @property
    def sd(self) -> float:
        """The relative standard deviation of one run's loss."""
        return math.hypot(self.shared, self.alone)

    def surface(self, runs: NearRuns) -> Array:
        """Return the log losses (n,) without either part of the noise: the best linear unbiased prediction."""
        smooth = self.process**2 * matern(runs.points, runs.points, self.length)
        noise = self.shared**2 * runs.alike(self.knob) + self.alone**2 * np.eye(len(runs.z))
        inverse, trend = np.linalg.inv(smooth + noise), runs.trend
        through = np.linalg.lstsq(trend.T @ inverse @ trend, trend.T @ inverse @ runs.z, rcond=None)[0]
        return np.asarray(trend @ through + smooth @ inverse @ (runs.z - trend @ through))

    def regret(self, runs: NearRuns, seed: int) -> float:
        """Return the mean regret, over draws of both parts of the noise, of the lowest run of the surface."""
        surface, rng = self.surface(runs), np.random.default_rng(seed)
        values, of_run = np.unique(runs.points[:, self.knob], return_inverse=True)
        jumps = self.shared * rng.standard_normal((DRAWS, len(values)))[:, of_run]
        seen = surface + jumps + self.alone * rng.standard_normal((DRAWS, len(surface)))
        return float(np.mean(np.exp(seen[:, int(np.argmin(surface))] - seen.min(axis=1)) - 1))


def shared_noise(cells: Sequence[NearRuns]) -> SharedNoise | None:
    """Return the noise that runs of one value of a knob share, None if it is not more likely than a smooth surface."""
    informative = [runs for runs in cells if runs.informative]
    if not informative:
        return None
    found = list(_likelihoods(informative))
    without = min(likelihood for likelihood, one in found if not one.shared)
    likelihood, best = min(found, key=lambda item: item[0])
    return best if best.shared > LEAST and likelihood < without - LIKELIER else None


def _likelihoods(cells: Sequence[NearRuns]) -> Iterator[tuple[float, SharedNoise]]:
    """Yield the restricted likelihood, times -2, of each combination of variances, and these."""
    bases = [np.linalg.qr(runs.trend, mode="complete")[0][:, runs.trend.shape[1] :] for runs in cells]
    rests = [basis.T @ runs.z for basis, runs in zip(bases, cells, strict=True)]
    count = sum(map(len, rests))
    for length in LENGTHS:
        smooth = [b.T @ matern(runs.points, runs.points, length) @ b for b, runs in zip(bases, cells, strict=True)]
        for knob in range(cells[0].points.shape[1]):
            alike = [b.T @ runs.alike(knob) @ b for b, runs in zip(bases, cells, strict=True)]
            for process in PROCESS:
                for effect in EFFECT:
                    squares = logs = 0.0
                    for one, same, rest in zip(smooth, alike, rests, strict=True):
                        root = np.linalg.cholesky(np.eye(len(rest)) + process * one + effect * same)
                        squares += float(np.sum(np.linalg.solve(root, rest) ** 2))
                        logs += 2 * float(np.log(np.diagonal(root)).sum())
                    if not squares > 0:
                        continue
                    alone = math.sqrt(squares / count)
                    yield (
                        count * math.log(squares / count) + logs,
                        SharedNoise(knob, alone * math.sqrt(effect), alone, length, alone * math.sqrt(process)),
                    )
