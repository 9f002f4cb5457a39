"""Compute budgets of a table: which runs come before which, for forecasts that are checked against later runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from sweeplaw.analysis.adequacy.budgets import LEAST_RUNS, budgets

Array = np.ndarray

LEAST_ROWS, LEAST_BUDGETS = 12, 3  # from which a forecast is more than its prior
MOSTLY = 0.9  # share of the runs at budgets of LEAST_RUNS, from which a table is one of budgets
DECADE = np.log(10.0)


@dataclass(frozen=True, slots=True)
class TrainTestSplit:
    """A part of a table that is fitted, and a later part that is forecast, as masks of its rows."""

    name: str
    known: Array
    ahead: Array


def compute_of(inputs: Mapping[str, Array]) -> Array:
    """Return the compute of each run up to a factor: N D, N M K, or the product of all inputs."""
    chosen = next((names for names in (("N", "D"), ("N", "M", "K")) if set(names) <= set(inputs)), tuple(inputs))
    return np.asarray(np.exp(sum(np.log(inputs[name]) for name in chosen)))


def budgets_of(compute: Array) -> Array:
    """Return the number of each run's budget, in order of compute: (n,).

    Budgets are clusters of compute where nearly all runs are in clusters of several, and thirds of a decade elsewhere.
    """
    numbers = budgets({"C": compute})
    if np.mean(np.bincount(numbers)[numbers] >= LEAST_RUNS) >= MOSTLY:
        return numbers
    thirds = np.floor((np.log(compute) - np.log(compute.min())) / (DECADE / 3) + 1e-9).astype(int)
    return np.asarray(np.unique(thirds, return_inverse=True)[1])


def enough(rows: int, budgets: int) -> bool:
    """Return whether runs are enough for a forecast that claims something."""
    return rows >= LEAST_ROWS and budgets >= LEAST_BUDGETS


def next_budgets(numbers: Array) -> Iterator[TrainTestSplit]:
    """Yield a cut after each budget: the runs up to it, and those of the next."""
    for last in range(int(numbers.max(initial=-1))):
        known, ahead = numbers <= last, numbers == last + 1
        if enough(int(known.sum()), last + 1):
            yield TrainTestSplit(f"budget {last + 2}", known, ahead)


def last_decade(compute: Array, numbers: Array) -> Iterator[TrainTestSplit]:
    """Yield the cut of the last decade of compute from the runs before it, if they are enough."""
    logs = np.log(compute)
    known = logs < logs.max() - DECADE
    if enough(int(known.sum()), len(np.unique(numbers[known]))):
        yield TrainTestSplit("last decade", known, ~known)
