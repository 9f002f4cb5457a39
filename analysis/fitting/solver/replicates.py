"""Rows with the same inputs, such as seeds of one point: the law is evaluated once for all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sweeplaw.analysis.laws.compiled import Bound

Array = np.ndarray

LEAST_ROWS = 1000  # below, sorting costs as much as it saves
LEAST_PER_POINT = 4  # rows per distinct input, on average
SAMPLE = 1000  # evenly spaced rows that are looked at before millions are sorted


@dataclass(frozen=True, slots=True)
class Replicates:
    """The distinct inputs of rows in the order ``order`` (n,): the law ``bound`` to them, and the rows of each.

    Rows of one input stand together: ``counts`` (k,) of them from ``starts`` (k,) on.
    """

    bound: Bound
    order: Array
    starts: Array
    counts: Array

    def spread(self, values: Array) -> Array:
        """Return values (batch, k) of the distinct inputs as those of the ordered rows, (batch, n)."""
        return np.repeat(values, self.counts, axis=1)

    def summed(self, terms: Array) -> Array:
        """Return the sums of terms (batch, n) of the ordered rows over those of each input, (batch, k)."""
        return np.asarray(np.add.reduceat(terms, self.starts, axis=1))


def replicates(bound: Bound) -> Replicates | None:
    """Return the replicates of a law's rows; None where rows or replicates are few, or data differ by member."""
    if bound.rows < LEAST_ROWS or any(column.shape[0] > 1 for column in bound.columns.values()):
        return None
    nodes = bound.function.graph.nodes
    inputs = [column[0] for node, column in bound.columns.items() if nodes[node][0] == "name" and column.shape[1] > 1]
    if not inputs or _mostly_distinct(inputs, bound.rows):
        return None
    order = np.lexsort(inputs)
    new = np.any([np.diff(column[order]) != 0 for column in inputs], axis=0)
    starts = np.concatenate([[0], np.flatnonzero(new) + 1])
    if len(starts) * LEAST_PER_POINT > bound.rows:
        return None
    first = order[starts]
    columns = {node: column[:, first] if column.shape[1] > 1 else column for node, column in bound.columns.items()}
    distinct = replace(bound, columns=columns, rows=len(starts))
    return Replicates(distinct, order, starts, np.diff([*starts, bound.rows]))


def _mostly_distinct(inputs: list[Array], rows: int) -> bool:
    """Return whether a sample of the rows has too many distinct inputs for the law to be saved much work."""
    picked = np.linspace(0, rows - 1, SAMPLE).astype(int)
    distinct = np.unique(np.column_stack([column[picked] for column in inputs]), axis=0)
    return len(distinct) * LEAST_PER_POINT > SAMPLE
