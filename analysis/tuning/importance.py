"""Importance of knobs: the share of the variance of the loss by knob and by pair, on a grid of finished runs.

The shares are those of a functional ANOVA (`anova`), less what the noise of a run adds to them where it is known: from
repeated settings, else from how unevenly the loss runs along lines of the grid (`grid_noise`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweeplaw.analysis.tables.display import Card, Shown, finite
from sweeplaw.analysis.tables.levels import levels
from sweeplaw.analysis.tables.roles.guessed import refining
from sweeplaw.analysis.tables.runs import LARGEST, frame_of
from sweeplaw.analysis.tables.sql.expressions import check_columns
from sweeplaw.analysis.tuning.anova import filled, shares, without_noise
from sweeplaw.analysis.tuning.grid_noise import RunNoise, run_noise
from sweeplaw.analysis.tuning.repeats import settings as averaged
from sweeplaw.analysis.tuning.selection_bias import selection_bias
from sweeplaw.analysis.tuning.settings import SIZES, further_recipes
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import percent, plain, settings

Array = NDArray[np.float64]

LARGEST_GRID = 60_000_000  # points, half a gigabyte of float64 per copy
PAIRS = 5  # shown, largest first


@dataclass(frozen=True, slots=True, repr=False)
class Importance(Shown):
    """Decomposition of one cell. ``knobs``, ``pairs``: shares of the variance of the loss; ``rest``: higher orders.

    ``noise`` is that of a run, which is subtracted from the shares and costs; ``noise_share`` its own share of the
    variance. Both are None if it cannot be estimated. ``within_noise``: knobs whose share may be noise alone.
    ``frozen``: for each knob, (value, cost): relative loss of freezing it at its default with the others at their best.
    ``rows``: number of runs; ``points``: number of grid points, of which the share ``filled`` has no run. ``best``:
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
    noise: RunNoise | None = None
    noise_share: float | None = None
    within_noise: tuple[str, ...] = ()

    @property
    def ranking(self) -> tuple[str, ...]:
        """Knobs by share of variance, the largest first."""
        return tuple(sorted(self.knobs, key=lambda name: -self.knobs[name]))

    def headline(self) -> tuple[str, ...]:
        """Return the cell and its knobs, the most important one first."""
        cell = settings(self.cell) or "all rows"
        ranked = ", ".join(f"{name} {percent(self.knobs[name], '.1f')}" for name in self.ranking)
        return (f"{cell}: {self.rows} rows on {self.points} grid points, {percent(self.filled, '.1f')} filled", ranked)

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
            "noise": None if self.noise is None else self.noise.values(),
            "noise_share": self.noise_share,
            "within_noise": self.within_noise,
            "frozen": {name: {"value": value, "cost": cost} for name, (value, cost) in self.frozen.items()},
        }))  # fmt: skip

    def card(self) -> Card:
        """Return the shares and the costs of freezing as a table."""
        rows = [(name, f"{percent(self.knobs[name], '.1f')}", self.remark(name)) for name in self.ranking]
        rows += [(f"{a} x {b}", percent(share, ".1f"), "") for (a, b), share in self.largest_pairs()]
        rows += [("higher orders", percent(self.rest, ".1f"), "")]
        return Card(self.headline()[:1], ("knob", "share of variance", ""), tuple(rows), (self.noise_sentence(),))

    def cost_of_freezing(self, name: str) -> str:
        """Return ``frozen at 0.01: +1.20 % of loss``."""
        value, cost = self.frozen[name]
        if cost is None:
            return f"{plain(value)} was not run"
        return f"frozen at {plain(value)}: +{percent(cost, '.2f')} of loss"

    def remark(self, name: str) -> str:
        """Return the cost of freezing a knob, and whether its share may be noise alone."""
        alone = "; its share may be noise alone" if name in self.within_noise else ""
        return f"{self.cost_of_freezing(name)}{alone}"

    def noise_sentence(self) -> str:
        """Return what is known of the noise of a run, and that it is subtracted."""
        if self.noise is None or self.noise_share is None:
            return "noise of a run unknown (no repeated settings, no lines of four in the grid): not subtracted"
        share = percent(self.noise_share, ".1f")
        return f"{self.noise.sentence()}: {share} of the variance, subtracted from shares and costs"

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
    measured = (loss.is_finite() & (loss > 0)).fill_null(False)  # effects are shares of a loss
    kept = frame.lazy().select([*cells, *knobs, y]).filter(measured).drop_nulls([*cells, *knobs]).collect()
    if kept.is_empty():
        raise InputError(f"no row has a positive {y} up to {LARGEST:g}", where="importance")
    if all(kept[name].n_unique() == 1 for name in knobs):
        raise InputError(f"{', '.join(knobs)}: one value each, so there is nothing to rank", where="importance")
    parts = kept.partition_by(list(cells), as_dict=True, maintain_order=False) if cells else {(): kept}
    ordered = sorted(parts.items(), key=lambda item: tuple((str(type(value)), value) for value in item[0]))
    grids = [(dict(zip(cells, key, strict=True)), part, _Levels.of(part, knobs)) for key, part in ordered]
    noise = _noise(frame.filter(measured).drop_nulls([*cells, *knobs]), cells, knobs, y)
    found = [_importance(cell, part, at, knobs, y, defaults or {}, cap, noise) for cell, part, at in grids]
    return found, frame.height - kept.height


@dataclass(frozen=True, slots=True)
class _Levels:
    """The levels of each knob in a cell, ascending, and the point of the grid of each row."""

    values: tuple[list[Any], ...]
    at: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of levels of each knob."""
        return tuple(len(level) for level in self.values)

    @classmethod
    def of(cls, part: pl.DataFrame, knobs: Sequence[str]) -> _Levels:
        """Return the levels of ``knobs``. Raise InputError if their grid is too large to be one."""
        values, codes = zip(*(_codes(part[name]) for name in knobs), strict=True)
        shape = tuple(len(level) for level in values)
        if math.prod(shape) > LARGEST_GRID:
            sizes = ", ".join(f"{name} {size}" for name, size in zip(knobs, shape, strict=True))
            few = f"the grid has {math.prod(shape):.3g} points ({sizes}): a knob is not a grid axis"
            raise InputError(few, where="importance")
        return cls(values, np.asarray(np.ravel_multi_index(codes, shape), dtype=np.int64))


def _importance(
    cell: Mapping[str, Any],
    part: pl.DataFrame,
    on: _Levels,
    knobs: Sequence[str],
    y: str,
    defaults: Mapping[str, Any],
    cap: float | None,
    noise: RunNoise | None,
) -> Importance:
    values, shape, points = on.values, on.shape, math.prod(on.shape)
    loss = part[y].cast(pl.Float64).to_numpy()
    best = float(loss.min())
    if cap is not None:
        loss = np.minimum(loss, best * (1 + cap))
    counts = np.bincount(on.at, minlength=points).reshape(shape)
    sums = np.bincount(on.at, weights=loss, minlength=points).reshape(shape)
    grid = np.divide(sums, counts, out=np.full(shape, np.nan), where=counts > 0)
    errors = None if noise is None else noise.sd / np.sqrt(np.maximum(counts, 1))
    frozen = {name: _frozen(grid, errors, k, values[k], defaults.get(name)) for k, name in enumerate(knobs)}
    missing = counts == 0
    if missing.any():
        grid = filled(grid, missing)
    found = shares(grid)
    if noise is not None and errors is not None:
        clipped = cap is not None and grid >= best * (1 + cap)  # these have no noise left
        variance = np.where(clipped, 0.0, (errors * grid) ** 2)[~missing]
        found = without_noise(found, grid, float(variance.mean()), int((~missing).sum()), noise.freedom)
    return Importance(
        cell=cell,
        rows=part.height,
        points=points,
        filled=float(missing.mean()),
        best=best,
        knobs=dict(zip(knobs, found.axes, strict=True)),
        pairs={(knobs[i], knobs[j]): share for (i, j), share in found.pairs.items()},
        rest=found.rest,
        frozen=frozen,
        noise=noise,
        noise_share=None if noise is None else found.noise,
        within_noise=tuple(name for name, within in zip(knobs, found.within_noise, strict=False) if within),
    )


def _noise(kept: pl.DataFrame, cells: Sequence[str], knobs: Sequence[str], y: str) -> RunNoise | None:
    """Return the noise of a run over all cells, None if a loss is not positive or it cannot be estimated.

    Runs of different sizes or recipes are no repeats of each other, whatever the cells are.
    """
    if not (kept[y] > 0).all():
        return None
    sizes = [name for name in SIZES if name in kept.columns and name not in {*cells, *knobs}]
    apart = [*cells, *refining(kept, cells, [*sizes, *further_recipes(kept, [*cells, *sizes], knobs, y)[0]])]
    every = averaged(kept, apart, knobs, y)
    return run_noise(every, every.partition_by(apart) if apart else [every], knobs, y)


def _codes(column: pl.Series) -> tuple[list[Any], NDArray[np.int64]]:
    """Return the levels of a knob, ascending, and the level index of each row (see `levels`)."""
    distinct = column.unique().sort()
    if not column.dtype.is_numeric():
        ranks = pl.Series(range(len(distinct)), dtype=pl.Int64)
        return distinct.to_list(), column.replace_strict(distinct, ranks, return_dtype=pl.Int64).to_numpy()
    numbers = distinct.to_numpy().astype(np.float64)
    level, index = levels(numbers)
    return level.tolist(), index[np.searchsorted(numbers, column.to_numpy())]


def _frozen(
    grid: Array, errors: Array | None, axis: int, values: Sequence[Any], default: Any
) -> tuple[Any, float | None]:
    """Return (value, cost) of freezing an axis: the relative excess of the lowest loss there, None if not run.

    ``errors`` are those of log losses; the lowest of many flatters more than that of few, which is corrected.
    """
    others = tuple(k for k in range(grid.ndim) if k != axis)
    if default is None:
        with np.errstate(invalid="ignore"):
            average = np.nansum(grid, axis=others) / np.maximum(np.isfinite(grid).sum(axis=others), 1)
        at = int(np.argmin(average))
    else:
        at = next((i for i, value in enumerate(values) if _same(value, default)), -1)
        if at < 0:
            return default, None
    there = np.take(grid, at, axis=axis)
    lowest, best = np.nanmin(there, initial=np.inf), np.nanmin(grid)
    if not np.isfinite(lowest):
        return values[at], None
    if errors is None:
        return values[at], float(lowest / best - 1)
    flattered = _flattered(there, np.take(errors, at, axis=axis)) - _flattered(grid, errors)
    return values[at], max(0.0, float(lowest / best * np.exp(flattered) - 1))


def _flattered(losses: Array, errors: Array) -> float:
    """Return how far the lowest of measured log losses is expected to lie below the lowest true one."""
    known = np.isfinite(losses)
    return selection_bias(np.log(losses[known]), errors[known])


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, float) and isinstance(default, int | float):
        return bool(np.isclose(value, default, rtol=0.01, atol=0))
    return str(value) == str(default)
