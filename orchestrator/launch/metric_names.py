"""A bound on the number of metric names in one launch, because each becomes a mostly empty column of the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from sweeplaw.trials.record import SHARED_COLUMNS, Row, TrialRecord

NAME_LIMIT = 2000

Value = TypeVar("Value")


class MetricNames:
    """The names in the rows of a launch, at most NAME_LIMIT; ``cut`` counts the rows that had further ones."""

    def __init__(self) -> None:
        self.cut = 0
        self._names = set(SHARED_COLUMNS)  # those of every store, such as val_loss, are not counted

    def bounded(self, row: Row) -> Row:
        """Return the row without values under further names."""
        metrics: Mapping[str, object] = row.outcome.metrics if isinstance(row, TrialRecord) else row.metrics
        for name in metrics:
            if len(self._names) < NAME_LIMIT + len(SHARED_COLUMNS):
                self._names.add(name)
        if metrics.keys() <= self._names:
            return row
        self.cut += 1
        if isinstance(row, TrialRecord):
            return replace(row, outcome=replace(row.outcome, metrics=self._known(row.outcome.metrics)))
        return replace(row, metrics=self._known(row.metrics))

    def problem(self) -> str | None:
        """Return a sentence about what was left out, or None."""
        if not self.cut:
            return None
        return (
            f"{self.cut:,} rows had metrics beyond the first {NAME_LIMIT:,} names of this launch, which were left out: "
            "is a number, such as a seed, part of a name?"
        )

    def _known(self, metrics: Mapping[str, Value]) -> dict[str, Value]:
        return {name: value for name, value in metrics.items() if name in self._names}
