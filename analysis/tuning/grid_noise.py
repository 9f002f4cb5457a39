"""The noise of a run: from repeated settings, else from how unevenly the loss runs along the lines of a grid.

Third differences along a line of settings, y0 - 3 y1 + 3 y2 - y3, are zero for a smooth valley (a quadratic) and have
20 times the variance of one run; their spread is the noise, whatever the valley looks like (Gasser, Sroka and
Jennen-Steinmetz 1986, with one order more).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweeplaw.analysis.tables.levels import snap
from sweeplaw.analysis.tuning.repeats import between_seeds
from sweeplaw.trials.quantities import counted, percent

Array = NDArray[np.float64]

NEAR = 0.03  # relative excess loss of the settings looked at: further up the valley is no quadratic
STEP = 0.3  # relative difference of the steps of four settings on one line, in logs, for equal spacing
WEIGHTS = np.array([1.0, -3.0, 3.0, -1.0])
LEAST_DIFFERENCES = 8  # of a grid, from which the noise is taken where there are no seeds


@dataclass(frozen=True, slots=True)
class RunNoise:
    """Standard deviation ``sd`` of log loss of a run, from ``freedom`` degrees of freedom of ``origin``."""

    sd: float
    freedom: int
    origin: str

    def sentence(self) -> str:
        """Return ``noise of a run .4 % of its loss, from seeds (20 degrees of freedom)``."""
        free = f"{counted(self.freedom, 'degree')} of freedom"
        return f"noise of a run {percent(float(f'{self.sd:.2g}'))} of its loss, from {self.origin} ({free})"

    def values(self) -> dict[str, Any]:
        """Return the noise as plain values for JSON."""
        return {"relative_sd": self.sd, "freedom": self.freedom, "origin": self.origin}


def run_noise(every: pl.DataFrame, points: Iterable[pl.DataFrame], knobs: Sequence[str], loss: str) -> RunNoise | None:
    """Return the noise of a run from settings as `repeats.settings` makes them, or None if it cannot be estimated.

    ``points`` are the settings of each point. Seeds are asked first, then neighbours in a grid.
    """
    noise, freedom = between_seeds(every)
    if noise is not None:
        return RunNoise(noise, freedom, "seeds")
    lines = (part for part in points if part.height >= len(WEIGHTS))
    found = np.concatenate([np.zeros(0), *(third_differences(part, knobs, loss) for part in lines)])
    if len(found) >= LEAST_DIFFERENCES and (spread := 1.4826 * float(np.median(np.abs(found)))) > 0:
        return RunNoise(spread, len(found) // 4, "neighbours")  # four settings make one difference
    return None


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
