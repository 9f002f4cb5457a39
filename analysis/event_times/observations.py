"""Times of an event, or of the last look without it, with the settings of each trial: from the rows of a table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from sweeplaw.trials.errors import InputError, shown
from sweeplaw.trials.quantities import counted
from sweeplaw.trials.record import EVENTS

Array = np.ndarray

TIME, CENSORED = "_step", "_censored_step"  # ends of the names of an event's two columns


@dataclass(frozen=True, slots=True)
class EventTimes:
    """``times`` (n,) and whether each is that of the ``event`` or of the last look without it; ``inputs`` (n, k) by
    ``names``; ``notes`` say which rows were left out.
    """

    times: Array
    event: Array
    inputs: Array
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        faults = [
            f"{name} must be positive and finite (seen: {shown(float(column[bad][0]))})"
            for name, column in zip(("the time", *self.names), (self.times, *self.inputs.T), strict=True)
            if (bad := ~((column > 0) & np.isfinite(column))).any()
        ]
        if not len(self.times):
            faults.append("no row has a time of the event or of its censoring")
        if faults:
            raise InputError(faults)


def event_times(frame: pl.DataFrame, time: str, censored: str, inputs: Sequence[str]) -> EventTimes:
    """Return the times of the rows that have one.

    In a row with a value in ``time`` the event occurred; one with a value only in ``censored`` is censored there. Rows
    with neither (failed trials), or with an input that is null or not positive, are left out. Raise InputError.
    """
    names = [time, censored, *inputs]
    faults = [
        f"column {name!r} is {kind} (accepted: numbers)" for name in names if _is_other(kind := frame.schema[name])
    ]
    faults += [f"--x {name} is given twice (accepted: once)" for name in sorted({*inputs}) if inputs.count(name) > 1]
    if time == censored:
        faults.append(f"--censored {censored} is the column of the times too (accepted: another column)")
    faults += [
        f"--x {name} is a column of the times (accepted: another column)" for name in {time, censored} & {*inputs}
    ]
    if not inputs:
        faults.append("no input is given (accepted: --x COLUMN, one or several)")
    if faults:
        raise InputError(faults)
    numbers = frame.select(pl.col(name).cast(pl.Float64).fill_nan(None) for name in names)
    both = numbers.filter(pl.col(time).is_not_null() & pl.col(censored).is_not_null()).height
    if both:
        faults.append(f"{counted(both, 'row')} with both {time} and {censored} (accepted: one of them, the other null)")
    known = numbers.filter(pl.col(time).is_not_null() | pl.col(censored).is_not_null())
    usable = known.filter(pl.all_horizontal(pl.col(list(inputs)).fill_null(0.0) > 0))
    notes = []
    if missing := numbers.height - known.height:
        notes.append(f"{counted(missing, 'row')} left out: neither {time} nor {censored}")
    if rest := known.height - usable.height:
        notes.append(f"{counted(rest, 'row')} left out: null or not positive in {', '.join(inputs)}")
    try:
        found = EventTimes(
            times=usable.select(pl.coalesce(time, censored)).to_series().to_numpy(),
            event=usable[time].is_not_null().to_numpy(),
            inputs=usable.select(inputs).to_numpy(),
            names=tuple(inputs),
            notes=tuple(notes),
        )
    except InputError as error:
        raise InputError([*faults, *error.faults]) from None
    if faults:
        raise InputError(faults)
    return found


def event_columns(columns: Collection[str], workloads: Collection[str | None]) -> dict[str, str]:
    """Return the column of the time of each event that a table measures, with that of its censoring.

    Either may be missing from the table, which has columns only of numbers that some trial has. Those of our own
    workloads are known; of other runs, an event is known by both columns.
    """
    own = [name for workload in workloads for name in EVENTS.get(workload or "", ())]
    stems = [name.removesuffix(CENSORED) for name in columns if name.endswith(CENSORED)]
    others = [name for name in stems if f"{name}{TIME}" in columns]
    found = {f"{name}{TIME}": f"{name}{CENSORED}" for name in dict.fromkeys([*own, *others])}
    return {time: censored for time, censored in found.items() if time in columns or censored in columns}


def _is_other(kind: pl.DataType) -> bool:
    return not (kind.is_numeric() or kind == pl.Null)
