"""Checks of the rows of a fit: faults that forbid it and warnings reported with it, both with row numbers.

No row is dropped silently: a row that cannot take part is reported with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from sweeplaw.analysis.fitting.apparent_units import labelled
from sweeplaw.analysis.laws.law import Law
from sweeplaw.analysis.tables.units import is_own
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted
from sweeplaw.trials.record import LOSS_UNITS

Array = np.ndarray

ROWS_NAMED = 8  # in a message, before "and k more"
FAR = 30.0  # times the median distance from the law; assumption: noise with heavy tails rarely goes as far
LEAST_FAR = 0.02  # relative distance; less is no slip
MOST_FAR = 0.2  # of the rows: more of them are no outliers but misfit
ONE_BUDGET = 0.1  # of log compute: rows that differ by less have one budget
MAX_ROWS_COMPARED = 1_000_000  # larger tables are not searched for copies


@dataclass(frozen=True, slots=True)
class Dropped:
    """Rows (counted from 1, as read; at most the first thousand) that could not take part, and their count."""

    reason: str
    rows: tuple[int, ...]
    count: int

    def describe(self) -> str:
        """Return ``3 loss (val_loss) missing or NaN, rows 1, 4, 7``."""
        return f"{self.count} {self.reason}" + (f", {name_rows(self.rows, self.count)}" if self.rows else "")


@dataclass(frozen=True, slots=True)
class Observations:
    """Rows ready to be fitted. ``inputs`` are in the law's units: the columns divided by ``units``.

    ``unit_names`` are the units of the columns of the inputs and the loss in words, as far as they are known. ``rule``
    says which rows these are, ``selection`` has the points whose best setting was selected, None without a selection;
    there ``losses`` include its correction. ``odd_units`` says in what units N and D seem to be if they are no counts.
    """

    inputs: Mapping[str, Array]
    losses: Array
    weights: Array
    rows: Array
    frame: pl.DataFrame
    columns: Mapping[str, str]
    units: Mapping[str, float]
    dropped: tuple[Dropped, ...]
    warnings: tuple[str, ...]
    unit_names: Mapping[str, str] = field(default_factory=dict)
    rule: str = ""
    selection: Mapping[str, Any] | None = None
    odd_units: str = ""

    @property
    def rows_dropped(self) -> int:
        """Number of rows that took no part."""
        return sum(item.count for item in self.dropped)


def name_rows(rows: Sequence[int], count: int | None = None) -> str:
    """Return ``rows 3, 5, 8 and 12 more``."""
    total = len(rows) if count is None else count
    more = f" and {total - ROWS_NAMED} more" if total > ROWS_NAMED else ""
    return f"row{'s' * (total > 1)} {', '.join(str(row) for row in rows[:ROWS_NAMED])}{more}"


def outlier_warnings(observations: Observations, predicted: Array) -> tuple[str, ...]:
    """Return a warning that names the rows far from the law, if they are few: a slip of the pen, a run that broke."""
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.log(observations.losses) - np.log(predicted)
    usual = float(np.median(np.abs(apart)))
    far = np.flatnonzero(np.abs(apart) > max(FAR * usual, LEAST_FAR))
    if not 0 < len(far) <= MOST_FAR * len(apart):
        return ()
    worst = float(np.exp(apart[far[np.argmax(np.abs(apart[far]))]]))
    rows = sorted(int(observations.rows[number]) for number in far)
    return (
        f"{counted(len(far), 'row')} more than {FAR:g} times as far from the law as half of all rows are, the farthest "
        f"at {worst:.3g} times its loss: {name_rows(rows)}",
    )


def data_warnings(observations: Observations) -> tuple[str, ...]:
    """Return warnings about rows that are fitted anyway."""
    warnings = [f"left out: {item.describe()}" for item in observations.dropped]
    copies = _copies(observations)
    if copies.size:
        named = name_rows(observations.rows[copies].tolist())
        which = f"repeat{'s' * (copies.size == 1)} an earlier row exactly ({named})"
        warnings.append(f"{counted(copies.size, 'row')} {which}; each counts as one more run")
    if _has_one_budget(observations.inputs):
        why = "they show the best N at it, not how it moves with compute: its parameters are open"
        warnings.append(f"all rows have one compute budget (N D = const): {why}")
    if observations.odd_units:
        warnings.append(
            f"{observations.odd_units}; until then the law is in these units, and budgets in FLOPs mean nothing"
        )
    return tuple(warnings)


def _has_one_budget(inputs: Mapping[str, Array]) -> bool:
    """Return whether N and D vary only against one another."""
    if set(inputs) != {"N", "D"} or len(inputs["N"]) < 2:
        return False
    logs = [np.log(inputs[name]) for name in ("N", "D")]
    return bool(np.ptp(logs[0]) > 0 and np.ptp(logs[0] + logs[1]) < ONE_BUDGET)


def has_own_trials(frame: pl.DataFrame) -> bool:
    """Return whether some runs do not train a language model; their N and D may be of any size."""
    ran = frame["workload"].unique() if "workload" in frame.columns else ()
    return any(is_own(workload) or workload in LOSS_UNITS for workload in ran)


def _copies(observations: Observations) -> Array:
    """Return the positions of rows whose inputs and loss are those of an earlier row."""
    if len(observations.losses) > MAX_ROWS_COMPARED:
        return np.zeros(0, dtype=int)
    frame = pl.DataFrame({**observations.inputs, "__loss": observations.losses})
    return np.flatnonzero(~frame.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy())


def require_fittable(observations: Observations, law: Law, hint: str = "") -> None:
    """Raise InputError if no fit is possible: too few points, inputs that do not vary, losses that are all equal.

    ``hint`` is a further fault then.
    """
    faults = [*_input_faults(observations, law), *_loss_faults(observations, law)]
    if faults:
        faults += [hint] if hint else []
        raise InputError(faults, hints=[f"left out: {item.describe()}" for item in observations.dropped])


def _input_faults(observations: Observations, law: Law) -> list[str]:
    rows, points, faults = len(observations.losses), _distinct_points(observations), []
    if points < len(law.names):
        needed = f"the {len(law.names)} parameters {', '.join(law.names)}"
        faults.append(f"{counted(rows, 'row')} with {counted(points, 'distinct point')} cannot fix {needed}")
    for name, column in observations.inputs.items():
        if rows and np.all(column == column[0]):
            everywhere = "the only row" if rows == 1 else f"all {rows} rows"
            value = f"{labelled(name, observations.columns[name])} is {column[0]:g} in {everywhere}"
            faults.append(f"{value}: with one distinct value its term cannot be distinguished from a constant")
    varying = {name: text for name, text in observations.columns.items() if name in observations.inputs
               and np.ptp(observations.inputs[name])} if rows else {}  # fmt: skip
    if len(varying) == 1 < len(observations.inputs):
        name, text = next(iter(varying.items()))
        faults.append(f"only {name} varies: the law of one input can be fitted instead (power_asymptote, x={text})")
    return faults


def _loss_faults(observations: Observations, law: Law) -> list[str]:
    losses, faults = observations.losses, []
    if len(losses) > 1 and np.all(losses == losses[0]):
        faults.append(f"all {len(losses)} losses are equal ({losses[0]:g}): there is nothing to fit")
    bound = next((param.low for param in law.free if param.name == law.asymptote), 0.0)
    below = observations.rows[losses <= bound]
    if bound > 0 and below.size:
        faults.append(f"losses at or below the bound {law.asymptote} >= {bound:g} in {name_rows(below.tolist())}")
    return faults


def _distinct_points(observations: Observations) -> int:
    first = {name: column[:10000] for name, column in observations.inputs.items()}  # enough to count up to p
    return pl.DataFrame(first).unique().height
