"""Score registered forecasts against the runs that have ended since, and their calibration over all of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from sweeplaw.analysis.fitting.selection import select
from sweeplaw.analysis.forecasting.registered.record import RegisteredForecast, Target
from sweeplaw.analysis.forecasting.registered.register import run_ids, value_text
from sweeplaw.analysis.tables.display import Card, Shown, finite
from sweeplaw.analysis.tables.sources import Rows, rows
from sweeplaw.analysis.tables.sql.expressions import condition, parse
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted, short

Array = np.ndarray

SAME_RUN = 0.02  # relative distance in every input within which a run is the one that was forecast
LEVELS = ("0.5", "0.8", "0.95")


@dataclass(frozen=True, slots=True)
class Scored:
    """One run forecast against what happened: ``observed`` is the mean of ``runs`` runs, None while there is none.

    ``error`` is the forecast over the observed loss, minus one; ``inside`` tells for each level whether the band held.
    ``late`` is true if the run had ended before the forecast was registered.
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
    note: str = ""


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
    """Every run forecast, and the calibration over those that count: intact, and registered before the run ended."""

    scored: tuple[Scored, ...]
    calibration: tuple[Calibration, ...]
    notes: tuple[str, ...]

    def headline(self) -> tuple[str, ...]:
        """Return how many forecasts have been decided, and how well their bands held."""
        done = [one for one in self.scored if one.observed is not None]
        head = f"{counted(len(self.scored), 'run')} forecast, {len(done)} of them have ended"
        if not self.calibration:
            return (head, *self.notes)
        errors = [abs(one.error) for one in done if one.error is not None]
        shares = ", ".join(f"{float(one.level):.0%} bands held {one.share:.0%}" for one in self.calibration)
        return (f"{head}: mean error {np.mean(errors):.2%}; {shares}", *self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Return the sheet as plain values for JSON."""
        return dict(finite({
            "scored": [asdict(one) for one in self.scored],
            "calibration": [asdict(one) for one in self.calibration],
            "notes": self.notes,
        }))  # fmt: skip

    def card(self) -> Card:
        """Return the runs as a table."""
        heads = (
            "forecast",
            "run",
            "forecast of the loss",
            "95% band",
            "observed",
            "runs",
            "error",
            "inside 50/80/95 %",
            "",
        )
        return Card(self.headline()[:1], heads, tuple(map(_row, self.scored)), self.notes)


def score_forecasts(table: Any, forecasts: Sequence[RegisteredForecast], tolerance: float = SAME_RUN) -> ScoreSheet:
    """Score forecasts against the runs of a table (any source that `fit` takes). Raise InputError.

    A run counts for a target if every input is within ``tolerance`` (relative) of it and the forecast was not made from
    it; of several settings at one target the best one counts, its seeds averaged.
    """
    if not 0 <= tolerance < 1:
        raise InputError(f"tolerance = {tolerance:g} (accepted: 0 to 1)")
    read = rows(table)
    scored, notes = [], []
    for forecast in forecasts:
        if not forecast.intact:
            notes.append(f"forecast {forecast.name} was changed after it was registered: it does not count")
        found = [_scored(forecast, target, read, tolerance) for target in forecast.targets]
        scored += found
    sound = {forecast.name for forecast in forecasts if forecast.intact}
    counting = [one for one in scored if one.forecast in sound and one.observed is not None and not one.late]
    late = sum(one.late for one in scored)
    notes += [f"{counted(late, 'run')} had ended before the forecast was registered: not counted"] if late else []
    return ScoreSheet(tuple(scored), _calibration(counting), tuple(notes))


def _scored(forecast: RegisteredForecast, target: Target, read: Rows, tolerance: float) -> Scored:
    open_ = Scored(forecast.name, target.inputs, target.median, target.bands["0.95"])
    frame, inputs, losses = _at(forecast, target, read.frame, tolerance)
    if not len(losses):
        return open_
    chosen = select(frame, inputs, losses, read.launches, ignored=[forecast.columns["loss"]], pool=True)
    observed = float(losses[chosen.at].mean())
    held = {level: bool(low <= observed <= high) for level, (low, high) in target.bands.items()}
    note = "" if len(chosen.at) == len(losses) else f"the best of the settings in {counted(len(losses), 'run')}"
    return Scored(
        forecast.name, target.inputs, target.median, target.bands["0.95"], observed, len(chosen.at),
        target.median / observed - 1, held, _ended_before(frame[chosen.at], forecast.registered_at), note,
    )  # fmt: skip


def _at(
    forecast: RegisteredForecast, target: Target, frame: pl.DataFrame, tolerance: float
) -> tuple[pl.DataFrame, dict[str, Array], Array]:
    """Return the runs at a target that the forecast was not made from: their rows, inputs and losses."""
    kept = frame if forecast.where is None else frame.filter(condition(forecast.where, frame.schema))
    columns = {name: _column(kept, text) for name, text in forecast.columns.items() if name in (*target.inputs, "loss")}
    losses = columns.pop("loss")
    near = np.isfinite(losses) & (losses > 0)
    for name, value in target.inputs.items():
        near &= np.abs(columns[name] / value - 1) <= tolerance
    part, inputs = kept.filter(near), {name: column[near] for name, column in columns.items()}
    texts = [value_text(row, loss) for row, loss in zip(zip(*inputs.values(), strict=True), losses[near], strict=True)]
    new = ~np.isin(np.array(run_ids(part, texts), dtype=str), np.array(forecast.runs.ids, dtype=str))
    return part.filter(new), {name: column[new] for name, column in inputs.items()}, losses[near][new]


def _column(frame: pl.DataFrame, text: str) -> Array:
    expression = pl.col(text) if text in frame.columns else parse(text, frame.schema)
    series = frame.select(expression.cast(pl.Float64).alias("_"))["_"]
    return np.asarray(series.fill_null(np.nan).to_numpy(), dtype=float)


def _ended_before(frame: pl.DataFrame, registered_at: str) -> bool:
    """Whether all these runs had ended when the forecast was registered; False if it is not known."""
    if "ended_at" not in frame.columns or not isinstance(frame.schema["ended_at"], pl.Datetime):
        return False
    ends = frame["ended_at"].drop_nulls()
    when = dt.datetime.fromisoformat(registered_at)
    return ends.len() == frame.height and all(_aware(end) < when for end in ends)


def _aware(time: dt.datetime) -> dt.datetime:
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)


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
    band = f"[{one.band[0]:.4f}, {one.band[1]:.4f}]"
    if one.observed is None or one.error is None or one.inside is None:
        return (one.forecast, point, f"{one.median:.4f}", band, "not yet", "", "", "", "")
    held = " / ".join("yes" if one.inside.get(level) else "no" for level in LEVELS)
    note = "; ".join(filter(None, [one.note, "had ended before" if one.late else ""]))
    return (one.forecast, point, f"{one.median:.4f}", band, f"{one.observed:.4f}", str(one.runs), f"{one.error:+.2%}",
            held, note)  # fmt: skip
