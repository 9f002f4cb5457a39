"""One setting for many workloads: the best single configuration, the best short list to try in order, and at what cost.

A workload is a corpus, a size, any combination of columns. Every loss is compared with the best loss of its own
workload. Configurations are chosen on the tuning workloads alone and judged on the others (performance profiles of
Dolan and More 2002; the separation of tuning from evaluation follows Sivaprasad et al. 2020, arXiv 1910.11758).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweeplaw.analysis.tables.expressions import check_columns
from sweeplaw.analysis.tables.levels import snap
from sweeplaw.trials.errors import InputError

Array = NDArray[np.float64]

PROFILE = (0.0, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1)  # relative excess loss
Phase = Literal["tuning", "evaluation"]


@dataclass(frozen=True, slots=True)
class Judged:
    """One workload: its own ``best`` loss and ``setting``, the relative excess of the ``single`` configuration and of
    the list tried in order (entry i: the best of the first i + 1); null where it was not run there.
    """

    workload: Mapping[str, Any]
    phase: Phase
    rows: int
    best: float
    setting: Mapping[str, Any]
    single: float | None
    list: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Transfer:
    """``single``: the configuration with the least mean excess over the tuning workloads. ``order``: the list, grown
    greedily so that the best of its first k is as good as it can be. ``profiles``: by phase, the share of workloads in
    which the single configuration is within each excess of `PROFILE`.
    """

    single: Mapping[str, Any]
    order: tuple[Mapping[str, Any], ...]
    workloads: tuple[Judged, ...]
    profiles: Mapping[str, tuple[float, ...]]
    candidates: int
    dropped: Mapping[str, int]


def transfer(
    frame: pl.DataFrame,
    workload: Sequence[str],
    knobs: Sequence[str],
    y: str = "val_loss",
    *,
    evaluate_on: pl.Expr | None = None,
    k: int = 5,
) -> Transfer:
    """Choose on the tuning workloads, judge on those for which ``evaluate_on`` holds (by default every second one).

    Candidates are settings run in every tuning workload. Repeated runs (seeds) are averaged. Raises InputError.
    """
    check_columns(frame, [*workload, *knobs, y], numbers=[y])
    finite = pl.col(y).cast(pl.Float64).is_finite().fill_null(False) & (pl.col(y) > 0)
    measured = frame.drop_nulls([*workload, *knobs]).filter(finite)
    rows = _one_ladder(measured, knobs)
    means = rows.group_by([*workload, *knobs]).agg(
        pl.col(y).cast(pl.Float64).mean().alias("_loss"), pl.len().alias("_rows")
    )
    tasks = means.select(workload).unique().sort(list(workload)).with_row_index("_task")
    if tasks.height < 2:
        raise InputError("one workload only: there is nothing to carry a setting over to", where="transfer")
    held = _held(tasks, evaluate_on)
    settings = means.select(knobs).unique().sort(list(knobs)).with_row_index("_setting")
    placed = means.join(tasks, on=list(workload), nulls_equal=True).join(settings, on=list(knobs), nulls_equal=True)
    losses = np.full((tasks.height, settings.height), np.nan)
    losses[placed["_task"].to_numpy(), placed["_setting"].to_numpy()] = placed["_loss"].to_numpy()
    excess = losses / np.nanmin(losses, axis=1, keepdims=True) - 1
    everywhere = np.flatnonzero(np.isfinite(excess[~held]).all(axis=0))
    if not len(everywhere):
        raise InputError("no setting was run in every tuning workload: the grids do not overlap", where="transfer")
    order = _greedy(excess[~held][:, everywhere], k)
    chosen = [int(everywhere[i]) for i in order]
    counts = placed.group_by("_task").agg(pl.col("_rows").sum()).sort("_task")["_rows"].to_list()
    plain = settings.drop("_setting").rows(named=True)
    judged = tuple(
        Judged(
            workload=task,
            phase="evaluation" if held[i] else "tuning",
            rows=counts[i],
            best=float(np.nanmin(losses[i])),
            setting=plain[int(np.nanargmin(losses[i]))],
            single=_known(excess[i, chosen[0]]),
            list=tuple(_known(_lowest(excess[i, chosen[: n + 1]])) for n in range(len(chosen))),
        )
        for i, task in enumerate(tasks.drop("_task").rows(named=True))
    )
    return Transfer(
        single=plain[chosen[0]],
        order=tuple(plain[i] for i in chosen),
        workloads=judged,
        profiles={
            phase: _profile(excess[mask, chosen[0]]) for phase, mask in (("tuning", ~held), ("evaluation", held))
        },
        candidates=len(everywhere),
        dropped={"no finite loss, or a workload or knob column is null": frame.height - measured.height},
    )


def _one_ladder(rows: pl.DataFrame, knobs: Sequence[str]) -> pl.DataFrame:
    numeric = [name for name in knobs if rows[name].dtype.is_float()]
    return rows.with_columns([pl.Series(name, snap(rows[name].to_numpy())) for name in numeric])


def _held(tasks: pl.DataFrame, evaluate_on: pl.Expr | None) -> NDArray[np.bool_]:
    """Which tasks are for evaluation; both phases must have one."""
    if evaluate_on is None:
        return np.arange(tasks.height) % 2 == 1
    held = tasks.select(evaluate_on.fill_null(False).alias("_held"))["_held"].to_numpy().astype(bool)
    if held.all() or not held.any():
        raise InputError(
            f"{int(held.sum())} of {len(held)} workloads are for evaluation: both phases need at least one",
            where="transfer",
        )
    return held


def _greedy(excess: Array, k: int) -> list[int]:
    """Settings (columns) whose running minimum has the least mean excess, one after another; stops when none helps."""
    chosen: list[int] = []
    reached = np.full(len(excess), np.inf)
    while len(chosen) < min(k, excess.shape[1]):
        scores = np.minimum(reached[:, None], excess).mean(axis=0)
        at = int(np.argmin(scores))
        if chosen and not scores[at] < reached.mean():
            break
        chosen.append(at)
        reached = np.minimum(reached, excess[:, at])
    return chosen


def _lowest(excess: Array) -> float:
    return float(np.nanmin(excess)) if np.isfinite(excess).any() else float("nan")


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _profile(excess: Array) -> tuple[float, ...]:
    """Share of workloads within each excess; a workload in which the setting was not run is within none."""
    return tuple(float(np.mean(np.nan_to_num(excess, nan=np.inf) <= limit + 1e-12)) for limit in PROFILE)
