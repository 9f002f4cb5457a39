"""Groups of the rows of a surface: runs of about the same compute, of one size, of one amount of data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Array = np.ndarray

SAME_BUDGET = 0.1  # of log C: within it lie runs of one budget, and beyond it the next one begins
WIDEST_BUDGET = 0.5  # of log C: if steps within SAME_BUDGET lead farther, budgets do not repeat
LEAST_RUNS = 4  # of a budget that counts as repeated
THIRD_OF_A_DECADE = np.log(10) / 3
MOST_GROUPS = 12  # distinct values of an axis that are groups of their own; more are grouped by thirds of a decade


def budgets(inputs: Mapping[str, Array]) -> Array:
    """Return the number of each row's budget, in the order of their compute: (n,).

    Budgets are clusters of log C where most rows are in clusters of LEAST_RUNS, and thirds of a decade elsewhere.
    """
    log_compute = np.sum([np.log(column) for column in inputs.values()], axis=0)
    order = np.argsort(log_compute, kind="stable")
    ranked = np.empty(len(order), dtype=int)
    ranked[order] = np.concatenate([[0], np.cumsum(np.diff(log_compute[order]) > SAME_BUDGET)])
    sizes = np.bincount(ranked)
    widths = [float(np.ptp(log_compute[ranked == one])) for one in range(len(sizes))] if len(sizes) < len(order) else []
    if widths and sizes[sizes >= LEAST_RUNS].sum() > len(order) / 2 and max(widths) < WIDEST_BUDGET:
        return ranked
    return _thirds(log_compute)


def along(column: Array) -> Array:
    """Return the number of each row's group along one axis: its distinct values, or thirds of a decade of many."""
    values, groups = np.unique(np.round(np.log(column), 2), return_inverse=True)
    return np.asarray(groups.ravel()) if len(values) <= MOST_GROUPS else _thirds(np.log(column))


def _thirds(logs: Array) -> Array:
    cells = np.floor((logs - logs.min()) / THIRD_OF_A_DECADE + 1e-9).astype(int)
    return np.asarray(np.unique(cells, return_inverse=True)[1].ravel())
