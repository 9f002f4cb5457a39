"""The importance of the knobs of a family: shares of the variance of the loss, as means over its cells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from sweeplaw.analysis.fitting.uncertainty import Interval, percentile
from sweeplaw.analysis.report.family import Family
from sweeplaw.analysis.tables.display import finite
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.analysis.tuning.importance import Importance, importance

CAP = 0.25  # losses are cut at 25 % above the best of their cell, as in the figures of the knobs
MOST_FILLED = 0.5  # share of a cell's grid without a run, above which it is no grid (assumption)
MOST_CELLS = 200  # decomposed; of more, this many evenly spread (measured: 22 ms each)
LEAST_CELLS = 5  # for an interval: of fewer, a bootstrap has few different resamples
RESAMPLES = 2000
LEVEL = 0.95
PAIRS, HIGHER, NOISE = "two knobs together", "three or more together", "noise of a run"


@dataclass(frozen=True, slots=True)
class KnobShares:
    """Shares of the variance of the loss, means over ``cells``: of each knob, of `PAIRS`, `HIGHER` and `NOISE`.

    ``intervals`` are of these means over resampled cells; empty with fewer than `LEAST_CELLS`. ``left_out`` counts the
    cells where a knob has one level, or whose runs are no grid of the knobs, and ``not_taken`` those beyond
    `MOST_CELLS`.
    """

    knobs: tuple[str, ...]
    shares: Mapping[str, float]
    intervals: Mapping[str, Interval]
    cells: tuple[Importance, ...]
    left_out: int
    not_taken: int = 0

    @property
    def ranking(self) -> tuple[str, ...]:
        """Knobs by share, the largest first."""
        return tuple(sorted(self.knobs, key=lambda name: -self.shares[name]))

    def to_dict(self) -> Mapping[str, Any]:
        """Return the shares, and the decomposition of each cell, as plain values for JSON."""
        return dict(finite({
            "shares": dict(self.shares), "ranking": self.ranking, "cap": CAP,
            "intervals": {name: ends.values() for name, ends in self.intervals.items()},
            "cells": [one.to_dict() for one in self.cells], "cells_left_out": self.left_out,
            "cells_not_taken": self.not_taken,
        }))  # fmt: skip


def knob_shares(family: Family, by: Axes) -> KnobShares | None:
    """Return the importance of the knobs of a family; None where fewer than two were tried at several levels."""
    cells = [by.n, by.d]
    levels = family.settings.group_by(cells).agg(pl.col(name).drop_nulls().n_unique() for name in by.knobs)
    knobs = [name for name in by.knobs if (levels[name] > 1).mean() >= 0.5]  # type: ignore[operator]
    if len(knobs) < 2:
        return None
    kept = _grids(family.settings, cells, knobs)
    if not kept.height:
        return None
    taken = kept.sort(cells)[np.linspace(0, kept.height - 1, min(kept.height, MOST_CELLS)).round().astype(int)]
    rows = family.trials.drop_nulls(knobs).join(taken, on=cells, how="semi")
    found, _ = importance(rows, knobs, by.loss, cells, cap=CAP)
    means = _averaged(tuple(found), tuple(knobs), family.best.height - kept.height)
    return replace(means, not_taken=kept.height - taken.height)


def _grids(settings: pl.DataFrame, cells: list[str], knobs: list[str]) -> pl.DataFrame:
    """Return the cells with several levels of each knob and a run at half of their combinations or more."""
    known = settings.drop_nulls(knobs)
    counts = known.group_by(cells).agg(
        pl.struct(knobs).n_unique().alias("ran"), *(pl.col(name).n_unique().cast(pl.Float64) for name in knobs)
    )
    points = math.prod((counts[name] for name in knobs), start=pl.Series([1.0]))
    return counts.filter(pl.min_horizontal(knobs) > 1, counts["ran"] >= (1 - MOST_FILLED) * points).select(cells)


def _averaged(found: tuple[Importance, ...], knobs: tuple[str, ...], left_out: int) -> KnobShares:
    columns = {name: np.array([one.knobs[name] for one in found]) for name in knobs}
    columns[PAIRS] = np.array([sum(one.pairs.values()) for one in found])
    if len(knobs) > 2:
        columns[HIGHER] = np.array([one.rest for one in found])
    if all(one.noise_share is not None for one in found):
        columns[NOISE] = np.array([one.noise_share for one in found], dtype=float)
    shares = {name: float(column.mean()) for name, column in columns.items()}
    intervals: dict[str, Interval] = {}
    if len(found) >= LEAST_CELLS:
        drawn = np.random.default_rng(0).integers(len(found), size=(RESAMPLES, len(found)))
        method = f"bootstrap over {len(found)} cells, {RESAMPLES} resamples"
        intervals = {name: percentile(column[drawn].mean(axis=1), LEVEL, method) for name, column in columns.items()}
    return KnobShares(knobs, shares, intervals, found, left_out)
