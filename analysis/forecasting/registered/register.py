"""Register a forecast: everything about it in one value, before the run that it is about."""

from __future__ import annotations

import datetime as dt
import getpass
import hashlib
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from typing import Any

import numpy as np

from sweeplaw.analysis.fitting.checks import Observations
from sweeplaw.analysis.fitting.selection import ALL
from sweeplaw.analysis.forecasting.forecaster import Forecaster
from sweeplaw.analysis.forecasting.registered.assumptions import assumptions
from sweeplaw.analysis.forecasting.registered.matching_runs import count_at, measured
from sweeplaw.analysis.forecasting.registered.record import ForecastTarget, LearntFrom, RegisteredForecast, digest_of
from sweeplaw.analysis.forecasting.registered.run_ids import run_ids, value_text
from sweeplaw.analysis.forecasting.registered.runs_behind import marks
from sweeplaw.analysis.forecasting.rollouts import rollouts
from sweeplaw.analysis.forecasting.scores import LEVELS
from sweeplaw.analysis.tables.sources import rows
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.progress import ProgressCallback, no_progress
from sweeplaw.trials.quantities import counted, settings, short

Array = np.ndarray

MOST_IDS = 100_000  # of runs that are written down one by one


def register_forecast(
    found: Forecaster, at: Sequence[Mapping[str, float]], *, table: Any = None, source: str = "",
    where: str | None = None, who: str | None = None, assume: Sequence[str] = (),
    watch: ProgressCallback = no_progress,
) -> RegisteredForecast:  # fmt: skip
    """Return the forecast of the runs ``at`` (inputs in the table's own units), with 50, 80 and 95 % bands, sealed.

    ``table`` is what ``found`` was learnt from, all of it: a point that has been run is refused, also if ``where`` left
    its runs out. ``source`` and ``where`` record where the runs came from, ``who`` registers (by default the user and
    host), and ``assume`` are further assumptions in words. The track record is that of the same method on the table's
    own budgets; ``watch`` is called with the budgets done. Raise InputError.
    """
    if not at:
        raise InputError("give at least one run to forecast")
    points = _together(at)
    targets = _targets(found, points)  # refuses what gives other inputs than the law's, which would match any run
    _require_unknown(found.observations, at, table)
    now = dt.datetime.now(dt.UTC)
    forecast = RegisteredForecast(
        name=f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}", registered_at=now.isoformat(timespec="seconds"),
        registered_by=who or _user(), source=source, law=found.law.name,
        params={name: float(value) for name, value in zip(found.law.names, found.process.params, strict=True)},
        columns=dict(found.observations.columns), units=dict(found.observations.units), where=where,
        runs=learnt_from(found.observations), targets=targets,
        assumptions=assumptions(found, points, assume),
        track_record=tuple(one.to_dict() for one in rollouts(found, watch=watch).rollouts),
        warnings=found.warnings, version=metadata.version("sweeplaw"), all_rows=found.observations.rule == ALL,
    )  # fmt: skip
    return replace(forecast, digest=digest_of(forecast.to_dict()))


def learnt_from(observations: Observations) -> LearntFrom:
    """Return the runs behind a forecast, by id and digest."""
    texts = _texts(observations)
    digest = hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()
    measured_by = {name: observations.columns[name] for name in (*observations.inputs, "loss")}
    made = marks(observations.frame, measured_by)
    return LearntFrom(len(texts), tuple(run_ids(observations.frame, texts)[:MOST_IDS]), digest, tuple(made[:MOST_IDS]))


def _texts(observations: Observations) -> list[str]:
    names = [name for name in observations.columns if name in observations.inputs]
    columns = [observations.inputs[name] * observations.units.get(name, 1.0) for name in names]
    runs = zip(*columns, strict=True)
    return [value_text(inputs, loss) for inputs, loss in zip(runs, observations.losses, strict=True)]


def _require_unknown(observations: Observations, at: Sequence[Mapping[str, float]], table: Any) -> None:
    """Raise InputError naming each point that has been run."""
    if table is None:
        units = observations.units
        inputs: Mapping[str, Array] = {
            name: column * units.get(name, 1.0) for name, column in observations.inputs.items()
        }
    else:
        texts = {name: observations.columns[name] for name in (*observations.inputs, "loss")}
        inputs = measured(rows(table).frame, texts)[1]
    counts = [count_at(inputs, {name: point[name] for name in inputs if name in point}) for point in at]
    known = [
        f"{settings({name: short(value) for name, value in point.items()})} has been run ({counted(count, 'run')})"
        for point, count in zip(at, counts, strict=True)
        if count
    ]
    if known:
        hint = "a forecast is registered before its run; `sweeplaw predict` has what the law says"
        raise InputError(known, hints=[hint])


def _together(at: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    names = list(at[0])
    if any(list(one) != names for one in at):
        raise InputError(f"every run needs the same inputs ({', '.join(names)})")
    return {name: [float(one[name]) for one in at] for name in names}


def _targets(found: Forecaster, points: Mapping[str, Any]) -> tuple[ForecastTarget, ...]:
    runs = {level: found.predict(points, level, "run") for level in LEVELS}
    law = found.predict(points, 0.95, "law")
    return tuple(
        ForecastTarget(
            {name: float(column[k]) for name, column in law.inputs.items()}, float(law.median[k]),
            {f"{level:g}": (float(one.low[k]), float(one.high[k])) for level, one in runs.items()},
            (float(law.low[k]), float(law.high[k])), {name: float(far[k]) for name, far in law.beyond.items()},
        )
        for k in range(len(law.median))
    )  # fmt: skip


def _user() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        return socket.gethostname()
