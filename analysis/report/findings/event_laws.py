"""The laws of the times to events, such as grokking, where trials of a report measured them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from sweeplaw.analysis.event_times.observations import EventTimes, event_columns, event_times
from sweeplaw.analysis.event_times.time_law import TimeLaw, fit_time_law
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.analysis.tuning.settings import Launches
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted, settings

MOST_PLACES = 12  # groups of trials with a law of their own


@dataclass(frozen=True, slots=True)
class EventLaw:
    """The law of the time to one event, over ``trials`` equal in ``at``; ``why_not`` says why there is none.

    ``time`` and ``censored`` are columns, ``data`` what the law was fitted to. The event occurred in ``occurred`` of
    the trials; ``median`` is None where half of them had not had it when one was last looked at.
    """

    time: str
    censored: str
    at: Mapping[str, Any]
    trials: int
    occurred: int
    median: float | None
    data: EventTimes | None = None
    law: TimeLaw | None = None
    why_not: str = ""

    @property
    def name(self) -> str:
        """Return the column of the time with its place: ``grok_step (loss_function=softmax)``."""
        return f"{self.time} ({settings(self.at)})" if self.at else self.time

    def to_dict(self) -> dict[str, Any]:
        """Return the law as plain values. Unknown is None."""
        return {
            "time": self.time,
            "censored": self.censored,
            "at": dict(self.at),
            "trials": self.trials,
            "occurred": self.occurred,
            "median": self.median,
            "law": self.law and self.law.to_dict(),
            "why_not": self.why_not or None,
        }


def event_laws(everything: pl.DataFrame, by: Axes, launches: Launches) -> tuple[EventLaw, ...]:
    """Return a law for each event of the completed trials, split by what varies and is no positive number.

    Its inputs are the axes of the launched sweeps; of rows without a launch those that split them, were tuned, or are N
    and D. Empty if no trial measured an event.
    """
    rows, events = _completed(everything), measured_events(everything)
    if not events:
        return ()
    varied = [name for name in _axes(rows, by, launches) if rows[name].n_unique() > 1]
    inputs = [name for name in varied if _is_size(rows[name])]
    split = [name for name in varied if name not in inputs]
    return tuple(one for time, censored in events.items() for one in _laws(rows, time, censored, inputs, split))


def measured_events(everything: pl.DataFrame) -> dict[str, str]:
    """Return the columns of the times to events of completed trials, each with that of its censored times."""
    rows = _completed(everything)
    workloads = rows["workload"].unique().to_list() if "workload" in rows.columns else []
    numbers = [name for name in rows.columns if rows[name].dtype.is_numeric() or rows[name].dtype == pl.Null]
    return event_columns(numbers, workloads) if rows.height else {}


def _completed(everything: pl.DataFrame) -> pl.DataFrame:
    return everything.filter(pl.col("state") == "completed") if "state" in everything.columns else everything


def _laws(
    rows: pl.DataFrame, time: str, censored: str, inputs: Sequence[str], split: Sequence[str]
) -> Iterator[EventLaw]:
    nulls = [pl.lit(None, pl.Float64).alias(name) for name in (time, censored) if name not in rows.columns]
    floats = [name for name in (time, censored) if name in rows.columns and rows[name].dtype.is_float()]
    known = rows.with_columns(*nulls, pl.col(floats).fill_nan(None)).filter(
        pl.col(time).is_not_null() | pl.col(censored).is_not_null()
    )
    many = ""
    groups = list(known.group_by(*split, maintain_order=True)) if split else [((), known)]
    if len(groups) > MOST_PLACES:
        many = f"they differ in {', '.join(split)}: {counted(len(groups), 'group')} (accepted: at most {MOST_PLACES})"
        groups, inputs = [((), known)], []
    for values, own in groups:
        if not own.height:
            continue
        names = [name for name in inputs if own[name].n_unique() > 1]
        place = dict(zip(split, values, strict=False))  # none of all trials together
        found = EventLaw(time, censored, place, own.height, own[time].count(), _median(own[time], own[censored]))
        if not names:
            yield replace(found, why_not=many or "no positive number varies between its trials")
            continue
        try:
            data = event_times(own, time, censored, names)
            yield replace(found, data=data, law=fit_time_law(data))
        except InputError as error:
            yield replace(found, why_not=error.sentence())


def _median(times: pl.Series, censored: pl.Series) -> float | None:
    """Return the median time; None if it exceeds a time at which a trial was last looked at without the event."""
    middle = times.fill_null(math.inf).cast(pl.Float64).median()
    first = censored.filter(times.is_null()).min()
    known = isinstance(middle, float) and math.isfinite(middle) and (first is None or middle <= first)  # type: ignore[operator]
    return middle if known else None  # type: ignore[return-value]


def _axes(rows: pl.DataFrame, by: Axes, launches: Launches) -> list[str]:
    listed = [one.get(role) for one in launches for role in ("scientific", "nuisance")]
    launched = [name for names in listed if isinstance(names, list) for name in names if isinstance(name, str)]
    names = dict.fromkeys(launched or [*by.families, *by.knobs, by.n, by.d])
    return [name for name in names if name in rows.columns and name != "seed"]


def _is_size(values: pl.Series) -> bool:
    """Return whether these are numbers of which at least two differ and are positive."""
    return values.dtype.is_numeric() and values.filter((values > 0).fill_null(False)).n_unique() > 1
