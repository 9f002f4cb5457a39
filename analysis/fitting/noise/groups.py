"""Groups of runs that may share noise: equal size, equal budget, one run's rows, one seed, day, machine or recipe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from sweeplaw.analysis.fitting.checks import Observations
from sweeplaw.trials.errors import InputError, nearest

Array = np.ndarray

ACCEPTED_BY = "auto, row, cell, seed, size, budget, a column"
RUN_COLUMNS = ("trial_id", "run_id", "run")  # whose repeated values are points of one learning curve
SHARED_COLUMNS = ("seed", "launch", "launch_id", "day", "date", "source", "host", "node", "cluster", "recipe")
LEAST_RUNS = 6  # fewer are rather the numbers of repetitions
LEAST_GROUPS = 3  # fewer say nothing about the spread between groups
MAX_GROUP_SHARE = 0.9  # of the rows; with more groups than that, hardly any run shares one


@dataclass(frozen=True, slots=True)
class RowGroups:
    """A division of the rows: its name in ``--by``, the number of each row's group, what several groups are called."""

    name: str
    labels: Array
    plural: str

    @property
    def count(self) -> int:
        """Number of groups."""
        return int(self.labels.max()) + 1

    def take(self, rows: Array) -> RowGroups:
        """Return the division of some of the rows, its groups numbered anew."""
        return replace(self, labels=np.unique(self.labels[rows], return_inverse=True)[1].reshape(-1))


def candidates(observations: Observations) -> Iterator[RowGroups]:
    """Yield the divisions of the rows that may share noise and have runs in common."""
    for groups in _all(observations):
        if LEAST_GROUPS <= groups.count <= MAX_GROUP_SHARE * len(groups.labels):
            yield groups


def curves(observations: Observations) -> RowGroups | None:
    """Return the runs of a table with several rows of a run, its learning curve; None for any other table.

    A run has one size; this distinguishes run names from repetition numbers.
    """
    frame = observations.frame
    for name in RUN_COLUMNS:
        if name in frame.columns and frame[name].null_count() == 0 and 2 * frame[name].n_unique() <= frame.height:
            labels = labels_of(frame.select(name))
            if labels.max() + 1 >= LEAST_RUNS and _constant(observations.inputs.get("N"), labels):
                return RowGroups("run", labels, "runs")
    return None


def _constant(column: Array | None, labels: Array) -> bool:
    """Return whether the column has one value in each group."""
    if column is None:
        return True
    first = np.zeros(int(labels.max()) + 1)
    first[labels] = column
    return bool(np.allclose(first[labels], column, rtol=1e-6))


def _all(observations: Observations) -> Iterator[RowGroups]:
    surface = {"N", "D"} <= set(observations.inputs)
    columns = [name for name in SHARED_COLUMNS if name in observations.frame.columns]
    for name in (*(("size", "budget") if surface else ()), *columns):
        yield named(observations, name)


def by_number(observations: Observations, name: str) -> RowGroups:
    """Return the runs of equal size (ln N to two decimals) or equal budget (ln ND to one decimal).

    Values are rounded to the nearest or down, whichever gives fewer groups: a value at an edge would split a group.
    """
    inputs = observations.inputs
    log = np.log(inputs["N"]) if name == "size" else np.log(inputs["N"]) + np.log(inputs["D"])
    steps = log * (100 if name == "size" else 10)
    near, below = (np.unique(to(steps), return_inverse=True)[1].reshape(-1) for to in (np.round, np.floor))
    return RowGroups(name, below if below.max() < near.max() else near, f"{name}s")


def named(observations: Observations, name: str) -> RowGroups:
    """Return the division that ``--by NAME`` asks for: size, budget, run or a column. Raise InputError."""
    columns = observations.frame.columns
    needs = {"size": {"N"}, "budget": {"N", "D"}}.get(name)
    if needs is not None and needs <= set(observations.inputs):
        return by_number(observations, name)
    if name in columns:
        return RowGroups(name, labels_of(observations.frame.select(name)), f"values of {name}")
    if name == "run" and (found := curves(observations)):
        return found
    known = ["auto", "row", "cell", "seed", "size", "budget", *columns]
    raise InputError(f"by = {name!r} is not known (accepted: {ACCEPTED_BY}){nearest(name, known)}")


def labels_of(columns: pl.DataFrame) -> Array:
    """Return the number of each row's group: 0, 1, ... for the distinct rows of the columns."""
    return np.asarray((columns.select(pl.struct(pl.all()).rank("dense")).to_series().to_numpy() - 1).astype(int))


def nested(inner: Array, outer: Array) -> bool:
    """Return whether each inner group lies in one outer group."""
    pairs = int(np.unique(np.stack([inner, outer]), axis=1).shape[1])
    return pairs == int(inner.max()) + 1


def crossed(first: Array, second: Array) -> Array:
    """Return the number of each row's pair of groups."""
    return np.unique(np.stack([first, second]), axis=1, return_inverse=True)[1].reshape(-1)
