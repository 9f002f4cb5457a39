"""One setting for many workloads: the best single configuration, the best list to try in order, and their cost.

A workload is a corpus, a size, or any combination of columns. Every loss is compared with the best loss of its own
workload. Configurations are chosen on the tuning workloads only and evaluated on the others (performance profiles of
Dolan and More 2002; the separation of tuning from evaluation follows Sivaprasad et al. 2020, arXiv 1910.11758).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweeplaw.analysis.tables.display import Card, Shown, finite
from sweeplaw.analysis.tables.levels import snap
from sweeplaw.analysis.tables.runs import LARGEST, frame_of
from sweeplaw.analysis.tables.sql.expressions import check_columns
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted, percent, settings

Array = NDArray[np.float64]

PROFILE = (0.0, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1)  # relative excess loss
Phase = Literal["tuning", "evaluation"]


@dataclass(frozen=True, slots=True)
class WorkloadScore:
    """One workload: its own ``best`` loss and ``setting``, and the relative excess of the chosen configurations.

    ``single``: of the single configuration; ``list``: of the list tried in order (entry i: the best of the first
    i + 1). None if it was not run there. ``rows``: number of runs.
    """

    workload: Mapping[str, Any]
    phase: Phase
    rows: int
    best: float
    setting: Mapping[str, Any]
    single: float | None
    list: tuple[float | None, ...]

    def excess(self) -> tuple[str, str]:
        """Return the excess of the single setting and of the best of the list; empty if none of the list was run."""
        single = "not run" if self.single is None else f"+{percent(self.single, '.2f')}"
        return single, "" if self.list[-1] is None else f"+{percent(self.list[-1], '.2f')}"


@dataclass(frozen=True, slots=True, repr=False)
class Transfer(Shown):
    """The chosen configurations and their scores.

    ``single``: the configuration with the least mean excess over the tuning workloads. ``order``: the list, built
    greedily to minimise the excess of the best of its first k. ``profiles``: by phase, the share of workloads in which
    the single configuration is within each excess of `PROFILE`. ``candidates``: number of settings run in every tuning
    workload.
    """

    single: Mapping[str, Any]
    order: tuple[Mapping[str, Any], ...]
    workloads: tuple[WorkloadScore, ...]
    profiles: Mapping[str, tuple[float, ...]]
    candidates: int
    dropped: Mapping[str, int]

    def headline(self) -> tuple[str, ...]:
        """Return the single setting, and the list to try in order."""
        single = f"one setting: {settings(self.single)} (of {self.candidates} run in every tuning workload)"
        return (single, *(f"  try {number}: {settings(one)}" for number, one in enumerate(self.order, start=1)))

    def to_dict(self) -> dict[str, Any]:
        """Return the settings and their scores as plain values for JSON."""
        return dict(finite(asdict(self)))

    def card(self) -> Card:
        """Return the scores by workload as a table."""
        rows = [(one.phase, settings(one.workload), *one.excess(), f"{one.best:.4f}") for one in self.workloads]
        notes = [f"{dropped} rows left out: {reason}" for reason, dropped in self.dropped.items() if dropped]
        heads = ("phase", "workload", "one setting", "after the list", "best loss")
        return Card(self.headline(), heads, tuple(rows), tuple(notes))


@dataclass(frozen=True, slots=True)
class _Runs:
    """Mean ``losses`` (tasks, settings), NaN where not run, with the columns of both and ``rows`` (tasks,)."""

    tasks: pl.DataFrame
    settings: list[dict[str, Any]]
    losses: Array
    rows: list[int]


def transfer(
    frame: Any,
    workload: Sequence[str],
    knobs: Sequence[str],
    y: str = "val_loss",
    *,
    evaluate_on: pl.Expr | None = None,
    k: int = 5,
) -> Transfer:
    """Choose on the tuning workloads, evaluate on those for which ``evaluate_on`` is true.

    By default every second one is for evaluation, as the black squares of a board whose sides are the columns.
    ``frame`` is any source of runs that `fit` takes; a Polars frame is used as it is, of others the losses of
    completed runs.
    Candidates are settings run in every tuning workload. Repeated runs (seeds) are averaged. Raise InputError.
    """
    if not workload or not knobs:
        raise InputError("no columns of a workload, or no knobs (accepted: at least one of each)", where="transfer")
    frame = frame_of(frame, {"workload": workload, "knobs": knobs}, y)
    check_columns(frame, [*workload, *knobs, y], numbers=[y])
    finite = pl.col(y).cast(pl.Float64).is_finite().fill_null(False) & (pl.col(y) > 0)
    measured = frame.drop_nulls([*workload, *knobs]).drop_nans(_floats(frame, [*workload, *knobs])).filter(finite)
    runs = _runs(_snapped(measured, knobs), workload, knobs, y)
    if runs.tasks.height < 2:
        found = counted(runs.tasks.height, "workload")
        fault = f"{found} with a positive {y} up to {LARGEST:g}: there is nothing to transfer a setting to"
        raise InputError(f"{fault} (accepted: at least 2)", where="transfer")
    held_out = _held_out(runs.tasks, evaluate_on)
    excess = runs.losses / np.nanmin(runs.losses, axis=1, keepdims=True) - 1
    everywhere = np.flatnonzero(np.isfinite(excess[~held_out]).all(axis=0))
    if not len(everywhere):
        raise InputError("no setting was run in every tuning workload: the grids do not overlap", where="transfer")
    chosen = [int(everywhere[i]) for i in _greedy(excess[~held_out][:, everywhere], k)]
    phases = {"tuning": ~held_out, "evaluation": held_out}
    return Transfer(
        single=runs.settings[chosen[0]],
        order=tuple(runs.settings[i] for i in chosen),
        workloads=tuple(_scores(runs, excess, chosen, held_out)),
        profiles={phase: _profile(excess[mask, chosen[0]]) for phase, mask in phases.items()},
        candidates=len(everywhere),
        dropped={"no usable loss, or a workload or knob column is null": frame.height - measured.height},
    )


def _runs(rows: pl.DataFrame, workload: Sequence[str], knobs: Sequence[str], y: str) -> _Runs:
    means = rows.group_by([*workload, *knobs]).agg(
        pl.col(y).cast(pl.Float64).mean().alias("_loss"), pl.len().alias("_rows")
    )
    tasks = means.select(workload).unique().sort(list(workload)).with_row_index("_task")
    settings = means.select(knobs).unique().sort(list(knobs)).with_row_index("_setting")
    placed = means.join(tasks, on=list(workload), nulls_equal=True).join(settings, on=list(knobs), nulls_equal=True)
    losses = np.full((tasks.height, settings.height), np.nan)
    losses[placed["_task"].to_numpy(), placed["_setting"].to_numpy()] = placed["_loss"].to_numpy()
    counts = placed.group_by("_task").agg(pl.col("_rows").sum()).sort("_task")["_rows"].to_list()
    return _Runs(tasks.drop("_task"), settings.drop("_setting").rows(named=True), losses, counts)


def _scores(runs: _Runs, excess: Array, chosen: Sequence[int], held_out: NDArray[np.bool_]) -> Iterator[WorkloadScore]:
    for i, task in enumerate(runs.tasks.rows(named=True)):
        yield WorkloadScore(
            workload=task,
            phase="evaluation" if held_out[i] else "tuning",
            rows=runs.rows[i],
            best=float(np.nanmin(runs.losses[i])),
            setting=runs.settings[int(np.nanargmin(runs.losses[i]))],
            single=_known(excess[i, chosen[0]]),
            list=tuple(_known(_lowest(excess[i, chosen[: n + 1]])) for n in range(len(chosen))),
        )


def _snapped(rows: pl.DataFrame, knobs: Sequence[str]) -> pl.DataFrame:
    """Return ``rows`` with the knobs that are floats replaced by their levels."""
    return rows.with_columns([pl.Series(name, snap(rows[name].to_numpy())) for name in _floats(rows, knobs)])


def _floats(rows: pl.DataFrame, names: Sequence[str]) -> list[str]:
    return [name for name in names if rows[name].dtype.is_float()]


def _held_out(tasks: pl.DataFrame, evaluate_on: pl.Expr | None) -> NDArray[np.bool_]:
    """Return the mask of tasks for evaluation. Raise InputError if one of the phases has none."""
    if evaluate_on is None:
        return _every_second(tasks)
    mask = tasks.select(evaluate_on.fill_null(False).alias("_held"))["_held"]
    held_out: NDArray[np.bool_] = mask.to_numpy().astype(bool)
    if held_out.all() or not held_out.any():
        raise InputError(
            f"{int(held_out.sum())} of {len(held_out)} workloads are for evaluation: both phases need at least one",
            where="transfer",
        )
    return held_out


def _every_second(tasks: pl.DataFrame) -> NDArray[np.bool_]:
    """Return the mask of the black squares of a checkerboard, so that both halves have the values of every column."""
    odd = tasks.select(pl.sum_horizontal(pl.all().rank("dense")).cast(pl.Int64) - tasks.width).to_series() % 2 == 1
    black = odd.to_numpy().astype(bool)
    return black if black.any() and not black.all() else np.asarray(np.arange(tasks.height) % 2 == 1)


def _greedy(excess: Array, k: int) -> list[int]:
    """Return the settings (columns) that most reduce the mean of the running minimum, in order, while one does."""
    chosen: list[int] = []
    reached = np.full(len(excess), np.inf)
    while len(chosen) < min(k, excess.shape[1]):
        means = np.minimum(reached[:, None], excess).mean(axis=0)
        at = int(np.argmin(means))
        if chosen and not means[at] < reached.mean():
            break
        chosen.append(at)
        reached = np.minimum(reached, excess[:, at])
    return chosen


def _lowest(excess: Array) -> float:
    return float(np.nanmin(excess)) if np.isfinite(excess).any() else float("nan")


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _profile(excess: Array) -> tuple[float, ...]:
    """Return the share of workloads within each excess; one in which the setting was not run counts as outside."""
    return tuple(float(np.mean(np.nan_to_num(excess, nan=np.inf) <= limit + 1e-12)) for limit in PROFILE)
