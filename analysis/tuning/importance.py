"""Importance of knobs: the share of the variance of the loss by knob and by pair, on a grid of finished runs.

Functional ANOVA: the Hoeffding decomposition under the uniform measure on the grid's levels (Hutter et al. 2014 fit a
forest for this). On a full grid it is exact: every effect is a mean over the other axes. Missing points are first
filled with the additive-plus-pairs fit to the others, and the share filled is reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweeplaw.analysis.tables.display import Card, Shown, finite
from sweeplaw.analysis.tables.levels import levels
from sweeplaw.analysis.tables.runs import frame_of
from sweeplaw.analysis.tables.sql.expressions import check_columns
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import plain, settings

Array = NDArray[np.float64]

LARGEST_GRID = 60_000_000  # points, half a gigabyte of float64 per copy
FILL_ROUNDS = 200
FILL_SETTLED = 1e-7
PAIRS = 5  # shown, largest first


@dataclass(frozen=True, slots=True, repr=False)
class Importance(Shown):
    """Decomposition of one cell. ``knobs``, ``pairs``: shares of the variance of the loss; ``rest``: higher orders.

    ``frozen``: for each knob, (value, cost): relative loss of freezing it at its default with the others at their best.
    ``rows``: number of runs; ``points``: number of grid points, of which the share ``filled`` had no run. ``best``:
    lowest loss.
    """

    cell: Mapping[str, Any]
    rows: int
    points: int
    filled: float
    best: float
    knobs: Mapping[str, float]
    pairs: Mapping[tuple[str, str], float]
    rest: float
    frozen: Mapping[str, tuple[Any, float | None]]

    @property
    def ranking(self) -> tuple[str, ...]:
        """Knobs by share of variance, the largest first."""
        return tuple(sorted(self.knobs, key=lambda name: -self.knobs[name]))

    def headline(self) -> tuple[str, ...]:
        """Return the cell and its knobs, the most important one first."""
        cell = settings(self.cell) or "all rows"
        ranked = ", ".join(f"{name} {self.knobs[name]:.1%}" for name in self.ranking)
        return (f"{cell}: {self.rows} rows on {self.points} grid points, {self.filled:.1%} filled", ranked)

    def to_dict(self) -> dict[str, Any]:
        """Return the decomposition as plain values for JSON."""
        return dict(finite({
            "cell": self.cell,
            "rows": self.rows,
            "grid_points": self.points,
            "filled": self.filled,
            "best": self.best,
            "knobs": self.knobs,
            "pairs": {f"{a} x {b}": share for (a, b), share in self.pairs.items()},
            "higher_orders": self.rest,
            "ranking": self.ranking,
            "frozen": {name: {"value": value, "cost": cost} for name, (value, cost) in self.frozen.items()},
        }))  # fmt: skip

    def card(self) -> Card:
        """Return the shares and the costs of freezing as a table."""
        rows = [(name, f"{self.knobs[name]:.1%}", self.cost_of_freezing(name)) for name in self.ranking]
        rows += [(f"{a} x {b}", f"{share:.1%}", "") for (a, b), share in self.largest_pairs()]
        rows += [("higher orders", f"{self.rest:.1%}", "")]
        return Card(self.headline()[:1], ("knob", "share of variance", ""), tuple(rows))

    def cost_of_freezing(self, name: str) -> str:
        """Return ``frozen at 0.01: +1.20% of loss``."""
        value, cost = self.frozen[name]
        return f"{plain(value)} was not run" if cost is None else f"frozen at {plain(value)}: +{cost:.2%} of loss"

    def largest_pairs(self) -> list[tuple[tuple[str, str], float]]:
        """Return the pairs of largest share, at most `PAIRS`."""
        return sorted(self.pairs.items(), key=lambda item: -item[1])[:PAIRS]


def importance(
    frame: Any,
    knobs: Sequence[str],
    y: str = "val_loss",
    cells: Sequence[str] = (),
    defaults: Mapping[str, Any] | None = None,
    cap: float | None = None,
) -> tuple[list[Importance], int]:
    """Return the decomposition of every cell (budgets, say; without cells, of all rows), and the rows without a loss.

    ``frame`` is any source of runs that `fit` takes; a Polars frame is used as it is, of others the losses of
    completed runs.
    Repeated settings are averaged. ``defaults``: value of a knob when frozen, by name; else the level that is best on
    average. ``cap``: losses are clipped at (1 + cap) times the cell's best, so that diverged runs do not dominate the
    variance. Raise InputError.
    """
    frame = frame_of(frame, {"knobs": knobs, "cells": cells}, y)
    check_columns(frame, [*knobs, *cells, y], numbers=[y])
    if not knobs:
        raise InputError("name at least one knob", where="importance")
    if strange := [name for name in defaults or {} if name not in knobs]:
        raise InputError(f"{', '.join(strange)}: not one of the knobs {', '.join(knobs)}", where="default")
    loss = frame[y].cast(pl.Float64)
    measured = loss.is_finite().fill_null(False)
    kept = frame.lazy().select([*cells, *knobs, y]).filter(measured).drop_nulls([*cells, *knobs]).collect()
    if kept.is_empty():
        raise InputError(f"no row has a finite {y}", where="importance")
    if all(kept[name].n_unique() == 1 for name in knobs):
        raise InputError(f"{', '.join(knobs)}: one value each, so there is nothing to rank", where="importance")
    if not cells:
        return [_importance({}, kept, knobs, y, defaults or {}, cap)], frame.height - kept.height
    parts = kept.partition_by(list(cells), as_dict=True, maintain_order=False)
    ordered = sorted(parts.items(), key=lambda item: tuple((str(type(value)), value) for value in item[0]))
    found = [
        _importance(dict(zip(cells, key, strict=True)), part, knobs, y, defaults or {}, cap) for key, part in ordered
    ]
    return found, frame.height - kept.height


def _importance(
    cell: Mapping[str, Any],
    part: pl.DataFrame,
    knobs: Sequence[str],
    y: str,
    defaults: Mapping[str, Any],
    cap: float | None,
) -> Importance:
    values, codes = zip(*(_codes(part[name]) for name in knobs), strict=True)
    shape = tuple(len(level) for level in values)
    points = int(np.prod(shape, dtype=np.int64))
    if points > LARGEST_GRID:
        sizes = ", ".join(f"{name} {size}" for name, size in zip(knobs, shape, strict=True))
        raise InputError(f"the grid has {points:.3g} points ({sizes}): a knob is not a grid axis", where="importance")
    loss = part[y].cast(pl.Float64).to_numpy()
    best = float(loss.min())
    if cap is not None:
        loss = np.minimum(loss, best * (1 + cap))
    flat = np.ravel_multi_index(codes, shape)
    counts = np.bincount(flat, minlength=points).reshape(shape)
    sums = np.bincount(flat, weights=loss, minlength=points).reshape(shape)
    grid = np.divide(sums, counts, out=np.full(shape, np.nan), where=counts > 0)
    frozen = {name: _frozen(grid, axis, values[axis], defaults.get(name)) for axis, name in enumerate(knobs)}
    missing = counts == 0
    if missing.any():
        grid = _filled(grid, missing)
    singles, pairs, rest = shares(grid)
    return Importance(
        cell=cell,
        rows=part.height,
        points=points,
        filled=float(missing.mean()),
        best=best,
        knobs=dict(zip(knobs, singles, strict=True)),
        pairs={(knobs[i], knobs[j]): share for (i, j), share in pairs.items()},
        rest=rest,
        frozen=frozen,
    )


def shares(grid: Array) -> tuple[list[float], dict[tuple[int, int], float], float]:
    """Return the shares of the variance of a full ``grid``: each axis, each pair beyond its axes, and the rest.

    They sum to one, or are all zero if the grid is constant.
    """
    mean, total = grid.mean(), grid.var()
    axes = range(grid.ndim)
    if not total > 0:
        return [0.0] * grid.ndim, dict.fromkeys(combinations(axes, 2), 0.0), 0.0
    # Means over all but two axes first: each further mean is then over a small table.
    tables = {(i, j): grid.mean(axis=tuple(k for k in axes if k not in (i, j))) for i, j in combinations(axes, 2)}
    single = [_single(grid, tables, i) - mean for i in axes]
    singles = [float((effect**2).mean() / total) for effect in single]
    pairs = {
        (i, j): float(((table - mean - single[i][:, None] - single[j][None, :]) ** 2).mean() / total)
        for (i, j), table in tables.items()
    }
    return singles, pairs, float(max(0.0, 1 - sum(singles) - sum(pairs.values())))


def _single(grid: Array, tables: Mapping[tuple[int, int], Array], axis: int) -> Array:
    if grid.ndim == 1:
        return grid
    pair = next(pair for pair in tables if axis in pair)
    return np.asarray(tables[pair].mean(axis=1 if pair[0] == axis else 0))


def _codes(column: pl.Series) -> tuple[list[Any], NDArray[np.int64]]:
    """Return the levels of a knob, ascending, and the level index of each row (see `levels`)."""
    distinct = column.unique().sort()
    if not column.dtype.is_numeric():
        ranks = pl.Series(range(len(distinct)), dtype=pl.Int64)
        return distinct.to_list(), column.replace_strict(distinct, ranks, return_dtype=pl.Int64).to_numpy()
    numbers = distinct.to_numpy().astype(np.float64)
    level, index = levels(numbers)
    return level.tolist(), index[np.searchsorted(numbers, column.to_numpy())]


def _frozen(grid: Array, axis: int, values: Sequence[Any], default: Any) -> tuple[Any, float | None]:
    """Return (value, cost) of freezing an axis: the relative excess of the lowest loss there, None if not run."""
    best = np.nanmin(grid)
    others = tuple(k for k in range(grid.ndim) if k != axis)
    if default is None:
        with np.errstate(invalid="ignore"):
            average = np.nansum(grid, axis=others) / np.maximum(np.isfinite(grid).sum(axis=others), 1)
        at = int(np.argmin(average))
    else:
        at = next((i for i, value in enumerate(values) if _same(value, default)), -1)
        if at < 0:
            return default, None
    lowest = np.nanmin(np.take(grid, at, axis=axis), initial=np.inf)
    return values[at], float(lowest / best - 1) if np.isfinite(lowest) else None


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, float) and isinstance(default, int | float):
        return bool(np.isclose(value, default, rtol=0.01, atol=0))
    return str(value) == str(default)


def _filled(grid: Array, missing: NDArray[np.bool_]) -> Array:
    """Return ``grid`` with missing points at the additive-plus-pairs least-squares fit to the others (iteratively)."""
    out = np.where(missing, np.nanmean(grid), grid)
    spread = max(float(np.nanstd(grid)), 1e-300)
    for _ in range(FILL_ROUNDS):
        smooth = _low_order(out)
        change = float(np.abs(out[missing] - smooth[missing]).max())
        out[missing] = smooth[missing]
        if change < FILL_SETTLED * spread:
            break
    return out


def _low_order(grid: Array) -> Array:
    """Return the part of a full grid that single axes and pairs explain."""
    axes, mean = range(grid.ndim), grid.mean()
    if grid.ndim == 1:
        return np.full_like(grid, mean)
    single = [grid.mean(axis=tuple(k for k in axes if k != i), keepdims=True) - mean for i in axes]
    out = np.full_like(grid, mean)
    for effect in single:
        out += effect
    if grid.ndim > 2:  # with two axes the pair is the grid itself, so a missing point would keep its value
        for i, j in combinations(axes, 2):
            table = grid.mean(axis=tuple(k for k in axes if k not in (i, j)), keepdims=True)
            out += table - mean - single[i] - single[j]
    return out
