"""Number of draws that a result needs, and the selection bias of the loss by which a setting was picked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweeplaw.analysis.tables.display import Card, Shown, finite
from sweeplaw.analysis.tables.runs import LARGEST, frame_of
from sweeplaw.analysis.tables.sql.expressions import check_columns
from sweeplaw.analysis.tuning.experiment.expected_best import (
    expected_best,
    flattery,
    flattery_intervals,
    intervals,
    ladder,
    supported,
)
from sweeplaw.trials.errors import InputError, shown
from sweeplaw.trials.quantities import counted, percent, settings

Array = NDArray[np.float64]
Ends = tuple[float, float]  # of an interval

WITHIN = 0.01  # relative excess loss
RESAMPLES = 1000
LEVEL = 0.95
LEAST = 4  # settings of a place
MOST = 2000  # settings of a place; the information in further ones is not worth their time and memory


@dataclass(frozen=True, slots=True)
class Drawn:
    """The expected best of ``k`` drawn settings.

    ``picked``: the loss that picks it. ``reported``: the other loss, the same one if there is none. ``flattery``: the
    selection bias, by which the first is lower than at the setting that the other would pick. ``excess``: of
    ``reported`` over the loss reported of the best of all, as a share of its magnitude. Intervals are None where the
    draws do not support one.
    """

    k: int
    picked: float
    reported: float
    flattery: float
    excess: float
    reported_interval: Ends | None
    flattery_interval: Ends | None


@dataclass(frozen=True, slots=True)
class PlaceDrawn:
    """The draws of one place: ``count`` settings, the ``best`` of all, and the curve over k.

    ``needed``: the least k whose expected excess is within the one asked for; ``most_needed``: the least k
    shown at which the upper end of the interval is, None if there is none.
    """

    at: Mapping[str, Any]
    count: int
    best: Mapping[str, Any]
    curve: tuple[Drawn, ...]
    needed: int
    most_needed: int | None


@dataclass(frozen=True, slots=True, repr=False)
class TuningExperiment(Shown):
    """The draws of every place; ``pick`` and ``report`` are columns of losses, ``within`` is the excess asked for."""

    pick: str
    report: str
    within: float
    level: float
    places: tuple[PlaceDrawn, ...]
    notes: tuple[str, ...]

    @property
    def apart(self) -> bool:
        """Whether the loss reported is not the one that picked."""
        return self.pick != self.report

    @property
    def flattery(self) -> float:
        """By how much the loss that picks is lower at the best of all than where the other is, mean over the places."""
        return float(np.mean([place.curve[-1].flattery for place in self.places]))

    def headline(self) -> tuple[str, ...]:
        """Return how many draws come within the excess asked for, and the flattery."""
        needed = sorted(place.needed for place in self.places)
        several = f"{needed[0]} to {needed[-1]}" if needed[0] < needed[-1] else f"{needed[0]}"
        drawn = sorted(place.count for place in self.places)
        of = f"{drawn[0]} to {drawn[-1]}" if drawn[0] < drawn[-1] else f"{drawn[0]}"
        within = percent(self.within, ".2f")
        lines = [f"{several} of {of} draws are expected to come within {within} of the best of all"]
        if self.apart:
            lines.append(
                f"{self.pick} is {self.flattery:.4g} lower at the setting that it picks than at the one that "
                f"{self.report} picks, mean over {counted(len(self.places), 'place')}"
            )
        return tuple(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the experiment as plain values for JSON."""
        return dict(finite({**asdict(self), "flattery": self.flattery if self.apart else None}))

    def card(self) -> Card:
        """Return the curves as a table."""
        losses = ("picked", "reported", "interval", "flattery") if self.apart else ("expected", "interval")
        heads = ("at", "k", *losses, "excess")
        rows = [
            (settings(place.at) if number == 0 else "", str(one.k), *self._losses(one), percent(one.excess, "+.2f"))
            for place in self.places
            for number, one in enumerate(place.curve)
        ]
        needed = tuple(_needed(place, self.within) for place in self.places)
        return Card(self.headline(), heads, tuple(rows), self.notes, after=needed)

    def _losses(self, one: Drawn) -> tuple[str, ...]:
        ends = one.reported_interval
        interval = "–" if ends is None else f"[{ends[0]:.4f}, {ends[1]:.4f}]"
        if not self.apart:
            return f"{one.reported:.4f}", interval
        spread = one.flattery_interval
        flattery = f"{one.flattery:.4f}" + ("" if spread is None else f" [{spread[0]:.4f}, {spread[1]:.4f}]")
        return f"{one.picked:.4f}", f"{one.reported:.4f}", interval, flattery


def _needed(place: PlaceDrawn, within: float) -> str:
    name = settings(place.at) or "all runs"
    sure = (
        "no k that the draws support is surely enough" if place.most_needed is None else f"at most {place.most_needed}"
    )
    needed = f"{counted(place.needed, 'draw')} for {percent(within, '.2f')}"
    return f"{name}: {needed} ({sure}); best of all {settings(place.best)}"


def tuning_experiment(
    source: Any, at: Sequence[str], knobs: Sequence[str], pick: str = "val_loss", report: str | None = None, *,
    within: float = WITHIN, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0,
) -> TuningExperiment:  # fmt: skip
    """Return what the best of k of the settings of ``knobs`` is expected to reach at each combination of ``at``.

    ``source`` is any source of runs that `fit` takes. ``pick`` is the column of the loss by which the best is chosen,
    ``report`` that of the loss on data that did not choose it (default: ``pick``). The settings should be drawn at
    random; losses are means over seeds. Intervals (``level``) are of the bootstrap-t with ``resamples`` samples of
    the settings, for k up to a quarter of them. Raise InputError.
    """
    report = pick if report is None else report
    _check(within, resamples, level, knobs)
    frame = frame_of(source, {"at": at, "knobs": knobs, "report": [report]}, pick)
    losses = list(dict.fromkeys([pick, report]))
    check_columns(frame, [*at, *knobs, *losses], numbers=losses)
    known = frame.drop_nulls([*at, *knobs]).filter(pl.col(loss).cast(pl.Float64).is_finite() for loss in losses)
    means = known.group_by([*at, *knobs]).agg(pl.col(losses).cast(pl.Float64).mean()).sort([*at, *knobs])
    parts = means.partition_by(list(at), maintain_order=True) if at else [means]
    enough = [part for part in parts if part.height >= LEAST]
    if not enough:
        raise InputError(
            f"no place has {LEAST} settings with {' and '.join(losses)} up to {LARGEST:g}", where="best-of"
        )
    notes = [f"{counted(frame.height - known.height, 'run')} without a usable loss, knob or place left out"]
    notes = notes if frame.height > known.height else []
    if left := len(parts) - len(enough):
        notes.append(f"{counted(left, 'place')} with fewer than {LEAST} settings left out")
    rng = np.random.default_rng(seed)
    if large := sum(part.height > MOST for part in enough):
        notes.append(f"{counted(large, 'place')} with more than {MOST:,} settings: as many of them, drawn at random")
        enough = [part.sample(MOST, seed=seed) if part.height > MOST else part for part in enough]
    places = tuple(_place(part, at, knobs, (pick, report), within, resamples, level, rng) for part in enough)
    return TuningExperiment(pick, report, within, level, places, tuple(notes))


def _check(within: Any, resamples: Any, level: Any, knobs: Sequence[str]) -> None:
    faults = [] if knobs else ["no knobs (accepted: at least one)"]
    if not isinstance(within, int | float) or not 0 < within < 1:
        faults.append(f"within = {shown(within)} (accepted: above 0, below 1)")
    if not isinstance(resamples, int) or resamples < 100:
        faults.append(f"resamples = {shown(resamples)} (accepted: 100 or more)")
    if not isinstance(level, int | float) or not 0.5 <= level < 1:
        faults.append(f"level = {shown(level)} (accepted: 0.5 to 0.999)")
    if faults:
        raise InputError(faults, where="best-of")


def _place(
    part: pl.DataFrame, at: Sequence[str], knobs: Sequence[str], losses: tuple[str, str], within: float, resamples: int,
    level: float, rng: np.random.Generator,
) -> PlaceDrawn:  # fmt: skip
    pick, report = (part[name].to_numpy() for name in losses)
    count = part.height
    every = range(1, count + 1)
    picked, reported = expected_best(pick, report, every)
    last = reported[-1]
    excess = _relative(reported - last, last)
    shown_at = ladder(count)
    known = [k for k in shown_at if supported(count, [k])[0]]
    ends = {k: _ends(one) for k, one in zip(known, intervals(pick, report, known, level, resamples, rng), strict=True)}
    flattered = flattery(pick, report, every)
    apart = flattery_intervals(pick, report, known, level, resamples, rng) if losses[0] != losses[1] else ()
    lower = {k: _ends(one) for k, one in zip(known, apart, strict=False)}
    sure = [k for k, interval in ends.items() if interval and _relative(interval[1] - last, last) <= within]
    row = part.row(int(np.argmin(pick)), named=True)
    curve = tuple(
        Drawn(
            k, float(picked[k - 1]), float(reported[k - 1]), float(flattered[k - 1]), float(excess[k - 1]),
            ends.get(k), lower.get(k),
        )
        for k in shown_at
    )  # fmt: skip
    needed = next(k for k in every if abs(excess[k - 1]) <= within)
    first = part.row(0, named=True)
    return PlaceDrawn(
        {name: first[name] for name in at}, count, {name: row[name] for name in knobs}, curve, needed,
        min(sure, default=None),
    )  # fmt: skip


def _relative(difference: Any, of: float) -> Any:
    """Return a difference as a share of the magnitude of a loss; of 0, infinite for every difference but 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(difference == 0, 0.0, np.divide(difference, abs(of)))


def _ends(interval: Array) -> Ends | None:
    low, high = interval.tolist()
    return (low, high) if np.isfinite(interval).all() else None
