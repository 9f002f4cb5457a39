"""What became of the trials of a report: their number by state, what they cost, why some failed, and where they ran."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl


def trial_values(trials: pl.DataFrame, used: int, dropped: Mapping[str, int]) -> dict[str, Any]:
    """Return the number of trials by state, of those used and dropped, and what they cost. Unknown values are None."""
    known = trials["state"].fill_null("null") if "state" in trials.columns else pl.Series("state", [], pl.String)
    states = known.value_counts().sort("state").iter_rows()
    return {
        "rows": trials.height,
        "states": dict(states),
        "used": used,
        "dropped": dict(dropped),
        "tokens": _total(trials, "tokens"),
        "flops": _total(trials, "flops"),
        "train_seconds": _total(trials, "train_seconds"),
        **_busy(trials),
    }


def _total(trials: pl.DataFrame, column: str) -> float | None:
    """Return the sum of the known values; None if there is none."""
    if column not in trials.columns or trials[column].null_count() == trials.height:
        return None
    return float(trials[column].sum())


def _busy(trials: pl.DataFrame) -> dict[str, float | None]:
    """Return the wall seconds from the first start to the last end, and the mean number of running trials."""
    needed = ("started_at", "ended_at", "train_seconds")
    timed = trials.drop_nulls(needed) if set(needed) <= set(trials.columns) else trials.clear()
    if not timed.height or not all(timed[name].dtype.is_temporal() for name in needed[:2]):  # text in a CSV file
        return {"wall_seconds": None, "mean_running": None}
    wall = (timed["ended_at"].max() - timed["started_at"].min()).total_seconds()  # type: ignore[operator,union-attr]
    return {"wall_seconds": wall, "mean_running": float(timed["train_seconds"].sum()) / wall if wall > 0 else None}


def failures(trials: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the trials that did not complete, grouped by state and message."""
    if "state" not in trials.columns:
        return []
    absent = [pl.lit(None, pl.String).alias(name) for name in ("message", "trial_id") if name not in trials.columns]
    bad = trials.filter(pl.col("state") != "completed").with_columns(absent)
    grouped = bad.group_by("state", "message").agg(
        pl.len().alias("trials"), pl.col("trial_id").first().alias("example")
    )
    return grouped.sort("trials", "state", "message", descending=[True, False, False]).to_dicts()


def provenance(trials: pl.DataFrame) -> dict[str, Any]:
    """Return how many trials have each host, device, versions, commit, source and workload."""
    names = [name for name in ("host", "device", "versions", "commit", "source", "workload") if name in trials.columns]
    counts = {name: trials[name].value_counts().sort("count", name, descending=[True, False]) for name in names}
    return {name: {str(key): count for key, count in found.iter_rows()} for name, found in counts.items()}
