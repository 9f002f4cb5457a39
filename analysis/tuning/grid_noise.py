"""The noise of a run from a grid of settings without seeds: how unevenly the loss runs along its lines.

Third differences along a line of settings, y0 - 3 y1 + 3 y2 - y3, are zero for a smooth valley (a quadratic) and have
20 times the variance of one run; their spread is the noise, whatever the valley looks like (Gasser, Sroka and
Jennen-Steinmetz 1986, with one order more).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweeplaw.analysis.tables.levels import snap

Array = NDArray[np.float64]

NEAR = 0.03  # relative excess loss of the settings looked at: further up the valley is no quadratic
STEP = 0.3  # relative difference of the steps of four settings on one line, in logs, for equal spacing
WEIGHTS = np.array([1.0, -3.0, 3.0, -1.0])


def third_differences(settings: pl.DataFrame, knobs: Sequence[str], loss: str) -> Array:
    """Return the third differences of log loss in units of one run, of lines of settings near the best of one point."""
    near = settings.filter(pl.col(loss) <= pl.col(loss).min() * (1 + NEAR)).drop_nulls(list(knobs))
    numeric = [name for name in knobs if near[name].dtype.is_numeric()]
    found = [value for name in numeric for value in _along(near, name, [one for one in knobs if one != name], loss)]
    return np.array(found)


def _along(near: pl.DataFrame, name: str, others: Sequence[str], loss: str) -> Iterator[float]:
    near = near.filter(pl.col(name) > 0)
    if near.height < len(WEIGHTS):
        return
    levelled = near.with_columns(
        pl.Series(one, snap(near[one].to_numpy().astype(float)))
        for one in (name, *others)
        if near[one].dtype.is_numeric()
    )
    lines = levelled.partition_by(list(others)) if others else [levelled]
    for line in lines:
        ordered = line.sort(name)
        at, z = np.log(ordered[name].to_numpy().astype(float)), np.log(ordered[loss].to_numpy())
        for first in range(len(z) - 3):
            steps = np.diff(at[first : first + 4])
            if steps.min() > 0 and np.ptp(steps) <= STEP * steps.mean():
                yield float(WEIGHTS @ z[first : first + 4]) / np.sqrt(20)
