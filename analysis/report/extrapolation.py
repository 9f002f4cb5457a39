"""Beyond the laws of a report: sizes and budgets off the law of the others, and scores of registered forecasts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.forecasting.forecaster import extrapolation_band
from sweeplaw.analysis.forecasting.registered.files import registered
from sweeplaw.analysis.forecasting.registered.record import track_record
from sweeplaw.analysis.forecasting.registered.scoring import score_forecasts
from sweeplaw.analysis.recipes.rungs import rungs
from sweeplaw.analysis.tables.tables import Tables
from sweeplaw.analysis.tuning.optimum import CellOptimum
from sweeplaw.trials.errors import InputError


def rung_values(fit: Fit | None, optima: Sequence[CellOptimum]) -> list[dict[str, Any]]:
    """Return the rungs along N and along D with a sentence for each that is off; none along an axis of few values."""
    found = []
    for axis in () if fit is None else fit.law.inputs:
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


def forecast_band(fit: Fit | None) -> Callable[[Mapping[str, Any]], tuple[np.ndarray, np.ndarray]] | None:
    """Return the band of the expected loss as a function of the inputs, the error of the form included; None if there
    is no law, or too few runs for a forecast.
    """
    try:
        return None if fit is None else extrapolation_band(fit)
    except InputError:
        return None
