"""Rows to whole trials: the record of a trial with the curve points of its attempt, when the trial has ended.

What the sinks that show whole trials have in common, and what every sink reads from a row.
"""

from __future__ import annotations

import abc
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from sweeplaw.trials.record import CURVE_COLUMNS, CurvePoint, Row, TrialRecord

OPEN_TRIALS = 10_000  # whose points are kept; the oldest go first (their worker died, and no record came)
_NUMBERS = tuple(column.name for column in CURVE_COLUMNS if column.type == "float")


class Gather:
    """Keeps the points of trials that run."""

    def __init__(self) -> None:
        self._points: OrderedDict[str, list[CurvePoint]] = OrderedDict()

    def add(self, rows: Sequence[Row]) -> Iterator[tuple[TrialRecord, list[CurvePoint]]]:
        """Every trial that ends with these rows, with its points."""
        for row in rows:
            if isinstance(row, CurvePoint):
                self._points.setdefault(row.trial_id, []).append(row)
                if len(self._points) > OPEN_TRIALS:
                    self._points.popitem(last=False)
            else:
                points = self._points.pop(row.spec.trial_id, [])
                yield row, [point for point in points if point.attempt == row.attempt]


class WholeTrials(abc.ABC):
    """A sink that shows a trial when it has ended, not before."""

    def __init__(self) -> None:
        self._gather = Gather()

    def write(self, rows: Sequence[Row]) -> None:
        for record, points in self._gather.add(rows):
            self.show(record, points)

    def close(self) -> None:  # noqa: B027  most have nothing to do
        """Every trial that ended has been shown."""

    @abc.abstractmethod
    def show(self, record: TrialRecord, points: Sequence[CurvePoint]) -> None:
        """This trial has ended; ``points`` are those of its attempt, in the order they came."""


def numbers(point: CurvePoint) -> dict[str, float]:
    """The named numbers of a curve point that are known."""
    core = {name: getattr(point, name) for name in _NUMBERS}
    return {name: float(value) for name, value in {**core, **point.metrics}.items() if value is not None}


def results(record: TrialRecord) -> dict[str, float]:
    """The named numbers a trial ended with."""
    found = {**record.outcome.metrics, "train_seconds": record.outcome.train_seconds}
    return {
        name: float(value)
        for name, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def settings(record: TrialRecord) -> dict[str, int | float | str | bool]:
    """What the trial was: its knobs and the sizes they give. Nothing of the launch, its hosts or its environment."""
    sizes = {name: value for name, value in record.cost.columns().items() if value is not None}
    return {**sizes, **record.spec.knobs}
