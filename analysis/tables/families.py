"""What a table is about: its scientific points, its nuisance axes, and the best loss at each point.

Trials that differ in a scientific axis other than model size and data (corpus, schedule, recipe) are different
families; each gets laws of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from sweeplaw.analysis.tables.tables import Tables
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import TRIAL_COLUMNS

N_COLUMNS = ("params_non_embedding", "params")
D_COLUMN = "tokens"
MAX_LEVELS = 64  # a knob with more distinct values than this was sampled, not gridded; it still is a nuisance axis
_NOT_KNOBS = frozenset(column.name for column in TRIAL_COLUMNS)
_USUAL_NUISANCE = ("lr", "weight_decay", "batch_tokens", "batch_sequences", "epochs")


@dataclass(frozen=True, slots=True)
class Axes:
    """Columns by role: ``n`` and ``d`` are what N and D mean, ``families`` split the table, ``knobs`` were tuned."""

    n: str
    d: str
    loss: str
    families: tuple[str, ...]
    knobs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """The trials of one combination of the family columns.

    ``settings`` has a row for each (N, D, knobs): mean loss over seeds, their standard deviation (null for one),
    count. ``best`` is the setting of least mean loss at each (N, D); ``seeds`` are the single trials of those settings,
    the rows laws are fitted to.
    """

    name: str
    values: Mapping[str, Any]
    trials: pl.DataFrame
    settings: pl.DataFrame
    best: pl.DataFrame
    seeds: pl.DataFrame


def axes(tables: Tables, trials: pl.DataFrame, *, loss: str = "val_loss") -> Axes:
    """The roles of the columns: what the launches say, and for imported rows what varies at fixed (N, D)."""
    if loss not in trials.columns or D_COLUMN not in trials.columns:
        raise InputError(
            f"{tables.source}: a report needs the columns {loss}, {D_COLUMN} and {' or '.join(N_COLUMNS)} (it has "
            f"{', '.join(trials.columns)}); `sweeplaw import` gives columns these names"
        )
    n = next((name for name in N_COLUMNS if name in trials.columns and trials[name].null_count() < trials.height), None)
    if n is None:
        raise InputError(f"{tables.source}: no parameter counts (accepted columns: {', '.join(N_COLUMNS)})")
    scientific = {name for launch in tables.launches for name in launch.get("scientific", ())}
    said = {name for launch in tables.launches for name in launch.get("nuisance", ())}
    varying = _varying(trials, [n, D_COLUMN])
    families = tuple(
        name for name in varying if name in scientific and name not in said and not name.startswith("params")
    )
    usual = [name for name in _USUAL_NUISANCE if name in varying and name not in families]
    knobs = [name for name in varying if name in said] or _once(trials, usual)
    return Axes(n, D_COLUMN, loss, families, tuple(knobs))


def _once(trials: pl.DataFrame, names: Sequence[str]) -> list[str]:
    """``names`` without those that say what an earlier one says (a batch in sequences and in tokens)."""
    kept: list[str] = []
    for name in names:
        levels = {other: trials.select(pl.struct(name, other).n_unique()).item() for other in kept}
        if not any(trials[name].n_unique() == trials[other].n_unique() == both for other, both in levels.items()):
            kept.append(name)
    return kept


def _varying(trials: pl.DataFrame, cells: Sequence[str]) -> list[str]:
    """Columns that take several values within some (N, D)."""
    candidates = [
        name
        for name, kind in trials.schema.items()
        if name not in cells and (name not in _NOT_KNOBS or name in _USUAL_NUISANCE or name == "unique_tokens")
        if kind in (pl.Int64, pl.Float64, pl.String, pl.Boolean) and name != "seed"
    ]
    counts = trials.group_by(cells).agg(pl.col(candidates).n_unique()).select(pl.col(candidates).max())
    return [name for name in candidates if counts[name].item(0) not in (None, 0, 1)]


def families(trials: pl.DataFrame, by: Axes) -> list[Family]:
    """The families in the order of their values. Rows without N, D or a finite loss are in none."""
    cells, knobs = [by.n, by.d], list(by.knobs)
    usable = trials.drop_nulls([*cells, by.loss]).filter(pl.col(by.loss).is_finite())
    parts = usable.partition_by(list(by.families), as_dict=True) if by.families else {(): usable}
    return [
        _family(dict(zip(by.families, values, strict=True)), part, by, cells, knobs)
        for values, part in sorted(parts.items(), key=lambda item: str(item[0]))
        if part.height
    ]


def _family(values: dict[str, Any], part: pl.DataFrame, by: Axes, cells: list[str], knobs: list[str]) -> Family:
    settings = (
        part.group_by([*cells, *knobs])
        .agg(
            pl.col(by.loss).mean().alias(by.loss),
            pl.col(by.loss).std().alias("seed_std"),
            pl.len().alias("seeds"),
        )
        .sort([*cells, *knobs], nulls_last=True)
    )
    best = settings.sort(by.loss).unique(cells, keep="first", maintain_order=True).sort(cells)
    seeds = part.join(best.select([*cells, *knobs]), on=[*cells, *knobs], how="semi", nulls_equal=True).sort(cells)
    name = ", ".join(f"{key} = {value}" for key, value in values.items()) or "all trials"
    return Family(name, values, part, settings, best, seeds)
