"""Searches to compare with that no sweep has: a Gaussian process for each cell, local search with equal FLOPs."""

from __future__ import annotations

import math
import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from sweeplaw.analysis.tuning.certificate import neighbours
from sweeplaw.orchestrator.search.contract import Finished, History, Proposal, Setting
from sweeplaw.orchestrator.search.rehearsal.contestants import START, points_a_cell
from sweeplaw.orchestrator.search.rehearsal.recorded_space import RecordedSpace

Array = NDArray[np.float64]

CLIPPED = 0.15  # log loss above the best of a cell beyond which runs are equally bad


class CellProcess:
    """Expected improvement of a Gaussian process (Matern 5/2, by scikit-learn) in each cell alone; cells take turns."""

    def __init__(self, space: RecordedSpace, seed: int, share: float) -> None:
        self._space, self._seed = space, seed
        self._start = max(2, round(START * points_a_cell(space, share)))
        rng = np.random.default_rng(seed)
        self._drawn = [[members[i] for i in rng.permutation(len(members))] for members in space.members]

    def propose(self, history: History) -> Proposal | Finished | None:
        """Return the run of the greatest expected improvement in the cell whose turn it is."""
        cells, taken = len(self._space.cells), history.taken
        for turn in range(cells):
            cell = (history.number + turn) % cells
            left = [one for one in self._drawn[cell] if one not in taken]
            if left:
                ran = [(seen.setting, seen.value) for seen in history.observations if seen.setting.cell == cell]
                known = [(setting, math.inf if value is None else value) for setting, value in ran]
                finite = [value for _, value in known if math.isfinite(value)]
                few = len(known) < self._start or len(finite) < 2
                return Proposal(left[0] if few else self._best(left, known, min(finite)), "expected improvement")
        return None if history.pending else Finished("every setting has run")

    def belief(self, history: History) -> str:
        """Return nothing."""
        return ""

    def _best(self, left: list[Setting], known: list[tuple[Setting, float]], least: float) -> Setting:
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        kernel = ConstantKernel(1.0) * Matern([2.0] * len(self._space.axes), (0.3, 30.0), nu=2.5) + WhiteKernel(1e-3)
        process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=self._seed)
        losses = np.array([min(math.log(value / least), CLIPPED) for _, value in known])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            process.fit(_octaves([setting for setting, _ in known]), losses)
            mean, sd = process.predict(_octaves(left), return_std=True)
        ahead = (losses.min() - mean) / np.maximum(sd, 1e-12)
        return left[int(np.argmax(sd * (ahead * norm.cdf(ahead) + norm.pdf(ahead))))]


class EqualFlops:
    """Local search with the same FLOPs in each cell, one step at a time from the optimum of the nearest cell done.

    What a cell leaves is shared by the dearer ones.
    """

    def __init__(self, space: RecordedSpace, seed: int, share: float) -> None:
        self._space = space
        self._budget = share * space.total
        self._ladders = [list(axis.values) for axis in space.axes]
        rng = np.random.default_rng(seed)
        self._start = space.members[0][int(rng.integers(len(space.members[0])))]

    def propose(self, history: History) -> Proposal | Finished | None:
        """Return the next step in the cheapest cell that has FLOPs left, or the first run of another one."""
        best: dict[int, tuple[float, Setting]] = {}
        spent = dict.fromkeys(range(len(self._space.cells)), 0.0)
        for seen in history.observations:
            cell = seen.setting.cell
            spent[cell] += seen.flops or 0.0
            loss = math.inf if seen.value is None else seen.value
            best[cell] = min(best.get(cell, (math.inf, seen.setting)), (loss, seen.setting), key=lambda one: one[0])
        taken, left = history.taken, self._budget
        for cell in range(len(self._space.cells)):
            quota = left / (len(self._space.cells) - cell)
            left -= spent[cell]
            cost = self._space.outcomes[self._space.members[cell][0]].flops
            if cell not in best:
                done = min(best, key=lambda other: self._space.distance(cell, other), default=None)
                start = self._start if done is None else best[done][1]
                return Proposal(self._space.nearest(start, cell), "from the nearest cell")
            if spent[cell] + cost <= quota:
                for there in self._around(best[cell][1]):
                    if there in self._space.outcomes and there not in taken:
                        return Proposal(there, "a step from the best")
        return None if history.pending else Finished("the FLOPs of every cell are spent")

    def belief(self, history: History) -> str:
        """Return nothing."""
        return ""

    def _around(self, setting: Setting) -> list[Setting]:
        place = tuple(values.index(own) for values, own in zip(self._ladders, setting.values, strict=True))
        steps = neighbours(place, [len(values) for values in self._ladders])
        return [
            Setting(setting.cell, tuple(values[at] for values, at in zip(self._ladders, step, strict=True)))
            for step in steps
        ]


def _octaves(settings: list[Setting]) -> Array:
    return np.log2([[float(value) for (value,) in setting.values] for setting in settings])
