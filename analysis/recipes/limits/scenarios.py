"""The scenarios in which every law of a study is fitted: the estimate, draws of its errors, and points left out.

All levels of a study (K, then N, then U) keep an array with one entry a scenario. A draw therefore carries the errors
of a lower level into the next one, and a point that is left out at one level changes all that rests on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeplaw.analysis.fitting.uncertainty import Interval

Array = np.ndarray

ESTIMATE = 0  # the scenario of the losses as they were measured


@dataclass(frozen=True, slots=True)
class Scenarios:
    """``draws`` draws after the estimate, then one scenario for each (axis, value) of ``left_out``."""

    draws: int
    left_out: tuple[tuple[str, float], ...] = ()

    @property
    def count(self) -> int:
        """The number of scenarios, S."""
        return 1 + self.draws + len(self.left_out)

    @property
    def drawn(self) -> slice:
        """Where the draws are."""
        return slice(1, 1 + self.draws)

    @property
    def without(self) -> slice:
        """Where the scenarios are in which a point is left out. A law at its bound has no limit there, as if alone."""
        return slice(1 + self.draws, None)

    def weights(self, axis: str, x: Array) -> Array:
        """Return the weight of each point ``x`` (n,) of an axis in each scenario, 0 where it is left out: (S, n)."""
        weights = np.ones((self.count, len(x)))
        for row, (name, value) in enumerate(self.left_out, start=1 + self.draws):
            if name == axis:
                weights[row] = x != value
        return weights

    def constant(self, values: Array) -> Array:
        """Return ``values`` (n,) in each scenario: (S, n)."""
        return np.tile(np.asarray(values, dtype=float), (self.count, 1))


def central(draws: Array, level: float, method: str) -> Interval | None:
    """Return the central interval of the draws, of which infinite ones count; None if they carry no error.

    That is if all are equal, or undefined. The note counts undefined (NaN) ones, which are excluded.
    """
    known = draws[~np.isnan(draws)]
    if not len(known) or (known == known[0]).all():
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    note = f"undefined in {len(draws) - len(known)} of {len(draws)} draws" if len(known) < len(draws) else ""
    return Interval(float(low), float(high), level, method, note)
