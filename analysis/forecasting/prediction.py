"""What a forecast says of some points: median, band, and how far beyond the runs they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sweeplaw.analysis.adequacy.reach import distance, unchecked
from sweeplaw.analysis.tables.display import Card, Shown, finite
from sweeplaw.trials.quantities import counted, percent, short

Array = np.ndarray
Of = Literal["law", "run"]

SHOWN_POINTS = 8  # in a headline
NEAR = 1.005  # times the outermost run that still count as inside


@dataclass(frozen=True, repr=False)
class Prediction(Shown):
    """The forecast of the loss at n points: ``median``, ``low`` and ``high`` of the band at ``level``, each (n,).

    ``of`` is what the band is for: the expected loss (``law``), or one new run with its own noise (``run``).
    ``beyond`` says, for the compute and for each input, how far a point lies outside the runs: its ratio to the
    largest run if above 1, to the smallest if below 1, and 1 inside. ``inputs`` are in the table's own units.
    """

    inputs: Mapping[str, Array]
    median: Array
    low: Array
    high: Array
    level: float
    of: Of
    beyond: Mapping[str, Array]
    warnings: tuple[str, ...] = ()

    def headline(self) -> tuple[str, ...]:
        """Return a line for each of the first points, and each warning."""
        lines = [self._line(at) for at in range(min(len(self.median), SHOWN_POINTS))]
        more = len(self.median) - len(lines)
        return (*lines, *([f"and {counted(more, 'more point')}"] if more else []), *self.warnings)

    def _line(self, at: int) -> str:
        point = ", ".join(f"{name} = {short(float(column[at]))}" for name, column in self.inputs.items())
        what = "a new run" if self.of == "run" else "the law"
        band = f"[{self.low[at]:.4f}, {self.high[at]:.4f}] ({percent(self.level)} band of {what})"
        return f"{point}: {self.median[at]:.4f} {band}{self.beyond_in_words(at)}"

    def beyond_in_words(self, at: int) -> str:
        """Return ``, beyond the runs: 12x in compute, 4x in N``; empty inside them."""
        parts = [(name, float(factor[at])) for name, factor in self.beyond.items()]
        words = [f"{_times(factor)} in {name}" for name, factor in parts if factor > NEAR or factor < 1 / NEAR]
        farthest = max((float(distance(factor)) for _, factor in parts), default=1.0)
        return f", beyond the runs: {', '.join(words)}{unchecked(farthest)}" if words else ""

    def to_dict(self) -> dict[str, Any]:
        """Return the points as plain values, one entry each, with what holds for all of them."""
        points = [
            {
                **{name: float(column[at]) for name, column in self.inputs.items()},
                "median": float(self.median[at]), "low": float(self.low[at]), "high": float(self.high[at]),
                "beyond": {name: float(factor[at]) for name, factor in self.beyond.items()},
            }
            for at in range(len(self.median))
        ]  # fmt: skip
        return dict(finite({"level": self.level, "of": self.of, "points": points, "warnings": self.warnings}))

    def card(self) -> Card:
        """Return a table of the points."""
        rows = tuple(
            (
                *(short(float(column[at])) for column in self.inputs.values()),
                f"{self.median[at]:.4f}", f"{self.low[at]:.4f}", f"{self.high[at]:.4f}",
                *(_times(float(factor[at])) for factor in self.beyond.values()),
            )
            for at in range(len(self.median))
        )  # fmt: skip
        heads = (*self.inputs, "loss", "low", "high", *(f"beyond in {name}" for name in self.beyond))
        what = "one new run" if self.of == "run" else "the expected loss"
        line = f"forecast of {counted(len(self.median), 'point')}, with the {percent(self.level)} band of {what}"
        return Card((line,), heads, rows, self.warnings)


def beyond(values: Array, known: Array) -> Array:
    """Return the ratio of each value to the known ones' largest if above it, smallest if below, and 1 inside."""
    return np.asarray(np.where(values > known.max(), values / known.max(), np.minimum(values / known.min(), 1.0)))


def _times(factor: float) -> str:
    if 1 / NEAR <= factor <= NEAR:
        return "–"
    return f"{factor:.3g}x" if factor > 1 else f"1/{1 / factor:.3g}"
