"""Roles of the columns of a report: which are N, D and the loss, what splits its runs, and what was tuned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from sweeplaw.analysis.tables.roles.roles import roles
from sweeplaw.analysis.tables.sql.expressions import ALIASES, check_columns, some_columns
from sweeplaw.analysis.tables.tables import Tables
from sweeplaw.analysis.tables.units import units
from sweeplaw.trials.errors import InputError, nearest
from sweeplaw.trials.record import N_UNKNOWN

N_COLUMNS = ("params_non_embedding", "params")
D_COLUMN = "tokens"


@dataclass(frozen=True, slots=True)
class Axes:
    """Columns by role: ``n`` and ``d`` are N and D, ``families`` split the table, ``knobs`` were tuned.

    ``units`` are those of the columns, as far as they are known; ``notes`` are sentences on how roles were decided.
    """

    n: str
    d: str
    loss: str
    families: tuple[str, ...]
    knobs: tuple[str, ...]
    units: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def axes(tables: Tables, trials: pl.DataFrame, *, loss: str = "val_loss", x: Mapping[str, str] | None = None) -> Axes:
    """Return the roles of the columns: those recorded by launches, for other rows by `analysis.tables.roles.guessed`.

    ``x`` names the columns of N and D, by default those of our own store. Raise InputError if one is missing.
    """
    n, d = _scales(tables, trials, loss, x or {})
    check_columns(trials, [n, d, loss], numbers=[n, d, loss])
    usable = trials.drop_nulls([n, d, loss])
    found = roles(usable, tables.launches, [n, d], [loss])
    workloads = trials["workload"].unique().to_list() if "workload" in trials.columns else []
    known = units(trials.columns, tables.launches, workloads)
    return Axes(n, d, loss, found.families, found.knobs, known, found.notes)


def _scales(tables: Tables, trials: pl.DataFrame, loss: str, x: Mapping[str, str]) -> tuple[str, str]:
    """Return the columns of N and D. Raise InputError naming each that is missing or null, the loss included."""
    x = {name: text if text in trials.columns else ALIASES.get(text, text) for name, text in x.items()}
    n, n_fault = _known(trials, [x["N"]] if "N" in x else N_COLUMNS, "--x N=COLUMN")
    d, d_fault = _known(trials, [x.get("D", D_COLUMN)], "--x D=COLUMN")
    _, loss_fault = _known(trials, [loss], "--y COLUMN")
    strange = [f"{name!r} is no input of a report (accepted: N, D)" for name in x if name not in ("N", "D")]
    if faults := [*strange, *filter(None, [n_fault, d_fault, loss_fault])]:
        numbers = [name for name, kind in trials.schema.items() if kind.is_numeric() and trials[name].count()]
        raise InputError([*faults, f"columns of numbers: {some_columns(numbers, loss)}"], where=tables.source)
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
