"""Runs whose N and D varied together; they constrain predictions only along that line (one budget or one ratio)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from sweeplaw.analysis.tuning.design import LEAST_SPAN, TOGETHER
from sweeplaw.trials.quantities import short

NEAR = 0.02  # of an exponent, within which it is -1 or 1
LEAST_POINTS = 3  # of a line


@dataclass(frozen=True, slots=True)
class Line:
    """D = ``coefficient`` N^``slope`` of all runs."""

    coefficient: float
    slope: float

    def tokens(self, params: float) -> float:
        """Return D of the runs at this N."""
        return float(self.coefficient * params**self.slope)

    def away(self, params: float, tokens: float) -> float:
        """Return the factor, at least 1, by which D differs from that of the runs at this N."""
        ratio = tokens / self.tokens(params)
        return max(ratio, 1 / ratio)

    @property
    def words(self) -> str:
        """The line in words."""
        if abs(self.slope + 1) < NEAR:
            return f"one compute budget (N D = {short(self.coefficient)})"
        if abs(self.slope - 1) < NEAR:
            return f"one ratio of data to size (D = {short(self.coefficient)} N)"
        return f"D = {self.coefficient:.3g} N^{self.slope:.3f}"


def moved_together(runs: pl.DataFrame) -> Line | None:
    """Return the line on which N and D of ``runs`` lie; None if they vary apart, or one of them does not vary."""
    if not all(runs[name].dtype.is_numeric() for name in ("N", "D")):
        return None
    both = runs.select(pl.col("N", "D").cast(pl.Float64)).drop_nulls()
    positive = both.filter(pl.all_horizontal(pl.all() > 0, pl.all().is_finite()))
    logs = np.log(positive.unique().to_numpy())
    if len(logs) < LEAST_POINTS or (np.ptp(logs, axis=0) < np.log(LEAST_SPAN)).any():
        return None
    if abs(np.corrcoef(logs.T)[0, 1]) <= TOGETHER:
        return None
    slope = np.polyfit(logs[:, 0], logs[:, 1], 1)[0]
    slope = float(np.round(slope)) if abs(abs(slope) - 1) < NEAR else float(slope)
    return Line(float(np.exp((logs[:, 1] - slope * logs[:, 0]).mean())), slope)
