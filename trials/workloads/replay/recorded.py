"""A recorded table: the settings, losses, costs and curves of finished runs."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweeplaw.trials.errors import InputError, nearest, shown
from sweeplaw.trials.formula import Formula, parse
from sweeplaw.trials.quantities import is_number
from sweeplaw.trials.workloads.replay.curves import MOST_FAULTS, Curve, curves

Array = NDArray[np.float64]

# Training FLOPs by Kaplan et al. 2020 (arXiv:2001.08361, section 2.1).
COST = "6 * N * D"
SIZES: Mapping[str, str] = {"N": "params_non_embedding", "D": "tokens"}  # and the columns of our own stores
DIGEST_LENGTH = 16  # hex digits


@dataclass(frozen=True, slots=True)
class RecordedColumns:
    """Which columns of a table mean what: the column of each knob, of the ``loss`` and of the ``curve`` (None without),
    and the ``cost`` in FLOPs as a column or a formula over columns.
    """

    knobs: Mapping[str, str]
    loss: str = "val_loss"
    cost: str = COST
    curve: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RecordedTable:
    """Runs by row: the ``values`` of each knob, ``loss`` (rows,), inf where the run diverged, ``flops`` (rows,), the
    ``curves`` (empty where unknown), ``steps`` (0 where unknown) and the ``sizes`` N and D as far as known.

    ``rows`` are the numbers of the rows in the table, from 1. ``dropped`` counts the rows left out, by reason.
    ``digest`` identifies the content.
    """

    values: Mapping[str, tuple[Any, ...]]
    loss: Array
    flops: Array
    cost: str
    curves: tuple[Curve, ...]
    steps: NDArray[np.int64]
    sizes: Mapping[str, Array]
    rows: NDArray[np.int64]
    dropped: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def has_curves(self) -> bool:
        """Whether every run has a curve."""
        return bool(self.curves) and all(self.curves)

    @property
    def digest(self) -> str:
        """Hash of everything a trial can look up."""
        content = hashlib.sha256()
        for name in sorted(self.values):
            content.update(json.dumps([name, self.values[name]]).encode())
        for array in (self.loss, self.flops, self.steps):
            content.update(array.tobytes())
        content.update(json.dumps(self.curves).encode())
        return content.hexdigest()[:DIGEST_LENGTH]

    @classmethod
    def of(cls, frame: pl.DataFrame, meaning: RecordedColumns, points: pl.DataFrame | None = None) -> RecordedTable:
        """Return the runs of a table that completed or diverged; ``points`` are the curves of a store.

        A run has diverged if its state says so, or, in a table without states, if its loss is not finite. Raise
        InputError with every column that is missing or has other values than it should.
        """
        faults: list[str] = []
        cost = _cost(frame, meaning.cost, faults)
        _check_columns(frame, meaning, faults)
        if faults:
            raise InputError(faults)
        kept, dropped = _kept(frame.with_row_index("", offset=1), meaning)
        if not kept.height:
            reasons = "; ".join(f"{count} left out: {reason}" for reason, count in dropped.items())
            raise InputError(f"no run is left ({reasons or 'the table is empty'})")
        flops = _flops(kept, cost, faults)
        found, steps = curves(kept, meaning.curve, meaning.loss, points, faults)
        if faults:
            raise InputError(faults)
        return cls(
            values={name: tuple(kept[column].to_list()) for name, column in meaning.knobs.items()},
            loss=_losses(kept, meaning.loss),
            flops=flops,
            cost=meaning.cost,
            curves=found,
            steps=steps,
            sizes={
                SIZES[name]: kept[column].cast(pl.Float64).to_numpy()
                for name, column in _size_columns(kept).items()
                if kept[column].null_count() == 0
            },
            rows=kept[""].cast(pl.Int64).to_numpy(),
            dropped=dropped,
        )


def _check_columns(frame: pl.DataFrame, meaning: RecordedColumns, faults: list[str]) -> None:
    named = {**{f"knob {knob}": column for knob, column in meaning.knobs.items()}, "loss": meaning.loss}
    if meaning.curve is not None:
        named["curve"] = meaning.curve
    faults += [
        f"{what}: the table has no column {column!r}{nearest(column, frame.columns)} (columns: {_listed(frame)})"
        for what, column in named.items()
        if column not in frame.columns
    ]
    for knob, column in meaning.knobs.items():
        kind = frame.schema.get(column, pl.Float64())
        if not (kind.is_numeric() or kind in (pl.String, pl.Boolean)):
            faults.append(f"knob {knob}: column {column!r} holds {kind} (accepted: numbers, text, true and false)")
    if meaning.loss in frame.columns and not frame[meaning.loss].dtype.is_numeric():
        seen = frame[meaning.loss].drop_nulls().head(1).to_list()
        faults.append(f"loss: column {meaning.loss!r} holds {shown(seen[0] if seen else None)} (accepted: numbers)")


@dataclass(frozen=True, slots=True)
class _Cost:
    """A formula and the column of each name in it; without a formula, the column itself."""

    formula: Formula | None
    columns: Mapping[str, str]


def _cost(frame: pl.DataFrame, text: str, faults: list[str]) -> _Cost:
    """Return the cost over the columns of the table; append to ``faults`` what is missing."""
    if text in frame.columns:
        return _Cost(None, {text: text})
    try:
        formula = parse(text)
    except InputError as error:
        faults += [f"cost: {fault}" for fault in error.faults]
        return _Cost(None, {})
    there = {**{name: name for name in frame.columns}, **_size_columns(frame)}
    if missing := sorted(formula.names - there.keys()):
        why = " (FLOPs default to 6 * N * D)" if text == COST else ""
        close = nearest(missing[0], frame.columns)
        faults.append(
            f"cost: {shown(text)} reads {', '.join(missing)}, of which the table has no column{close}{why}; accepted: "
            f"a column, or a formula over columns ({_listed(frame)})"
        )
    return _Cost(formula, {name: there[name] for name in formula.names & there.keys()})


def _size_columns(frame: pl.DataFrame) -> dict[str, str]:
    """Return the columns of N and D, as far as there are any."""
    return {
        name: column
        for name, own in SIZES.items()
        for column in [name if name in frame.columns else own]
        if column in frame.columns and frame[column].dtype.is_numeric()
    }


def _kept(frame: pl.DataFrame, meaning: RecordedColumns) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return the rows that are runs, and how many others there are, by reason."""
    dropped: dict[str, int] = {}

    def keep(condition: pl.Expr, reason: str) -> None:
        nonlocal frame
        rest = frame.filter(condition)
        if rest.height < frame.height:
            dropped[reason] = frame.height - rest.height
        frame = rest

    loss, states = pl.col(meaning.loss), "state" in frame.columns
    if states:
        keep(pl.col("state").is_in(["completed", "diverged"]).fill_null(False), "neither completed nor diverged")
        keep((pl.col("state") == "diverged") | loss.is_not_null(), f"no {meaning.loss}")
    else:
        keep(loss.is_not_null(), f"no {meaning.loss}")
    for name, column in meaning.knobs.items():
        there = pl.col(column).is_finite() if frame[column].dtype.is_float() else pl.col(column).is_not_null()
        keep(there.fill_null(False), f"no {name}")
    return frame, dropped


def _losses(frame: pl.DataFrame, column: str) -> Array:
    """Return the losses, inf where a run diverged."""
    loss = frame[column].cast(pl.Float64)
    if "state" in frame.columns:
        loss = frame.select(pl.when(pl.col("state") == "completed").then(loss)).to_series()
    found = loss.fill_null(math.inf).to_numpy()
    return np.where(np.isfinite(found), found, math.inf)


def _flops(frame: pl.DataFrame, cost: _Cost, faults: list[str]) -> Array:
    """Return the FLOPs of each row; append to ``faults`` the first rows where they are no positive number."""
    names = list(cost.columns)
    rows = frame.select(cost.columns.values()).rows()
    found: list[float] = []
    bad: list[str] = []
    for number, row in zip(frame[""].to_list(), rows, strict=True):
        value = _value(cost.formula, dict(zip(names, row, strict=True)))
        found.append(value)
        if not 0 < value < math.inf:
            seen = ", ".join(f"{name} = {shown(one)}" for name, one in zip(names, row, strict=True))
            bad.append(f"row {number}: {seen} gives no positive number of FLOPs")
    if bad:
        more = [f"{len(bad) - MOST_FAULTS} more rows"] if len(bad) > MOST_FAULTS else []
        faults += [f"cost: {fault}" for fault in (*bad[:MOST_FAULTS], *more)]
    return np.array(found)


def _value(formula: Formula | None, values: Mapping[str, Any]) -> float:
    """Return the cost at these values of its columns; NaN if there is none."""
    if not all(is_number(value) for value in values.values()):
        return math.nan
    if formula is None:
        return float(*values.values())
    try:
        return float(formula(values))
    except (InputError, OverflowError):
        return math.nan


def _listed(frame: pl.DataFrame) -> str:
    return ", ".join(frame.columns[:40]) + (", …" if len(frame.columns) > 40 else "")
