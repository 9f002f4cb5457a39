"""In which order a member sees the windows of its budget: a pure function of its seed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from sweeplaw.trials.corpus.shuffle import Indices, Shuffle
from sweeplaw.trials.corpus.streams import DataBudget

READ_AHEAD = 2**18  # tokens read at a time: what one small batch costs to find is paid once for many


def positions(size: int, seed: int, begin: int, end: int) -> Indices:
    """Budget positions of the windows seen at places ``begin`` to ``end`` of the run.

    Each epoch is its own permutation of range(size); the run goes through them one after another.
    """
    places = np.arange(begin, end)
    epochs = places // size
    order = np.empty_like(places)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        order[here] = Shuffle(size, f"order of seed {seed} in epoch {epoch}")(places[here] % size)
    return order


def batches(
    budget: DataBudget, seed: int, batch_sequences: int, steps: int, begin: int = 0
) -> Iterator[npt.NDArray[np.int64]]:
    """The batch of each step from ``begin`` on: (batch_sequences, context + 1)."""
    ahead = max(1, READ_AHEAD // (batch_sequences * budget.context))
    for first in range(begin, steps, ahead):
        last = min(steps, first + ahead)
        order = positions(budget.size, seed, first * batch_sequences, last * batch_sequences)
        yield from budget.read(order).reshape(last - first, batch_sequences, -1)
