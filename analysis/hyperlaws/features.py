"""Features of a law for an optimum: an intercept, the logs of the axes, one offset per recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweeplaw.analysis.tuning.cells import CellTable
from sweeplaw.analysis.tuning.design import LEAST_SPAN, TOGETHER
from sweeplaw.trials.errors import InputError, nearest

Array = NDArray[np.float64]

# Step Law (arXiv 2503.04715, section 4) finds that the best batch depends on D alone; a batch knob has that form by
# default, and the form on all axes is reported with it.
TOKEN_AXES = ("D", "tokens")


@dataclass(frozen=True, slots=True)
class Features:
    """``matrix`` (cells, q) with columns ``names``, the first "1"; its logs are centered at ``centers`` (q,).

    ``allowed`` (knobs, q): the features of each knob's law. ``notes``: the features left out.
    """

    names: tuple[str, ...]
    matrix: Array
    centers: Array
    allowed: NDArray[np.bool_]
    notes: tuple[str, ...]

    def at(self, axes: Mapping[str, float], recipe: Mapping[str, str] | None = None) -> Array:
        """Return the row (q,) of a point: axis values and offsets of ``recipe`` (default: the reference recipe)."""
        wanted = {f"{name}={value}" for name, value in (recipe or {}).items()}
        values = [1.0 if n in wanted or n == "1" else np.log(axes[n]) if n in axes else 0.0 for n in self.names]
        return np.array(values) - self.centers


def default_axes(knob: str, axes: Sequence[str]) -> tuple[str, ...]:
    """Return the default axes of a knob's law: the token axis alone for a batch size, else all."""
    is_batch = knob.lower() in ("b", "bs") or knob.lower().startswith("batch")
    tokens = tuple(name for name in axes if name in TOKEN_AXES)
    return tokens if is_batch and tokens else tuple(axes)


def features(table: CellTable, on: Mapping[str, Sequence[str]] | None = None, *, offsets: bool = True) -> Features:
    """Return the features of ``table``; ``on``: axes of a knob's law; ``offsets=False``: one law for all recipes.

    Raise InputError if features cannot be distinguished.
    """
    chosen = _chosen(table, on or {})
    notes: list[str] = []
    columns: dict[str, Array] = {"1": np.ones(len(table.cells))}
    centers = [0.0]
    for i, axis in enumerate(table.axes):
        logs = table.log_axes[:, i]
        if np.ptp(logs) < np.log(LEAST_SPAN):
            span = np.exp(np.ptp(logs))
            notes.append(f"{axis} spans a factor of {span:.4g} only: its exponent cannot be determined and is left out")
        else:
            columns[axis] = logs - logs.mean()
            centers.append(float(logs.mean()))
    recipes = table.recipes if offsets else ()
    shifts = {name: column for recipe in recipes for name, column in _offsets(table, recipe).items()}
    if shifts:
        first = ", ".join(f"{recipe} = {_by_frequency(table, recipe)[0]}" for recipe in recipes)
        notes.append(f"the laws are those of {first}, which has most cells; the other recipes have a factor")
    columns.update(shifts)
    centers += [0.0] * len(shifts)
    names = tuple(columns)
    matrix = np.stack(list(columns.values()), axis=1)
    allowed = np.array(
        [[name == "1" or name in shifts or name in chosen[knob] for name in names] for knob in table.knobs]
    )
    _check_rank(table, names, matrix, allowed)
    return Features(names, matrix, np.array(centers), allowed, tuple(notes))


def _chosen(table: CellTable, on: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    faults = [f"{knob!r} is not one of the knobs{nearest(knob, table.knobs)}" for knob in on if knob not in table.knobs]
    faults += [
        f"{axis!r} (for {knob}) is not one of the cell axes {', '.join(table.axes)}{nearest(axis, table.axes)}"
        for knob, axes in on.items()
        for axis in axes
        if axis not in table.axes
    ]
    if faults:
        raise InputError(faults)
    return {knob: tuple(on.get(knob, default_axes(knob, table.axes))) for knob in table.knobs}


def _offsets(table: CellTable, recipe: str) -> dict[str, Array]:
    """Return a 0/1 column for each value of a recipe column except the most frequent, which is the reference."""
    values = table.cells[recipe].cast(str)
    others = _by_frequency(table, recipe)[1:]
    return {f"{recipe}={value}": (values == value).to_numpy().astype(np.float64) for value in sorted(others)}


def _by_frequency(table: CellTable, recipe: str) -> list[str]:
    """Return the values of a recipe column, that of most cells first (of equals the first in order)."""
    counts = table.cells[recipe].cast(str).value_counts().sort(["count", recipe], descending=[True, False])
    return [str(value) for value in counts[recipe]]


def _check_rank(table: CellTable, names: Sequence[str], matrix: Array, allowed: NDArray[np.bool_]) -> None:
    faults = []
    for i, a in enumerate(names):
        for j in range(1, i):
            if np.ptp(matrix[:, i]) and abs(np.corrcoef(matrix[:, i], matrix[:, j])[0, 1]) > TOGETHER:
                faults.append(
                    f"{names[j]} and {a} moved together; their exponents cannot be distinguished: keep one of them"
                )
    for knob, mask in zip(table.knobs, allowed, strict=True):
        needed = int(mask.sum())
        if len(matrix) <= needed:
            faults.append(f"{knob}: a law of {needed} terms needs at least {needed + 1} cells; there are {len(matrix)}")
        elif not faults and np.linalg.matrix_rank(matrix[:, mask]) < needed:
            faults += _confounded(table, names, matrix) or [
                f"{knob}: {', '.join(n for n, m in zip(names, mask, strict=True) if m)} are not independent"
            ]
    if faults:
        raise InputError(faults)


def _confounded(table: CellTable, names: Sequence[str], matrix: Array) -> list[str]:
    """Return a fault for the recipe column without whose offsets the features are independent; none if no one is it."""
    for recipe in table.recipes:
        rest = matrix[:, [not name.startswith(f"{recipe}=") for name in names]]
        if np.linalg.matrix_rank(rest) < rest.shape[1]:
            continue
        within = table.cells.group_by(recipe).agg(pl.col(table.axes).n_unique()).select(pl.col(table.axes).max())
        same = [axis for axis in table.axes if within[axis].item() == 1]
        why = f"each {recipe} has one {' and one '.join(same)}" if same else f"{recipe} follows from the other columns"
        return [
            f"{why}, so that the effects of {recipe} and {', '.join(same or table.axes)} cannot be separated: leave "
            f"{recipe} out of the cells"
        ]
    return []
