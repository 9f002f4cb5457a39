"""The track record of a forecast: what it would have said of each later budget from the runs before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweeplaw.analysis.forecasting.budgets import TrainTestSplit, budgets_of, last_decade, next_budgets
from sweeplaw.analysis.forecasting.calibration import LearntProcesses, calibrated
from sweeplaw.analysis.forecasting.forecaster import Forecaster, forecaster
from sweeplaw.analysis.forecasting.process.process import RunPoints
from sweeplaw.analysis.forecasting.scores import Bands, bands, probabilities, score
from sweeplaw.analysis.laws.law import Law
from sweeplaw.analysis.tables.display import Card, Shown
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.progress import ProgressCallback, no_progress
from sweeplaw.trials.quantities import percent

Array = np.ndarray

PERCENT = ("mean_abs_error", "coverage_50", "coverage_80", "coverage_95", "width_95", "interval_score")


@dataclass(frozen=True, slots=True, repr=False)
class Rollout(Shown):
    """One cut: ``rows`` runs known, ``ahead`` runs forecast, and the scores of the forecast (relative to the loss)."""

    cut: str
    rows: int
    ahead: int
    scores: Mapping[str, float]

    def headline(self) -> tuple[str, ...]:
        """Return the error and the coverage in one line."""
        found = self.scores
        return (
            f"{self.cut}: {self.ahead} runs forecast from {self.rows}: "
            f"error {percent(found['mean_abs_error'], '.2f')}, "
            f"{percent(found['coverage_95'], '.0f')} inside the 95 % band, "
            f"which is {percent(found['width_95'], '.2f')} wide",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the cut and its scores as plain values."""
        return {"cut": self.cut, "rows": self.rows, "ahead": self.ahead, **self.scores}


@dataclass(frozen=True, slots=True, repr=False)
class TrackRecord(Shown):
    """The rollouts of a table, each next budget first, then the last decade of compute; none if it is too small."""

    rollouts: tuple[Rollout, ...]
    warnings: tuple[str, ...] = ()

    def headline(self) -> tuple[str, ...]:
        """Return a line for each rollout."""
        lines = [line for one in self.rollouts for line in one.headline()]
        return (*(lines or ["no part of the table is enough for a forecast of the rest"]), *self.warnings)

    def to_dict(self) -> dict[str, Any]:
        """Return the rollouts as plain values."""
        return {"rollouts": [one.to_dict() for one in self.rollouts], "warnings": list(self.warnings)}

    def card(self) -> Card:
        """Return the rollouts as a table of per cent."""
        heads = ("cut", "rows", "ahead", *(f"{name} %" for name in PERCENT))
        rows = tuple(
            (one.cut, str(one.rows), str(one.ahead), *(f"{100 * one.scores[name]:.3g}" for name in PERCENT))
            for one in self.rollouts
        )
        return Card(("what the forecast would have said of later runs",), heads, rows, self.warnings)


def rollouts(
    table: Any, law: str | Law | None = None, watch: ProgressCallback = no_progress, **options: Any
) -> TrackRecord:
    """Forecast each budget of a table from the runs below it, and the last decade of compute. Raise InputError.

    ``table`` is a Forecaster, or with ``law`` and ``options`` what `forecaster` takes; ``watch`` is called with the
    cuts done and their total.
    """
    whole = table if isinstance(table, Forecaster) else forecaster(table, law, **options)
    if isinstance(table, Forecaster) and (law is not None or options):
        raise InputError("a Forecaster has its law and its runs already; give a table instead")
    found, chosen = [], list(cuts(whole.points))
    for done, cut in enumerate(chosen):
        watch(done, len(chosen))
        found.append(_rollout(whole, cut))
    return TrackRecord(tuple(found), whole.warnings)


def cuts(points: RunPoints) -> Iterator[TrainTestSplit]:
    """Yield the cuts of a table: one after each budget, and one before the last decade of compute."""
    numbers = budgets_of(points.compute)
    yield from next_budgets(numbers)
    yield from last_decade(points.compute, numbers)


def forecast_bands(known: RunPoints, losses: Array, ahead: RunPoints, memory: LearntProcesses) -> Bands:
    """Return prediction bands for the runs ``ahead``, given the known runs."""
    process = calibrated(known, losses, memory)
    return bands(np.exp(process.quantiles(ahead, probabilities(), noise=True)))


def _rollout(whole: Forecaster, cut: TrainTestSplit) -> Rollout:
    known, ahead = whole.points.take(cut.known), whole.points.take(cut.ahead)
    forecast = forecast_bands(known, whole.losses[cut.known], ahead, whole.memory)
    found = score(forecast, whole.losses[cut.ahead])
    return Rollout(cut.name, int(cut.known.sum()), int(cut.ahead.sum()), found)
