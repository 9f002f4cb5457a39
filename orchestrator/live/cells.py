"""The scientific points of a store and how far each is: planned, ended and completed trials, and the best setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from sweeplaw.analysis.tables.families import Axes
from sweeplaw.orchestrator.store.store import EXCLUDED
from sweeplaw.trials.record import TASK_SCORES

_ROW = "__row"


@dataclass(frozen=True, slots=True)
class CellProgress:
    """``frame`` has a row for each point, ascending by the columns ``keys``: these, `planned` (null if unknown),
    `ended`, `completed`, `best` (the least loss of a completed trial), the `knobs` of that trial, and `complete`.

    A cell is complete when every trial planned there has ended: only then is its best setting known.
    """

    keys: tuple[str, ...]
    knobs: tuple[str, ...]
    frame: pl.DataFrame

    @property
    def complete(self) -> pl.DataFrame:
        """The keys of the complete cells."""
        return self.frame.filter("complete").select(self.keys)


def runs(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the outcomes that count as runs: neither excluded, nor scores of kept models on tasks."""
    return rows.filter(pl.col("state") != EXCLUDED, pl.col("workload").ne_missing(TASK_SCORES))


def cells(
    trials: pl.DataFrame, by: Axes, launches: Sequence[Mapping[str, Any]], *, open_: bool, running: bool
) -> CellProgress:
    """Return the cells of ``trials`` (`runs`) and of what ``launches`` planned.

    ``open_``: some planned trial has not ended. Without one every cell is complete, and with one those of which it is
    known how many trials are planned. ``running``: a launch holds trials, so a search may propose more anywhere.
    """
    keys = (by.n, by.d)
    knobs = tuple(name for name in by.knobs if name in trials.columns)
    rows = trials.select(pl.col(keys).cast(pl.Float64), "final", "state", by.loss).with_row_index(_ROW)
    completed = pl.col("state") == "completed"
    loss = pl.when(completed & pl.col(by.loss).is_finite()).then(pl.col(by.loss))
    ended = (
        rows.drop_nulls(keys)
        .group_by(keys)
        .agg(
            ended=pl.col("final").sum(),
            completed=completed.sum(),
            best=loss.min(),
            at=pl.col(_ROW).get(loss.arg_min()),
        )
    )
    if knobs:  # those of the best trial
        best = trials.select(knobs)[ended["at"].fill_null(0)]
        known = ended["best"].is_not_null()
        ended = ended.hstack(best.select(pl.when(known).then(pl.col(name)).alias(name) for name in knobs))
    ended = ended.drop("at")
    planned = _planned(launches, keys)
    frame = ended.join(planned, on=keys, how="full", coalesce=True, nulls_equal=True)
    frame = frame.with_columns(pl.col("ended", "completed").fill_null(0)).sort(keys)
    # A later and narrower launch plans fewer than there are.
    frame = frame.with_columns(pl.when(pl.col("planned").is_not_null()).then(pl.max_horizontal("planned", "ended")))
    if not open_:
        complete = pl.lit(not running)
        frame = frame.with_columns(planned=pl.coalesce("planned", "ended"))
    else:
        complete = (pl.col("ended") >= pl.col("planned")).fill_null(False)
    return CellProgress(keys, knobs, frame.with_columns(complete=complete))


def _planned(launches: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> pl.DataFrame:
    """Return the number of planned trials at each point known beforehand, by the latest launch of each sweep."""
    latest = {str(one["sweep"]): one["points"] for one in launches if "sweep" in one and _are_points(one.get("points"))}
    rows = [
        {**{key: float(point[key]) for key in keys}, "planned": int(point["trials"])}
        for points in latest.values()
        for point in points
        if all(isinstance(point.get(name), int | float) for name in (*keys, "trials"))
    ]
    schema = {**dict.fromkeys(keys, pl.Float64), "planned": pl.Int64}
    return pl.DataFrame(rows, schema=schema).group_by(keys).agg(pl.col("planned").sum())


def _are_points(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(point, dict) for point in value)
