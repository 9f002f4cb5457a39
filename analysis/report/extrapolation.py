"""Beyond the laws of a report: sizes and budgets off the law of the others, and scores of registered forecasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.forecasting.forecaster import extrapolation_band
from sweeplaw.analysis.forecasting.registered.files import registered
from sweeplaw.analysis.forecasting.registered.record import track_record
from sweeplaw.analysis.forecasting.registered.scoring import score_forecasts
from sweeplaw.analysis.recipes.rungs import rungs
from sweeplaw.analysis.report.charts.numbers import percent
from sweeplaw.analysis.tables.tables import Tables
from sweeplaw.analysis.tuning.optimum import CellOptimum
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted, settings, short

MOST_RUNGS = 200  # of an axis whose rungs are tested: each is a fit of the others
MOST_NAMED = 2  # scored forecasts that are named one by one


def rung_values(fit: Fit | None, optima: Sequence[CellOptimum]) -> list[dict[str, Any]]:
    """Return the rungs along N and along D with a sentence for each that is off.

    An axis of few values has none; of one of more than `MOST_RUNGS` a sentence says that none was tested.
    """
    found = []
    for axis in () if fit is None else fit.law.inputs:
        if fit is not None and (values := len(np.unique(fit.observations.inputs[axis]))) > MOST_RUNGS:
            why = f"{axis} has {values:,} values: none was left out to see whether it fits the law of the others"
            untested = {"axis": axis, "law": fit.law.name, "rungs": [], "warnings": []}
            found.append({**untested, "sentences": [f"{why} (done for up to {MOST_RUNGS})"]})
            continue
        try:
            held = rungs(fit, axis, optima)
        except InputError:
            continue
        found.append({**held.to_dict(), "sentences": list(held.headline())})
    return found


def forecast_values(source: str | Path, tables: Tables) -> dict[str, Any] | None:
    """Return the forecasts registered in a store with their scores, and the faults of their files; None without any."""
    forecasts, faults = registered(source)
    if not forecasts:
        return {"registered": [], "scores": None, "faults": faults} if faults else None
    sheet = score_forecasts(tables, forecasts)
    listed = [{**one.to_dict(), "intact": one.intact, "record": track_record(one)} for one in forecasts]
    return {"registered": listed, "scores": {**sheet.to_dict(), "sentences": list(sheet.headline())}, "faults": faults}


def forecast_sentences(forecasts: Mapping[str, Any] | None) -> list[str]:
    """Return as HTML sentences how the forecasts that count turned out (`forecast_values`), and how many are open."""
    scored = (forecasts or {}).get("scores") or {"scored": []}
    sound = [one for one in scored["scored"] if not one["changed"] and not one["late"]]
    done = [one for one in sound if one["inside"]]
    held = sum(one["inside"]["0.95"] for one in done)
    sentences = map(_outcome, done) if len(done) <= MOST_NAMED else [_how_many(held, len(done))]
    return [*sentences, *_open(len(sound) - len(done))]


def _outcome(one: Mapping[str, Any]) -> str:
    point = escape(settings({name: short(value) for name, value in one["inputs"].items()}))
    low, high = one["band"]
    head, side = ("held", "inside") if one["inside"]["0.95"] else ("failed", "outside")
    ended = f"{counted(one['runs'], 'run')} there ended at {one['observed']:.3f}" + " on average" * (one["runs"] > 1)
    return (
        f"<strong>A forecast {head}</strong>: for {point} a loss of {one['median']:.3f} was registered before the run, "
        f"with a 95 % band from {low:.3f} to {high:.3f}; {ended}, {side} the band, and the forecast was "
        f"{percent(abs(one['error']))} too {'high' if one['error'] > 0 else 'low'}."
    )


def _how_many(held: int, count: int) -> str:
    return f"<strong>{held} of {count} forecasts held</strong>: registered before the run, with bands of 95 %."


def _open(count: int) -> Iterator[str]:
    if count:
        verb = "waits for its run" if count == 1 else "wait for their runs"
        yield f"{counted(count, 'registered forecast')} {verb}."


def forecast_band(fit: Fit | None) -> Callable[[Mapping[str, Any]], tuple[np.ndarray, np.ndarray]] | None:
    """Return the band of the expected loss as a function of the inputs, the error of the form included; None if there
    is no law, or too few runs for a forecast.
    """
    try:
        return None if fit is None else extrapolation_band(fit)
    except InputError:
        return None
