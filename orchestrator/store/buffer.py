"""Rows that wait for their segment to be sealed, column by column: a tenth of what they take as Python objects."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from sweeplaw.trials.record import Column
from sweeplaw.trials.store_format import columns
from sweeplaw.trials.store_format.journal import Row

BATCH_ROWS = 512  # made into columns at once: 10 ms, and less than 2 MB of objects before


class Unsealed:
    """The rows of one open segment; ``declared`` are the columns they all have."""

    def __init__(self, declared: Sequence[Column]) -> None:
        self._declared = declared
        self._rows: list[Row] = []
        self._batches: list[pa.Table] = []

    def __len__(self) -> int:
        return len(self._rows) + sum(batch.num_rows for batch in self._batches)

    def add(self, rows: Sequence[Row]) -> None:
        """These rows, `columns.fitted` before."""
        self._rows += rows
        if len(self._rows) >= BATCH_ROWS:
            self._batch()

    def table(self) -> pa.Table:
        """All rows, in the order they came."""
        if self._rows or not self._batches:
            self._batch()
        return columns.joined(self._batches)

    def _batch(self) -> None:
        self._batches.append(columns.table(self._rows, self._declared))
        self._rows = []
