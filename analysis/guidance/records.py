"""Records of a search in their order: log losses, diverged and missing runs, the best of each cell, what was spent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sweeplaw.analysis.guidance.space import Array, CandidateSpace, Index
from sweeplaw.trials.errors import InputError

MOST_FAULTS = 5


class Records:
    """Records so far. ``index`` and ``y`` hold runs with a loss, inf for diverged ones; a missing loss tells nothing,
    but its point is not run again.
    """

    def __init__(self, space: CandidateSpace) -> None:
        self.space = space
        self.index: list[int] = []
        self.y: list[float] = []
        self.best_so_far: list[float] = []  # of the record's cell, with this record
        self.best: Array = np.full(len(space.cells), np.inf)
        self.leader: Index = np.full(len(space.cells), -1)
        self.tried: NDArray[np.bool_] = np.zeros(len(space), dtype=bool)
        self.lost: NDArray[np.bool_] = np.zeros(len(space), dtype=bool)  # diverged, failed or missing
        self.spent = 0.0

    def __len__(self) -> int:
        return len(self.index)

    @property
    def any_loss(self) -> bool:
        """Whether any run has a loss: without one, nothing tells one setting from another."""
        return bool(np.isfinite(self.best).any())

    def add(self, indices: Sequence[int], values: Sequence[float], failed: Sequence[bool] | None = None) -> None:
        """Add runs in their order: loss, inf if diverged, nan if missing; ``failed`` ones tell nothing.

        Raise InputError without adding any if an index or a value is invalid.
        """
        broken = [False] * len(indices) if failed is None else list(failed)
        if not len(indices) == len(values) == len(broken):
            raise InputError(f"{len(indices)} indices, {len(values)} values and {len(broken)} states of records differ")
        faults = [
            f"record {n}: point {point} (accepted: 0 to {len(self.space) - 1})"
            for n, point in enumerate(indices)
            if not 0 <= point < len(self.space)
        ]
        faults += [
            f"record {n}: loss = {value:g} (accepted: a positive number, as regret is relative to the loss)"
            for n, (value, bad) in enumerate(zip(values, broken, strict=True))
            if value <= 0 and not bad
        ]
        if faults:
            rest = [f"and {len(faults) - MOST_FAULTS} more"] if len(faults) > MOST_FAULTS else []
            raise InputError(faults[:MOST_FAULTS] + rest, where="records of a search")
        for point, value, bad in zip(indices, values, broken, strict=True):
            self._add(int(point), np.nan if bad else float(value))

    def _add(self, point: int, value: float) -> None:
        cell = self.space.cell[point]
        self.tried[point] = True
        self.spent += float(self.space.cost[point])
        if not np.isfinite(value):
            self.lost[point] = True
        if np.isnan(value):
            return
        y = float(np.log(value))
        if y < self.best[cell]:
            self.best[cell], self.leader[cell] = y, point
        self.index.append(point)
        self.y.append(y)
        self.best_so_far.append(float(self.best[cell]))

    def first(self, count: int) -> tuple[Index, Array, Array]:
        """Return points and log losses of the first records, and the best of each cell among them.

        Diverged runs are left out where the cell has no loss yet: nothing says what they are worse than.
        """
        index, y = np.array(self.index[:count], dtype=np.int64), np.array(self.y[:count], dtype=float)
        best = np.full(len(self.space.cells), np.inf)
        np.minimum.at(best, self.space.cell[index], y)
        known = np.isfinite(best[self.space.cell[index]])
        return index[known], y[known], best
