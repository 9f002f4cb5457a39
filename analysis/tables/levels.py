"""Levels of a knob: values that differ only by rounding are one level.

A grid 2^(k/2) is written as 0.000345 in one file and as 0.0003453 in another. Levels define edges, neighbours, missing
points and duplicates, so values closer than a tolerance are one level. No sweep steps a knob by one percent on purpose;
the widest pair of roundings seen in a released table differs by 0.45 percent (0.0111, 0.01105).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAME_LEVEL = 0.01  # relative width of a level


def levels(values: NDArray[np.float64], tolerance: float = SAME_LEVEL) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the distinct levels of ``values`` (ascending) and the index of each value's level (shape of ``values``).

    A level starts at the smallest value not yet assigned and extends ``tolerance`` (relative) above it, so a dense
    random sample is binned and never chained into one level. Its value is the most frequent one (ties: the smallest).
    Values at or below zero are levels of their own. ``values`` must be finite.
    """
    distinct, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    group = np.zeros(len(distinct), dtype=np.int64)
    start = 0
    for i in range(1, len(distinct)):
        new = distinct[start] <= 0 or distinct[i] > distinct[start] * (1 + tolerance)
        group[i] = group[i - 1] + new
        start = i if new else start
    order = np.lexsort((distinct, -counts, group))  # first of each group: the most frequent value
    first = np.unique(group[order], return_index=True)[1] if len(distinct) else np.zeros(0, dtype=np.int64)
    return distinct[order[first]], group[inverse.reshape(np.shape(values))]


def snap(values: NDArray[np.float64], tolerance: float = SAME_LEVEL) -> NDArray[np.float64]:
    """Return ``values`` with each one replaced by its level."""
    distinct, index = levels(values, tolerance)
    return distinct[index]
