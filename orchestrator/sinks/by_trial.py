"""Grouping of rows by trial: the record of a completed trial with the curve points of its attempt.

Base class of the sinks that write complete trials, and the values that all sinks read from a row.
"""

from __future__ import annotations

import abc
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from sweeplaw.trials.quantities import is_number
from sweeplaw.trials.record import CURVE_COLUMNS, CurvePoint, Row, TrialRecord

OPEN_TRIALS = 10_000  # with points in memory; the oldest are dropped first (their worker died without a record)
_NUMBERS = tuple(column.name for column in CURVE_COLUMNS if column.type == "float")


class TrialAssembler:
    """Collects the curve points of running trials."""

    def __init__(self) -> None:
        self._points: OrderedDict[str, list[CurvePoint]] = OrderedDict()

    def add(self, rows: Sequence[Row]) -> Iterator[tuple[TrialRecord, list[CurvePoint]]]:
        """Yield every trial that ends with these rows, and the points of its attempt."""
        for row in rows:
            if isinstance(row, CurvePoint):
                self._points.setdefault(row.trial_id, []).append(row)
                if len(self._points) > OPEN_TRIALS:
                    self._points.popitem(last=False)
            else:
                points = self._points.pop(row.spec.trial_id, [])
                yield row, [point for point in points if point.attempt == row.attempt]


class CompleteTrialSink(abc.ABC):
    """A sink that writes a trial once it has ended."""

    def __init__(self) -> None:
        self._assembler = TrialAssembler()

    def write(self, rows: Sequence[Row]) -> None:
        for record, points in self._assembler.add(rows):
            self.write_trial(record, points)

    def close(self) -> None:  # noqa: B027  optional
        """Finish; all trials have been written."""

    @abc.abstractmethod
    def write_trial(self, record: TrialRecord, points: Sequence[CurvePoint]) -> None:
        """Write a trial that has ended; ``points`` are those of its attempt, in order of arrival."""


def numbers(point: CurvePoint) -> dict[str, float]:
    """Return the known numbers of a curve point by name."""
    core = {name: getattr(point, name) for name in _NUMBERS}
    return {name: float(value) for name, value in {**core, **point.metrics}.items() if value is not None}


def results(record: TrialRecord) -> dict[str, float]:
    """Return the final numbers of a trial by name."""
    found = {**record.outcome.metrics, "train_seconds": record.outcome.train_seconds}
    return {name: float(value) for name, value in found.items() if is_number(value)}


def settings(record: TrialRecord) -> dict[str, int | float | str | bool]:
    """Return the knobs and sizes of the trial, without anything about the launch, its hosts or its environment."""
    sizes = {name: value for name, value in record.cost.columns().items() if value is not None}
    return {**sizes, **record.spec.knobs}
