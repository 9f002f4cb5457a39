"""The order in which a member sees the windows of its budget: a pure function of its seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sweeplaw.trials.accounting import WEIGHT_PARTS, real_parts
from sweeplaw.trials.corpus.shuffle import Indices, Shuffle
from sweeplaw.trials.corpus.streams import DataBudget

READ_AHEAD = 2**18  # tokens read at a time, which amortizes the cost of finding a small batch


@dataclass(frozen=True, eq=False)
class Mixture:
    """Windows of ``real`` and of ``synthetic`` text, of which the latter are a share ``weight`` of all, below 1.

    The two alternate as evenly as the weight allows: of the first n windows of a run, n (1 - weight) are real, rounded
    up. Each kind is seen in an order of its own, epoch after epoch, and that of the real text is what it would be
    without the other.
    """

    real: DataBudget
    synthetic: DataBudget
    weight: float

    @property
    def context(self) -> int:
        """Tokens of a window that are predicted."""
        return self.real.context

    def real_before(self, numbers: Indices) -> Indices:
        """Return how many of the windows before each of these numbers of the run are real."""
        return -(-numbers * real_parts(self.weight) // WEIGHT_PARTS)


def positions(size: int, seed: int, begin: int, end: int) -> Indices:
    """Return the budget positions of windows number ``begin`` to ``end`` of the run.

    The run goes through the epochs one after another; each is its own permutation of range(size).
    """
    numbers = np.arange(begin, end)
    epochs = numbers // size
    order = np.empty_like(numbers)
    for epoch in np.unique(epochs):
        inside = epochs == epoch
        order[inside] = Shuffle(size, f"order of seed {seed} in epoch {epoch}")(numbers[inside] % size)
    return order


def read(data: DataBudget | Mixture, seed: int, begin: int, end: int) -> npt.NDArray[np.int64]:
    """Return windows number ``begin`` to ``end`` of the run, (windows, context + 1)."""
    if isinstance(data, DataBudget):
        return data.read(positions(data.size, seed, begin, end))
    before = data.real_before(np.arange(begin, end + 1))
    is_real = np.diff(before) > 0
    first, last = int(before[0]), int(before[-1])
    windows = np.empty((end - begin, data.context + 1), dtype=np.int64)
    windows[is_real] = data.real.read(positions(data.real.size, seed, first, last))
    windows[~is_real] = data.synthetic.read(positions(data.synthetic.size, seed, begin - first, end - last))
    return windows


def batches(
    data: DataBudget | Mixture, seed: int, batch_sequences: int, steps: int, begin: int = 0
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the batch of each step from ``begin`` on: (batch_sequences, context + 1)."""
    ahead = max(1, READ_AHEAD // (batch_sequences * data.context))
    for first in range(begin, steps, ahead):
        last = min(steps, first + ahead)
        windows = read(data, seed, first * batch_sequences, last * batch_sequences)
        yield from windows.reshape(last - first, batch_sequences, -1)
