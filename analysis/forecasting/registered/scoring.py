"""Score registered forecasts against the runs that have ended since, and their calibration over all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from sweeplaw.analysis.forecasting.registered.files import CHANGED, read_files, registered
from sweeplaw.analysis.forecasting.registered.matching_runs import SAME_RUN, ScoredRuns
from sweeplaw.analysis.forecasting.registered.record import ForecastTarget, RegisteredForecast
from sweeplaw.analysis.forecasting.registered.runs_behind import RunsBehind, runs_behind
from sweeplaw.analysis.tables.display import Card, Shown, finite
from sweeplaw.analysis.tables.sources import rows
from sweeplaw.trials.errors import InputError, shown
from sweeplaw.trials.quantities import counted, percent, short

LEVELS = ("0.5", "0.8", "0.95")


@dataclass(frozen=True, slots=True)
class Scored:
    """One run forecast and its outcome: ``observed`` is the loss of ``runs`` runs, None until one has ended.

    It is the loss that a law would be fitted to there (`analysis.tuning.points`): of the best setting, its seeds
    averaged, corrected for its having been chosen. ``error`` is the forecast over the observed loss, minus one;
    ``inside`` gives for each level whether the band contains it; both are None for a forecast ``changed`` after its
    registration. ``late`` is true if a run there ended before the forecast was registered.
    """

    forecast: str
    inputs: Mapping[str, float]
    median: float
    band: tuple[float, float]
    observed: float | None = None
    runs: int = 0
    error: float | None = None
    inside: Mapping[str, bool] | None = None
    late: bool = False
    changed: bool = False
    note: str = ""

    @property
    def counts(self) -> bool:
        """Whether this run counts towards the calibration."""
        return self.error is not None and not self.late and not self.changed


@dataclass(frozen=True, slots=True)
class Calibration:
    """Of ``count`` scored runs, the ``share`` inside the band of a level, with its 95 % interval (exact binomial)."""

    level: str
    count: int
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, repr=False)
class ScoreSheet(Shown):
    """Every run forecast, and the calibration over those that count: unchanged, and registered before the run ended.

    ``sources`` gives, for each forecast, the status of its training runs.
    """

    scored: tuple[Scored, ...]
    calibration: tuple[Calibration, ...]
    notes: tuple[str, ...]
    sources: tuple[RunsBehind, ...] = ()

    def headline(self) -> tuple[str, ...]:
        """Return how many forecasts have been decided, and how well their bands held."""
        done = sum(one.observed is not None for one in self.scored)
        errors = [abs(one.error) for one in self.scored if one.counts and one.error is not None]
        head = f"{counted(len(self.scored), 'run')} forecast, {done} ended, {len(errors)} counted"
        if not self.calibration:
            return (head, *self.notes)
        shares = ", ".join(
            f"{percent(float(one.level))} bands held {percent(one.share, '.0f')}" for one in self.calibration
        )
        return (f"{head}: mean error {percent(float(np.mean(errors)), '.2f')}; {shares}", *self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Return the sheet as plain values for JSON."""
        return dict(finite({
            "scored": [asdict(one) for one in self.scored],
            "calibration": [asdict(one) for one in self.calibration],
            "runs_behind": [asdict(one) for one in self.sources],
            "notes": self.notes,
        }))  # fmt: skip

    def card(self) -> Card:
        """Return the runs as a table."""
        heads = (
            "forecast",
            "run",
            "forecast of the loss",
            "95 % band",
            "observed",
            "runs",
            "error",
            "inside 50/80/95 %",
            "",
        )
        return Card(self.headline()[:1], heads, tuple(map(_row, self.scored)), self.notes)


def score_forecasts(
    table: Any, forecasts: Sequence[RegisteredForecast | str | Path] | None = None, tolerance: float = SAME_RUN
) -> ScoreSheet:
    """Score forecasts against the runs of a table (any source that `fit` takes). Raise InputError.

    ``forecasts`` are registered forecasts or their files; by default those that the store ``table`` keeps. A run counts
    for a target if every input is within ``tolerance`` (relative) of it and the forecast was not made from it; of
    several settings at one target the best one counts, its seeds averaged and its loss corrected as for a law.
    """
    if not 0 <= tolerance < 1:
        raise InputError(f"tolerance = {tolerance:g} (accepted: 0 to 1)")
    found, notes = _found(table, forecasts)
    runs = ScoredRuns(rows(table), tolerance)
    scored = tuple(_scored(forecast, target, runs) for forecast in found for target in forecast.targets)
    changed = [one.name for one in found if not one.intact]
    notes += [f"forecast {name} was changed after it was registered: it does not count" for name in changed]
    late = sum(one.late for one in scored)
    notes += [f"{counted(late, 'run')} had ended before the forecast was registered: not counted"] if late else []
    behind = tuple(runs_behind(forecast, *runs.selected(forecast)) for forecast in found)
    notes += [one.sentence for one in behind if one.sentence]
    return ScoreSheet(scored, _calibration(one for one in scored if one.counts), tuple(notes), behind)


def _found(
    table: Any, forecasts: Sequence[RegisteredForecast | str | Path] | None
) -> tuple[list[RegisteredForecast], list[str]]:
    """Return the forecasts to score, and a sentence for each file of a store that has none any more."""
    if forecasts is None:
        kept, faults = registered(table)
        if not kept:
            raise InputError([*faults, "no forecast is registered in this source: give forecasts, or their files"])
        return kept, [fault for fault in faults if CHANGED not in fault]
    if isinstance(forecasts, str | Path) or not isinstance(forecasts, Sequence):
        raise InputError(f"forecasts = {shown(forecasts)} (accepted: a list of registered forecasts or their files)")
    return [one if isinstance(one, RegisteredForecast) else read_files([one])[0] for one in forecasts], []


def _scored(forecast: RegisteredForecast, target: ForecastTarget, runs: ScoredRuns) -> Scored:
    changed = not forecast.intact
    open_ = Scored(forecast.name, target.inputs, target.median, target.bands["0.95"], changed=changed)
    there = runs.at(forecast, target)
    if there is None:
        return open_
    ended = replace(open_, observed=there.loss, runs=there.best, late=there.ended_before, note=there.note)
    if changed:
        return ended
    held = {level: bool(low <= there.loss <= high) for level, (low, high) in target.bands.items()}
    return replace(ended, error=target.median / there.loss - 1, inside=held)


def _calibration(counting: Iterable[Scored]) -> tuple[Calibration, ...]:
    scored = [one.inside for one in counting if one.inside is not None]
    if not scored:
        return ()
    found = []
    for level in LEVELS:
        held = [inside[level] for inside in scored if level in inside]
        if held:
            ends = stats.binomtest(sum(held), len(held)).proportion_ci(0.95)
            found.append(Calibration(level, len(held), sum(held) / len(held), float(ends.low), float(ends.high)))
    return tuple(found)


def _row(one: Scored) -> tuple[str, ...]:
    point = ", ".join(f"{name} = {short(value)}" for name, value in one.inputs.items())
    head = (one.forecast, point, f"{one.median:.4f}", f"[{one.band[0]:.4f}, {one.band[1]:.4f}]")
    why = ["changed after it was registered"] * one.changed + ["had ended before"] * one.late
    note = "; ".join(filter(None, [one.note, f"{' and '.join(why)}: not counted" if why else ""]))
    if one.observed is None:
        return (*head, "not yet", "", "", "", note)
    inside = one.inside or {}
    held = " / ".join("yes" if inside.get(level) else "no" for level in LEVELS) if inside else "not counted"
    error = "" if one.error is None else percent(one.error, "+.2f")
    return (*head, f"{one.observed:.4f}", str(one.runs), error, held, note)
