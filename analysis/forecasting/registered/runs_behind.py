"""What became of the runs that a forecast was made from: whether their values are still those of its registration.

A forecast writes down a mark of each run, a hash of its inputs and its loss as they were measured. The forecast itself
stays as it was; only learning again from the changed source would give another one.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

from sweeplaw.analysis.forecasting.registered.record import RegisteredForecast
from sweeplaw.analysis.forecasting.registered.run_ids import value_text
from sweeplaw.analysis.tables.sql.numbers import numbers_of
from sweeplaw.trials.quantities import counted

MARK = 16  # hex digits: two of a million runs share one with a probability of 1 in 10 million


@dataclass(frozen=True, slots=True)
class RunsBehind:
    """Of the ``count`` runs behind a forecast, those whose values are ``changed`` and those ``gone`` from the source.

    A run without a trial id whose values changed counts as gone. ``state`` is unknown, and both are None, of a forecast
    of an earlier version, which has no marks.
    """

    forecast: str
    count: int
    state: Literal["unchanged", "changed", "unknown"]
    changed: int | None
    gone: int | None

    @property
    def sentence(self) -> str:
        """What changed, or '' if nothing changed or this is unknown."""
        if self.state != "changed":
            return ""
        parts = [f"{self.changed} have other values now"] * bool(self.changed)
        parts += [f"{self.gone} are not in this source as they were"] * bool(self.gone)
        return (
            f"forecast {self.forecast}: of the {counted(self.count, 'run')} that it was made from, "
            f"{' and '.join(parts)} (their digest differs from the registered one)"
        )


def marks(frame: pl.DataFrame, texts: Mapping[str, str]) -> list[str]:
    """Return a mark of each run; ``texts`` are the columns or expressions of the inputs and of ``loss``."""
    columns = [numbers_of(frame, text, name) for name, text in sorted(texts.items())]
    return [_mark(value_text(values[:-1], values[-1])) for values in zip(*columns, strict=True)]


def runs_behind(forecast: RegisteredForecast, frame: pl.DataFrame, texts: Mapping[str, str]) -> RunsBehind:
    """Return what became of the runs behind a forecast; ``frame`` are the measured rows that its condition selects."""
    ids, noted = forecast.runs.ids, forecast.runs.marks
    if len(noted) != len(ids) or not noted:
        return RunsBehind(forecast.name, len(ids), "unknown", None, None)
    here = marks(frame, texts)
    trials = frame["trial_id"].to_list() if "trial_id" in frame.columns else [None] * frame.height
    by_trial = {trial: mark for trial, mark in zip(trials, here, strict=True) if trial is not None}
    others = Counter(mark for trial, mark in zip(trials, here, strict=True) if trial is None)
    changed = gone = 0
    for run, mark in zip(ids, noted, strict=True):
        if run in by_trial:
            changed += by_trial[run] != mark
        elif others[mark]:
            others[mark] -= 1
        else:
            gone += 1
    return RunsBehind(forecast.name, len(ids), "changed" if changed or gone else "unchanged", changed, gone)


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:MARK]
