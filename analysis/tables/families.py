"""Roles of the columns of a table, its families of runs, and the best loss at each scientific point.

Trials that differ in a scientific axis other than model size and data (corpus, schedule, recipe) are different
families; each has laws of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from sweeplaw.analysis.tables.sql.expressions import ALIASES, check_columns
from sweeplaw.analysis.tables.tables import Tables
from sweeplaw.analysis.tables.units import units
from sweeplaw.trials.errors import InputError, nearest
from sweeplaw.trials.record import N_UNKNOWN, TRIAL_COLUMNS

N_COLUMNS = ("params_non_embedding", "params")
D_COLUMN = "tokens"
_NOT_KNOBS = frozenset(column.name for column in TRIAL_COLUMNS)
_USUAL_NUISANCE = ("lr", "weight_decay", "batch_tokens", "batch_sequences", "epochs")


@dataclass(frozen=True, slots=True)
class Axes:
    """Columns by role: ``n`` and ``d`` are N and D, ``families`` split the table, ``knobs`` were tuned.

    ``units`` are those of the columns, as far as they are known.
    """

    n: str
    d: str
    loss: str
    families: tuple[str, ...]
    knobs: tuple[str, ...]
    units: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Family:
    """The trials of one combination of the family columns.

    ``settings`` has a row for each (N, D, knobs): mean loss over seeds, their standard deviation (null for one) and
    number. ``best`` is the setting of least mean loss at each (N, D); ``seeds`` are the trials of these settings, the
    rows that laws are fitted to.
    """

    name: str
    values: Mapping[str, Any]
    trials: pl.DataFrame
    settings: pl.DataFrame
    best: pl.DataFrame
    seeds: pl.DataFrame


def axes(tables: Tables, trials: pl.DataFrame, *, loss: str = "val_loss", x: Mapping[str, str] | None = None) -> Axes:
    """Return the roles of the columns: those recorded by launches, and for imported rows what varies at fixed (N, D).

    ``x`` names the columns of N and D, by default those of our own store. Raise InputError if one is missing.
    """
    n, d = _scales(tables, trials, loss, x or {})
    check_columns(trials, [n, d, loss], numbers=[n, d, loss])
    scientific = {name for launch in tables.launches for name in launch.get("scientific", ())}
    nuisance = {name for launch in tables.launches for name in launch.get("nuisance", ())}
    varying = _varying(trials, [n, d])
    families = tuple(
        name for name in varying if name in scientific and name not in nuisance and not name.startswith("params")
    )
    usual = [name for name in _USUAL_NUISANCE if name in varying and name not in families]
    knobs = [name for name in varying if name in nuisance] or _without_duplicates(trials, usual)
    workloads = trials["workload"].unique().to_list() if "workload" in trials.columns else []
    return Axes(n, d, loss, families, tuple(knobs), units(trials.columns, tables.launches, workloads))


def _scales(tables: Tables, trials: pl.DataFrame, loss: str, x: Mapping[str, str]) -> tuple[str, str]:
    """Return the columns of N and D. Raise InputError naming each that is missing or null, the loss included."""
    x = {name: text if text in trials.columns else ALIASES.get(text, text) for name, text in x.items()}
    n, n_fault = _known(trials, [x["N"]] if "N" in x else N_COLUMNS, "--x N=COLUMN")
    d, d_fault = _known(trials, [x.get("D", D_COLUMN)], "--x D=COLUMN")
    _, loss_fault = _known(trials, [loss], "--y COLUMN")
    strange = [f"{name!r} is no input of a report (accepted: N, D)" for name in x if name not in ("N", "D")]
    if faults := [*strange, *filter(None, [n_fault, d_fault, loss_fault])]:
        raise InputError([*faults, f"columns: {', '.join(trials.columns)}"], where=tables.source)
    return n, d


def _known(trials: pl.DataFrame, names: Sequence[str], option: str) -> tuple[str, str]:
    """Return the first of these columns that has values, and an empty text; else the first, and the fault."""
    present = [name for name in names if name in trials.columns]
    known = [name for name in present if trials[name].null_count() < trials.height]
    if known:
        return known[0], ""
    if present:
        return names[0], f"{' and '.join(present)} {'are' if present[1:] else 'is'} null in all trials; give {option}"
    return names[0], f"no column {names[0]!r}{nearest(names[0], trials.columns)}; give {option}"


def n_note(trials: pl.DataFrame) -> str:
    """Return why N of these trials is unknown where only `params` is known, else an empty text."""
    if not {"params", "params_non_embedding"} <= set(trials.columns):
        return ""
    unknown = trials.filter(pl.col("params").is_not_null() & pl.col("params_non_embedding").is_null())
    return f"{unknown.height} of {trials.height} trials: {N_UNKNOWN}" if unknown.height else ""


def _without_duplicates(trials: pl.DataFrame, names: Sequence[str]) -> list[str]:
    """Return ``names`` without those equivalent to an earlier one (a batch in sequences and in tokens)."""
    kept: list[str] = []
    for name in names:
        levels = {other: trials.select(pl.struct(name, other).n_unique()).item() for other in kept}
        if not any(trials[name].n_unique() == trials[other].n_unique() == both for other, both in levels.items()):
            kept.append(name)
    return kept


def _varying(trials: pl.DataFrame, cells: Sequence[str]) -> list[str]:
    """Return the columns that take several values at some (N, D)."""
    candidates = [
        name
        for name, kind in trials.schema.items()
        if name not in cells and (name not in _NOT_KNOBS or name in _USUAL_NUISANCE or name == "unique_tokens")
        if kind in (pl.Int64, pl.Float64, pl.String, pl.Boolean) and name != "seed"
    ]
    counts = trials.group_by(cells).agg(pl.col(candidates).n_unique()).select(pl.col(candidates).max())
    return [name for name in candidates if counts[name].item(0) not in (None, 0, 1)]


def families(trials: pl.DataFrame, by: Axes) -> list[Family]:
    """Return the families in the order of their values. Rows without N, D or a finite loss are in none."""
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
