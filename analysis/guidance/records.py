"""Records of a search in their order: log losses, diverged and missing runs, the best of each cell, what was spent.

A loss that no other record comes near (`ABSURD`) is no loss: a run that ended at 1e300 has diverged without saying so,
and one at 1e-12 measured nothing. Such a record counts as diverged or missing, by the records up to it alone, so that
the result depends only on the order of the records.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sweeplaw.analysis.guidance.space import Array, CandidateSpace, Index
from sweeplaw.trials.errors import InputError

MOST_FAULTS = 5
ABSURD = float(np.log(1e6))  # distance in log loss from the median of all records, beyond which a loss is none
LARGEST = float(np.log(1e100))  # of a log loss that squares can be computed of


class Records:
    """Records so far. ``index`` and ``y`` hold runs with a loss, inf for diverged ones; a missing loss is not among
    them, but its point is not run again. ``judged`` are the log losses as the records up to each one judge them: inf of
    an absurdly high one, NaN of an absurdly low one.
    """

    def __init__(self, space: CandidateSpace) -> None:
        self.space = space
        self.index: list[int] = []
        self.y: list[float] = []
        self.judged: list[float] = []
        self._ordered: list[float] = []  # finite log losses, ascending
        self._any_absurd = False
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
        """Whether any run has a loss; without one, settings cannot be ranked."""
        return bool(np.isfinite(self.best).any())

    def add(self, indices: Sequence[int], values: Sequence[float], failed: Sequence[bool] | None = None) -> None:
        """Add runs in their order: loss, inf if diverged, nan if missing; those ``failed`` count as missing.

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
        y = float(np.log(value)) if value > 0 else np.nan
        if np.isfinite(y) and abs(y) > LARGEST:
            y = np.inf if y > 0 else np.nan
        if not np.isfinite(y):
            self.lost[point] = True
        if np.isnan(y):
            return
        self.index.append(point)
        self.y.append(y)
        if np.isfinite(y):
            bisect.insort(self._ordered, y)
        low, high = self._sound()
        before, self._any_absurd = (
            self._any_absurd,
            bool(self._ordered) and (self._ordered[0] < low or self._ordered[-1] > high),
        )
        if before or self._any_absurd:
            self._judge_all(low, high)
        elif y < self.best[cell]:
            self.best[cell], self.leader[cell] = y, point
        self.judged.append(np.inf if y > high else np.nan if y < low else y)
        self.best_so_far.append(float(self.best[cell]))

    def _sound(self) -> tuple[float, float]:
        """Return the ends between which a log loss is one."""
        count = len(self._ordered)
        if not count:
            return -np.inf, np.inf
        middle = (self._ordered[(count - 1) // 2] + self._ordered[count // 2]) / 2
        return middle - ABSURD, middle + ABSURD

    def _judge_all(self, low: float, high: float) -> None:
        """Find the best records anew, without those whose loss is none, which count as lost."""
        self.best[:], self.leader[:] = np.inf, -1
        for point, y in zip(self.index, self.y, strict=True):
            cell, sound = self.space.cell[point], low <= y <= high
            self.lost[point] = not sound
            if sound and y < self.best[cell]:
                self.best[cell], self.leader[cell] = y, point

    def first(self, count: int) -> tuple[Index, Array, Array]:
        """Return points and log losses of the first records, and the best of each cell among them.

        Diverged runs are left out where the cell has no loss yet: nothing says what they are worse than.
        """
        index, y = np.array(self.index[:count], dtype=np.int64), np.array(self.y[:count], dtype=float)
        if (finite := np.isfinite(y)).any():
            middle = float(np.median(y[finite]))
            y = np.where(y > middle + ABSURD, np.inf, np.where(y < middle - ABSURD, np.nan, y))
        best = np.full(len(self.space.cells), np.inf)
        has_loss = ~np.isnan(y)
        np.minimum.at(best, self.space.cell[index[has_loss]], y[has_loss])
        known = np.isfinite(best[self.space.cell[index]]) & has_loss
        return index[known], y[known], best
