"""The runs that a table has at a point that was forecast, and their loss as a law would be fitted to it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from sweeplaw.analysis.fitting.selection import Selection, select
from sweeplaw.analysis.forecasting.registered.record import ForecastTarget, RegisteredForecast
from sweeplaw.analysis.forecasting.registered.run_ids import run_ids, value_text
from sweeplaw.analysis.tables.roles.budgets import TOKENS, with_planned_tokens
from sweeplaw.analysis.tables.sources import Rows
from sweeplaw.analysis.tables.sql.expressions import condition
from sweeplaw.analysis.tables.sql.numbers import columns_read, numbers_of
from sweeplaw.trials.quantities import counted

Array = np.ndarray
Inputs = Mapping[str, Array]
Measured = tuple[pl.DataFrame, Inputs, Array]
Key = tuple[object, ...]

SAME_RUN = 0.02  # relative distance in every input within which a run is the one that was forecast


@dataclass(frozen=True, slots=True)
class ObservedLoss:
    """The outcome at a point: the ``loss`` of the ``best`` runs, and whether any run ended before registration."""

    loss: float
    best: int
    ended_before: bool
    note: str


@dataclass(frozen=True, slots=True)
class _Settled:
    """The runs of a table that forecasts of the same columns are scored against, and which of them a law would use."""

    frame: pl.DataFrame
    inputs: Inputs
    chosen: Selection


@dataclass(frozen=True, slots=True)
class ScoredRuns:
    """The runs of a table, read once for all forecasts."""

    read: Rows
    tolerance: float
    _measured: dict[Key, Measured] = field(default_factory=dict)
    _settled: dict[tuple[Key, bool, bytes], _Settled] = field(default_factory=dict)

    def at(self, forecast: RegisteredForecast, target: ForecastTarget) -> ObservedLoss | None:
        """Return the outcome at a target of a forecast, None if no run is there yet. Raise InputError."""
        known = self._known(forecast)
        here = _near(known.inputs, target.inputs, self.tolerance)
        if not here.any():
            return None
        best = here[known.chosen.at]
        several = int(here.sum()) > int(best.sum())
        note = f"the best of the settings in {counted(int(here.sum()), 'run')}" if several else ""
        if forecast.all_rows and here.sum() > 1:
            note = f"made from every row (--all-rows): the mean of {counted(int(here.sum()), 'run')}"
        pooled = [note for note in known.chosen.notes if "families are fitted together" in note]
        early = _ended_before(known.frame.filter(here), forecast.registered_at)
        return ObservedLoss(
            float(known.chosen.losses[best].mean()), int(best.sum()), early, "; ".join(filter(None, [note, *pooled]))
        )

    def selected(self, forecast: RegisteredForecast) -> tuple[pl.DataFrame, Mapping[str, str]]:
        """Return the measured rows that the condition of a forecast selects, and the columns of its inputs and loss."""
        key, texts = self._measure(forecast)
        return self._measured[key][0], texts

    def _measure(self, forecast: RegisteredForecast) -> tuple[Key, Mapping[str, str]]:
        """Measure the rows that a forecast selects, once; return their key, and the columns of inputs and loss."""
        texts = {name: forecast.columns[name] for name in (*forecast.targets[0].inputs, "loss")}
        key = (forecast.where, *sorted(texts.items()))
        if key not in self._measured:
            every = self.read.frame
            kept = every if forecast.where is None else every.filter(condition(forecast.where, every.schema))
            self._measured[key] = measured(kept, texts)
        return key, texts

    def _known(self, forecast: RegisteredForecast) -> _Settled:
        """Return the runs without those at a target that the forecast was made from.

        The noise, which the correction of a best setting needs, is estimated from the others.
        """
        key, texts = self._measure(forecast)
        frame, inputs, losses = self._measured[key]
        learnt = _near_any(inputs, [target.inputs for target in forecast.targets], self.tolerance)
        learnt[learnt] = _made_from(forecast, frame.filter(learnt), inputs, losses, learnt)
        settled = (key, forecast.all_rows, np.flatnonzero(learnt).tobytes())
        if settled not in self._settled:
            rest, others = frame.filter(~learnt), {name: column[~learnt] for name, column in inputs.items()}
            ignored = sorted(columns_read(frame, texts.values()))
            chosen = select(
                rest, others, losses[~learnt], self.read.launches, ignored=ignored, pool=True,
                all_rows=forecast.all_rows,
            )  # fmt: skip
            self._settled[settled] = _Settled(rest, others, chosen)
        return self._settled[settled]


def measured(frame: pl.DataFrame, texts: Mapping[str, str]) -> Measured:
    """Return the rows whose inputs and loss are known and positive, their inputs and their losses.

    ``texts`` are the columns or expressions of the inputs and of ``loss``. Raise InputError.
    """
    frame = with_planned_tokens(frame)[0] if TOKENS in texts.values() else frame
    columns = {name: numbers_of(frame, text, name) for name, text in texts.items()}
    known = np.logical_and.reduce([np.isfinite(column) & (column > 0) for column in columns.values()])
    kept = {name: column[known] for name, column in columns.items()}
    losses = kept.pop("loss")
    return frame.filter(pl.Series(known, dtype=pl.Boolean)), kept, losses


def count_at(inputs: Inputs, point: Mapping[str, float], tolerance: float = SAME_RUN) -> int:
    """Return the number of runs at a point."""
    return int(_near(inputs, point, tolerance).sum())


def _near(inputs: Inputs, point: Mapping[str, float], tolerance: float) -> Array:
    near = [np.abs(inputs[name] / value - 1) <= tolerance for name, value in point.items()]
    return np.asarray(np.logical_and.reduce(near))


def _near_any(inputs: Inputs, points: Iterable[Mapping[str, float]], tolerance: float) -> Array:
    return np.asarray(np.logical_or.reduce([_near(inputs, point, tolerance) for point in points]))


def _made_from(forecast: RegisteredForecast, part: pl.DataFrame, inputs: Inputs, losses: Array, at: Array) -> Array:
    """Return which of the runs ``at`` (a mask), whose rows are ``part``, the forecast was made from."""
    rows: Sequence[tuple[float, ...]] = list(zip(*(column[at] for column in inputs.values()), strict=True))
    texts = [value_text(row, loss) for row, loss in zip(rows, losses[at], strict=True)]
    return np.isin(np.array(run_ids(part, texts), dtype=str), np.array(forecast.runs.ids, dtype=str))


def _ended_before(frame: pl.DataFrame, registered_at: str) -> bool:
    """Return whether one of these runs ended before the forecast was registered; False if unknown."""
    if "ended_at" not in frame.columns or not isinstance(frame.schema["ended_at"], pl.Datetime):
        return False
    when = dt.datetime.fromisoformat(registered_at)
    return any(_aware(end) < when for end in frame["ended_at"].drop_nulls())


def _aware(time: dt.datetime) -> dt.datetime:
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)
