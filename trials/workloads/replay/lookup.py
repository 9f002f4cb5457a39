"""The recorded run nearest to a setting: the same texts, and numbers by distance, first of the size, then of the rest.

Numbers are compared in octaves (log2), those of a knob that is zero or negative somewhere in sixths of its range.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweeplaw.trials.quantities import is_number
from sweeplaw.trials.workloads.replay.recorded import Array, RecordedTable

SAME = 1e-9  # octaves: the same number, written in another way
LINEAR_UNITS = 6  # units in the range of a knob that has no logarithm


@dataclass(frozen=True, slots=True)
class NearestSetting:
    """The rows of a table at the recorded setting nearest to one, and its ``distance`` in octaves."""

    rows: tuple[int, ...]
    distance: float


class Lookup:
    """Finds settings in a recorded table. ``size`` names the knobs that make up the size of a run: another size is
    chosen only where the table has none of the wanted one.
    """

    def __init__(self, table: RecordedTable, size: Collection[str]) -> None:
        self.size = tuple(name for name in table.values if name in size)
        self._text = tuple(name for name, values in table.values.items() if not all(map(is_number, values)))
        numbers = [name for name in table.values if name not in self._text]
        self._scales = {name: _Scale.of(table.values[name]) for name in numbers}
        self.others = tuple(name for name in numbers if name not in self.size)
        self._sized = tuple(name for name in self.size if name not in self._text)
        self._rows: dict[tuple[Any, ...], NDArray[np.int64]] = {}
        by_text: dict[tuple[Any, ...], list[int]] = {}
        for row in range(len(table)):
            by_text.setdefault(tuple(table.values[name][row] for name in self._text), []).append(row)
        self._rows = {key: np.array(rows, dtype=np.int64) for key, rows in by_text.items()}
        self._at = {
            name: np.array([scale(value) for value in table.values[name]]) for name, scale in self._scales.items()
        }

    def nearest(self, values: Mapping[str, Any]) -> NearestSetting | None:
        """Return the recorded setting nearest to these values of all knobs; None if none has these texts."""
        rows = self._rows.get(tuple(values[name] for name in self._text))
        if rows is None:
            return None
        size = self._distances(values, rows, self._sized)
        if size is None:
            return None
        least = float(size.min())
        rows = rows[size <= least + SAME]
        rest = self._distances(values, rows, self.others)
        if rest is None:
            return None
        near = float(rest.min())
        return NearestSetting(tuple(rows[rest <= near + SAME].tolist()), math.hypot(least, near))

    def neighbours(self, row: int) -> NDArray[np.int64]:
        """Return the rows that differ from this one in numbers other than the size alone."""
        own = next(rows for rows in self._rows.values() if row in rows)
        same = np.ones(len(own), dtype=bool)
        for name in self._sized:
            same &= np.abs(self._at[name][own] - self._at[name][row]) <= SAME
        return own[same]

    def coordinates(self, rows: NDArray[np.int64]) -> Array:
        """Return the numbers other than the size of these rows, in octaves: (rows, knobs)."""
        return (
            np.stack([self._at[name][rows] for name in self.others], axis=1)
            if self.others
            else np.zeros((len(rows), 0))
        )

    def place(self, values: Mapping[str, Any]) -> Array:
        """Return the same of a setting that need not be recorded: (knobs,)."""
        return np.array([self._scales[name](values[name]) for name in self.others])

    def _distances(self, values: Mapping[str, Any], rows: NDArray[np.int64], names: Sequence[str]) -> Array | None:
        """Return the distance of each row by these knobs; None if one of the values has no logarithm."""
        squares = np.zeros(len(rows))
        for name in names:
            place = self._scales[name](values[name])
            if not math.isfinite(place):
                return None
            squares += (self._at[name][rows] - place) ** 2
        return np.sqrt(squares)


@dataclass(frozen=True, slots=True)
class _Scale:
    """The coordinate of a knob: log2, or units of ``unit`` on a linear scale (``unit`` is None for log2)."""

    unit: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> _Scale:
        if min(values) > 0:
            return cls(None)
        return cls((max(values) - min(values)) / LINEAR_UNITS or 1.0)

    def __call__(self, value: float) -> float:
        if self.unit is not None:
            return value / self.unit
        return math.log2(value) if value > 0 else math.nan
