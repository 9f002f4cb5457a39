"""The order in which a member sees the windows of its budget: a pure function of its seed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from sweeplaw.trials.corpus.shuffle import Indices, Shuffle
from sweeplaw.trials.corpus.streams import DataBudget

READ_AHEAD = 2**18  # tokens read at a time, which amortizes the cost of finding a small batch


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


def batches(
    budget: DataBudget, seed: int, batch_sequences: int, steps: int, begin: int = 0
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the batch of each step from ``begin`` on: (batch_sequences, context + 1)."""
    ahead = max(1, READ_AHEAD // (batch_sequences * budget.context))
    for first in range(begin, steps, ahead):
        last = min(steps, first + ahead)
        order = positions(budget.size, seed, first * batch_sequences, last * batch_sequences)
        yield from budget.read(order).reshape(last - first, batch_sequences, -1)
