"""The rows of a fit: which columns are N, D and the loss, and which rows cannot take part and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from sweeplaw.analysis.fitting.apparent_units import apparent_units, labelled
from sweeplaw.analysis.fitting.checks import Dropped, Observations, data_warnings, has_own_trials, require_fittable
from sweeplaw.analysis.fitting.selection import Selection, select
from sweeplaw.analysis.laws.law import Law
from sweeplaw.analysis.tables.arguments import check_names
from sweeplaw.analysis.tables.roles.budgets import TOKENS, budget_note, with_planned_tokens
from sweeplaw.analysis.tables.runs import LARGEST
from sweeplaw.analysis.tables.sources import rows as rows_of
from sweeplaw.analysis.tables.sql.expressions import ALIASES, condition, some_columns
from sweeplaw.analysis.tables.sql.numbers import columns_read, numbers_of
from sweeplaw.trials.errors import InputError, gathered
from sweeplaw.trials.record import N_UNKNOWN

Array = np.ndarray

# columns of our own store; for any other file the user names them
STORE_COLUMNS = {
    **ALIASES,
    "U": "unique_tokens",
    "M": "batch_tokens",
    "K": "steps",
    "P": "precision_bits",
    "loss": "val_loss",
}
MAX_ROW_NUMBERS = 1000  # kept for each reason; the count is always exact


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns and rows of a table that a fit uses.

    ``x`` maps the law's inputs to columns or SQL expressions of columns, ``y`` is the loss, ``weights`` the weight of
    each row; without ``x`` and ``y`` the columns of our own store are used. ``units`` divide the inputs. ``where`` is
    an SQL condition on the rows. Of these the best settings are used, as `analysis.fitting.selection.select` says:
    ``knobs`` are what was tuned (None: as launches recorded, or the columns suggest), ``pool`` uses several families of
    runs together, ``all_rows`` uses every row.
    """

    x: str | Mapping[str, str] | None = None
    y: str | None = None
    weights: str | None = None
    units: Mapping[str, float] | None = None
    where: str | None = None
    all_rows: bool = False
    pool: bool = False
    knobs: Sequence[str] | None = None


def observe(table: Any, law: Law, columns: Columns) -> Observations:
    """Return the rows of ``table`` as the law needs them. Raise InputError with every fault and its row numbers.

    ``table`` is any source of runs (`analysis.tables.sources.rows`).
    """
    check_names(knobs=columns.knobs)
    source = rows_of(table)
    before = tuple(Dropped(reason, (), count) for reason, count in source.dropped.items() if count)
    finished, unfinished = _completed(source.frame.with_row_index("__row", offset=1))
    frame, unknown = _where(finished, columns.where)
    frame, numbers = frame.drop("__row"), frame["__row"]
    mapping = _mapping(law, _by_input(law, columns.x), columns.y, columns.weights, frame.columns)
    frame, planned = (frame, 0) if columns.all_rows or TOKENS not in mapping.values() else with_planned_tokens(frame)
    values = gathered({name: partial(numbers_of, frame, text, name, numbers) for name, text in mapping.items()})
    units = _units(_by_input(law, columns.units), law)
    rows = numbers.to_numpy()
    keep, dropped = _split(values, rows, mapping)
    selection = _selected(frame, values, keep, law, mapping, columns, source.launches)
    keep, dropped = _without_others(keep, selection, rows, dropped)
    kept = {name: value[keep] for name, value in values.items()}
    observations = Observations(
        {name: kept[name] / units.get(name, 1.0) for name in law.inputs}, selection.losses,
        kept.get("weight", np.ones(int(keep.sum()))), rows[keep], frame.filter(pl.Series(keep)),
        mapping, units, (*before, *unfinished, *unknown, *dropped), (),
        {name: source.units[column] for name, column in mapping.items() if source.units.get(column)},
        selection.rule, selection.values, _odd_units(frame, kept, mapping, units),
    )  # fmt: skip
    require_fittable(observations, law, _unknown_n(source.frame, mapping))
    damaged = (f"damaged: {fault}" for fault in source.faults)
    unknown_n = filter(None, [_unknown_n(source.frame, mapping)])
    return replace(
        observations,
        warnings=(*damaged, *unknown_n, *selection.notes, *budget_note(planned), *data_warnings(observations)),
    )


def _odd_units(
    frame: pl.DataFrame, values: Mapping[str, Array], mapping: Mapping[str, str], units: Mapping[str, float]
) -> str:
    columns = {name: text for name, text in mapping.items() if text in frame.columns}
    return "" if has_own_trials(frame) else apparent_units(values, columns, units)


def _unknown_n(frame: pl.DataFrame, mapping: Mapping[str, str]) -> str:
    """Return why N is null in trials whose parameters are known; empty if it is not, or not used."""
    if "params_non_embedding" not in mapping.values() or "params" not in frame.columns:
        return ""
    unknown = frame["params_non_embedding"].is_null() & frame["params"].is_not_null()
    return f"{unknown.sum()} rows: {N_UNKNOWN} (--x N=params)" if unknown.any() else ""


def _completed(frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[Dropped, ...]]:
    """Return the rows without our trials that did not complete: a diverged one may record a low loss."""
    if not {"state", "trial_id"} <= set(frame.columns):
        return frame, ()
    done = frame["state"].fill_null("completed") == "completed"
    others = frame["__row"].filter(~done)
    return frame.filter(done), ((_dropped("not completed", others.to_numpy()),) if others.len() else ())


def _where(frame: pl.DataFrame, where: str | None) -> tuple[pl.DataFrame, tuple[Dropped, ...]]:
    """Return the rows for which the condition holds; a row for which it is null counts as dropped."""
    if where is None:
        return frame, ()
    holds = condition(where, frame.drop("__row").schema)
    verdict = frame.with_columns(holds.cast(pl.Boolean).alias("__keep"))["__keep"]
    unknown = frame["__row"].filter(verdict.is_null())
    reason = f"condition {where!r} is unknown (a missing value)"
    dropped = (_dropped(reason, unknown.to_numpy()),) if unknown.len() else ()
    return frame.filter(verdict.fill_null(False)), dropped


def _dropped(reason: str, rows: Array) -> Dropped:
    return Dropped(reason, tuple(int(row) for row in rows[:MAX_ROW_NUMBERS]), int(rows.size))


def _by_input(law: Law, given: Any) -> dict[str, Any]:
    """Return ``given`` by input; a law of one input takes any one name for it, or none."""
    if given is None:
        return {}
    if len(law.inputs) == 1:
        values = list(given.values()) if isinstance(given, Mapping) else [given]
        if len(values) > 1:
            raise InputError(f"{law.name} has one input, {law.inputs[0]}; {len(values)} given")
        return dict(zip(law.inputs, values, strict=False))
    if not isinstance(given, Mapping):
        raise InputError(f"{law.name} has the inputs {', '.join(law.inputs)}; name the column of each")
    return dict(given)


def _mapping(
    law: Law, x: Mapping[str, str], y: str | None, weights: str | None, columns: Sequence[str]
) -> dict[str, str]:
    """Return the column or expression of each input, the loss and the weight. Raise InputError with every fault."""
    known = ", ".join(law.inputs)
    faults = [f"{name!r} is no input of {law.name} (its inputs: {known})" for name in x if name not in law.inputs]
    mapping = {}
    for name, given in [*((name, x.get(name)) for name in law.inputs), ("loss", y)]:
        found = given or next((choice for choice in (STORE_COLUMNS.get(name, name), name) if choice in columns), None)
        if found is None:
            option = "--y COLUMN" if name == "loss" else f"--x {name}=COLUMN"
            faults.append(f"which column is {name}? Give {option} (columns: {some_columns(columns, name)})")
        else:
            mapping[name] = found
    if faults:
        raise InputError(faults)
    return mapping | ({"weight": weights} if weights else {})


def _units(units: Mapping[str, float], law: Law) -> dict[str, float]:
    known = ", ".join(law.inputs)
    faults = [f"unit of {name!r}: {law.name} has the inputs {known}" for name in units if name not in law.inputs]
    faults += [
        f"unit of {name} = {unit!r} (accepted: a positive number)" for name, unit in units.items() if not unit > 0
    ]
    if faults:
        raise InputError(faults)
    return {name: float(unit) for name, unit in units.items()}


def _selected(
    frame: pl.DataFrame, values: Mapping[str, Array], keep: Array, law: Law, mapping: Mapping[str, str],
    columns: Columns, launches: Sequence[Mapping[str, Any]],
) -> Selection:  # fmt: skip
    """Return the rows to fit, of those that can take part."""
    inputs = {name: values[name][keep] for name in law.inputs}
    if taken := [name for name in columns.knobs or () if name in mapping.values()]:
        raise InputError(f"{', '.join(taken)}: an input of the law, its loss or weight is no knob")
    usable = frame.filter(pl.Series(keep))
    return select(
        usable, inputs, values["loss"][keep], launches, ignored=[*columns_read(frame, mapping.values())],
        all_rows=columns.all_rows, pool=columns.pool, knobs=columns.knobs,
    )  # fmt: skip


def _without_others(
    keep: Array, selection: Selection, numbers: Array, dropped: tuple[Dropped, ...]
) -> tuple[Array, tuple[Dropped, ...]]:
    """Return the mask of the selected rows, and the rows that take no part, those of other settings included."""
    chosen = np.zeros(len(keep), dtype=bool)
    chosen[np.flatnonzero(keep)[selection.at]] = True
    behind = numbers[keep & ~chosen]
    return chosen, (*dropped, *([_dropped("not the best setting of their point", behind)] if behind.size else []))


def _split(
    values: Mapping[str, Array], numbers: Array, mapping: Mapping[str, str]
) -> tuple[Array, tuple[Dropped, ...]]:
    """Return a mask of the rows whose values are all finite, positive and of a size that can be computed with, and the
    others by their first reason.
    """
    keep, dropped = np.ones(len(numbers), dtype=bool), []
    for name, value in values.items():
        faults = {
            "missing or NaN": np.isnan(value), "infinite": np.isinf(value), "zero or negative": value <= 0,
            f"above {LARGEST:g}": value > LARGEST, f"below {1 / LARGEST:g}": value < 1 / LARGEST,
        }  # fmt: skip
        for reason, bad in faults.items():
            rows = numbers[bad & keep]
            if rows.size:
                dropped.append(_dropped(f"{labelled(name, mapping[name])} {reason}", rows))
            keep &= ~bad
    return keep, tuple(dropped)
