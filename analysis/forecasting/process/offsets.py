"""Offsets that runs of one size or budget share, as features of a forecast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray

SCATTERED = 0.75  # of the clusters that chance makes, from which on values are a continuum


@dataclass(frozen=True, slots=True)
class SharedOffsets:
    """Offsets that runs of nearly one value share: intervals of its logarithm. A run alone has none of its own."""

    low: Array
    high: Array

    def at(self, logs: Array) -> tuple[Array, Array]:
        """Return the indicators of the groups (n, groups), and 1 for each value that is in none of them (n,)."""
        shared = ((logs[:, None] >= self.low) & (logs[:, None] <= self.high)).astype(float)
        return shared, 1.0 - np.sum(shared, axis=1)


NO_GROUPS = SharedOffsets(np.zeros(0), np.zeros(0))


def groups(logs: Array, gap: float, widest: float) -> SharedOffsets:
    """Return the clusters of values, parted by ``gap`` or more, that have several runs.

    There are none if the values are one cluster, or fall into about as many as values scattered by chance: a continuum,
    in which no value is shared. A cluster wider than ``widest`` is none either.
    """
    ranked = np.sort(logs)
    spread = float(np.ptp(ranked))
    gap = min(gap, spread / len(ranked))
    parts = np.split(ranked, np.flatnonzero(np.diff(ranked) > gap) + 1)
    by_chance = 1 + (len(ranked) - 1) * np.exp(-len(ranked) * gap / spread) if spread > 0 else 1.0
    if len(parts) == 1 or len(parts) > SCATTERED * by_chance:
        return NO_GROUPS
    shared = [part for part in parts if len(part) > 1 and np.ptp(part) <= widest]
    return SharedOffsets(
        np.array([part[0] - gap / 4 for part in shared]), np.array([part[-1] + gap / 4 for part in shared])
    )
