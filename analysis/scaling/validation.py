"""Validation of a law on rows it was not fitted to: the largest runs, one cell at a time, against another law."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sweeplaw.analysis.fitting.checks import Observations, require_fittable
from sweeplaw.analysis.fitting.fit import fit_observations
from sweeplaw.analysis.fitting.fitted_law import Fit, require_fits
from sweeplaw.analysis.fitting.resampling import NO_RESAMPLING, Resampling, affordable, cell_numbers
from sweeplaw.analysis.fitting.uncertainty import Interval, percentile, refit
from sweeplaw.analysis.tables.display import Shown, finite
from sweeplaw.trials.errors import InputError, shown

Array = np.ndarray

LARGEST_SHARE = 0.2  # of the rows, those of greatest scale: held out
BAND_RESAMPLES = 400  # refits of the other rows, for the band of the held-out ones; `affordable` of many rows


@dataclass(frozen=True, slots=True)
class Holdout:
    """Errors on rows a fit did not see. ``errors`` are predicted over observed loss, minus one; ``rows`` as read.

    ``band`` are the two ends, for each row, of the band of a run at ``level``, by the fit that did not see it; None
    where there is none.
    """

    kind: str
    rows: Array
    observed: Array
    predicted: Array
    trained_on: int
    status: str
    verified: bool
    note: str = ""
    level: float = 0.95
    band: tuple[Array, Array] | None = None

    @property
    def inside(self) -> int | None:
        """Number of rows whose loss is inside their band, None without one."""
        if self.band is None:
            return None
        return int(np.sum((self.band[0] <= self.observed) & (self.observed <= self.band[1])))

    @property
    def errors(self) -> Array:
        """Relative error of each prediction: positive if the predicted loss is too high."""
        return np.asarray(self.predicted / self.observed - 1)

    def summary(self) -> dict[str, float | int | str | bool | None]:
        """Return the mean, worst and signed relative error, the root mean square in nats, and whether the band held."""
        return {
            "kind": self.kind,
            "rows": len(self.rows),
            "trained_on": self.trained_on,
            "mean_relative_error": float(np.mean(np.abs(self.errors))),
            "worst_relative_error": float(np.max(np.abs(self.errors))),
            "bias": float(np.mean(self.errors)),
            "rms_nats": float(np.sqrt(np.mean((self.predicted - self.observed) ** 2))),
            "band_level": self.level,
            "rows_inside_band": self.inside,
            "share_inside_band": None if self.inside is None else self.inside / len(self.rows),
            "verified": self.verified,
            "status": self.status,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True, repr=False)
class HeldOutComparison(Shown):
    """Two laws on the same held-out rows: difference of mean squared error (first minus second), paired bootstrap."""

    first: str
    second: str
    rows: int
    rms: tuple[float, float]
    difference: float
    interval: Interval
    probability_first_better: float

    def headline(self) -> tuple[str, ...]:
        """Return both errors, and how likely the first law is the better one."""
        errors = f"{self.first} {self.rms[0]:.5f}, {self.second} {self.rms[1]:.5f} (rms on {self.rows} held-out rows)"
        return (errors, f"{self.first} is better with probability {self.probability_first_better:.2f}")

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain values for JSON."""
        return dict(finite({
            "first": self.first, "second": self.second, "rows": self.rows, "rms_nats": self.rms,
            "mean_square_difference": self.difference, "interval": self.interval.values(),
            "probability_first_better": self.probability_first_better,
        }))  # fmt: skip


def scale_of(observations: Observations) -> Array:
    """Return the scale of each run: the product of the law's inputs, which is proportional to compute for N and D."""
    return np.asarray(np.exp(np.sum([np.log(column) for column in observations.inputs.values()], axis=0)))


def largest(fit: Fit, share: float = LARGEST_SHARE, resampling: Resampling | None = None) -> Holdout:
    """Hold out the rows of greatest scale, fit the others, predict them with a band from refits of the others.

    ``resampling``: these refits, by default `BAND_RESAMPLES`, or fewer of many rows. Raise InputError if too few are
    left.
    """
    require_fits(fit)
    if not isinstance(share, float) or not 0 < share < 1:
        raise InputError(f"share = {shown(share)} (accepted: a number between 0 and 1)")
    kind = f"largest {share:g} of the rows by {' x '.join(fit.law.inputs)}"
    return held_out(fit, largest_rows(fit, share), kind, resampling)


def largest_rows(fit: Fit, share: float = LARGEST_SHARE) -> Array:
    """Return a mask of the rows of greatest scale that `largest` holds out."""
    scale = scale_of(fit.observations)
    edge = np.quantile(scale, 1 - share, method="lower")
    return np.asarray(scale > edge if (scale > edge).any() else scale >= edge)


def held_out(fit: Fit, held: Array, kind: str, resampling: Resampling | None = None) -> Holdout:
    """Fit the law to the other rows and predict those of ``held``, a mask over the rows used."""
    observations = fit.observations
    kept = subset(observations, ~held)
    try:
        require_fittable(kept, fit.law)
    except InputError as error:
        raise InputError(f"holding out {int(held.sum())} of {len(held)} rows leaves no fit: {error}") from None
    chosen = resampling or Resampling(affordable(BAND_RESAMPLES, len(kept.losses)))
    small = fit_observations(kept, fit.law, fit.objective, chosen, fit.level)
    units = observations.units
    x = {name: observations.inputs[name][held] * units.get(name, 1.0) for name in fit.law.inputs}
    band = None if small.draws is None else small.band(x, fit.level, of="run")
    return Holdout(
        kind, observations.rows[held], observations.losses[held], small.predict(x), int((~held).sum()), small.status,
        small.verified, "", fit.level, band,
    )  # fmt: skip


def subset(observations: Observations, keep: Array) -> Observations:
    """Return the observations of the rows in a mask."""
    return replace(
        observations,
        inputs={name: column[keep] for name, column in observations.inputs.items()},
        frame=observations.frame.filter(keep),
        **{name: getattr(observations, name)[keep] for name in ("losses", "weights", "rows")},
    )


def leave_cell_out(fit: Fit, keys: Sequence[str] = ()) -> Holdout:
    """Predict every row by the fit without its cell (distinct values of ``keys``, or of the inputs).

    All refits are one batch. The note counts the refits that did not reach a verified optimum.
    """
    require_fits(fit)
    observations = fit.observations
    cells = cell_numbers(observations, keys)
    count = int(cells.max()) + 1
    if count <= len(fit.law.names):
        raise InputError(f"leaving one of {count} cells out leaves too few for {len(fit.law.names)} parameters")
    weights = np.where(cells[None, :] == np.arange(count)[:, None], 0.0, fit.setup.problem.weights[None, :])
    draws = refit(fit.setup, fit.solution, weights)
    columns = [observations.inputs[name] for name in fit.law.inputs]
    predicted = fit.law.function.bind(columns).predict(draws.params)[cells, np.arange(len(cells))]
    lost = int(np.sum(~draws.converged))
    note = f"{lost} of {count} refits did not reach a verified optimum" if lost else ""
    kind = f"one of {count} cells at a time"
    rows, losses = observations.rows, observations.losses
    return Holdout(kind, rows, losses, predicted, len(cells), fit.status, lost == 0, note)


def compare(
    first: Fit, second: Fit, share: float = LARGEST_SHARE, resamples: int = 2000, seed: int = 0
) -> HeldOutComparison:
    """Compare two laws, fitted to the small rows, on the same large rows. Raise InputError if objectives differ."""
    require_same_objective(first, second)
    one, two = (largest(fit, share, NO_RESAMPLING) for fit in (first, second))
    if not np.array_equal(one.rows, two.rows):
        raise InputError("the two fits hold out different rows: fit them to the same rows of the same table")
    squares = np.stack([(item.predicted - item.observed) ** 2 for item in (one, two)])
    return paired(first.law.name, second.law.name, squares, first.level, resamples, seed)


def require_same_objective(first: Fit, second: Fit) -> None:
    """Raise InputError unless both fits minimised the same objective."""
    require_fits(first, second)
    if first.objective != second.objective:
        names = f"{first.objective.describe()} and {second.objective.describe()}"
        raise InputError(f"fits of different objectives are not compared: {names}")


def paired(first: str, second: str, squares: Array, level: float, resamples: int, seed: int) -> HeldOutComparison:
    """Compare two laws by their squared errors (2, rows) on the same rows."""
    rows = squares.shape[1]
    difference = squares[0] - squares[1]
    picked = np.random.default_rng(seed).integers(0, rows, size=(resamples, rows))
    means = difference[picked].mean(axis=1)
    interval = percentile(means, level, f"paired row bootstrap, {resamples} resamples of {rows}")
    better = float(np.mean(means < 0) + 0.5 * np.mean(means == 0))
    rms = (math.sqrt(float(squares[0].mean())), math.sqrt(float(squares[1].mean())))
    return HeldOutComparison(first, second, rows, rms, float(difference.mean()), interval, better)


def ranking(
    fits: Mapping[str, Fit], share: float = LARGEST_SHARE
) -> tuple[tuple[str, float, HeldOutComparison | None], ...]:
    """Rank laws by root mean square error on the held-out largest rows, each compared with the best (None for it)."""
    if not isinstance(fits, Mapping) or not fits:
        raise InputError(f"fits = {shown(fits)} (accepted: a mapping of names to fits)")
    held = {name: largest(fit, share, NO_RESAMPLING) for name, fit in fits.items()}
    scores = {name: float(np.sqrt(np.mean((item.predicted - item.observed) ** 2))) for name, item in held.items()}
    order = sorted(scores, key=lambda name: scores[name])
    best = fits[order[0]]
    return tuple((name, scores[name], None if name == order[0] else compare(best, fits[name], share)) for name in order)
