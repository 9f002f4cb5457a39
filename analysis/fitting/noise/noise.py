"""What the residuals of a fit say about its noise, and the intervals that follow from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sweeplaw.analysis.fitting.checks import Observations
from sweeplaw.analysis.fitting.noise.clustered import Spread, jacobian, spread
from sweeplaw.analysis.fitting.noise.groups import RowGroups, candidates, curves, named, nested
from sweeplaw.analysis.fitting.noise.heteroscedastic import Growth, growth, replicates
from sweeplaw.analysis.fitting.noise.misfit import misfit_covariance
from sweeplaw.analysis.fitting.noise.shared import Residuals, clean, correlations, draws_for, test
from sweeplaw.analysis.fitting.resampling import Resampling, cell_numbers
from sweeplaw.analysis.fitting.solver.objectives import residuals
from sweeplaw.analysis.fitting.solver.solve import Setup
from sweeplaw.trials.errors import InputError

Array = np.ndarray

MAX_ROWS = 2000  # of a table that the tests look at, drawn at random
MOST_DIVISIONS = 2
LEAST_ASKED = 2
CLEAR = 2.0  # times the smallest spread of a row must the largest be
FEW_GROUPS = 12  # fewer are not resampled: see random_effects


@dataclass(frozen=True, slots=True)
class Noise:
    """The divisions whose groups share noise, each with its share of the variance, and how the spread changes.

    ``tested``: the divisions were found by a test, not asked for. If the spread changes, ``relative`` (n,) is that of
    each row, and ``ends`` are the typical residuals of the smallest and the largest run; ``log``: they are relative.
    ``weighted``: the rows were fitted with weights that follow it. ``misfit`` (p, p) is what a smooth misfit of the law
    adds to the covariance of the parameters, None where residuals hint at none.
    """

    divisions: tuple[RowGroups, ...] = ()
    correlations: tuple[float, ...] = ()
    growth: Growth | None = None
    ends: tuple[float, float] = (0.0, 0.0)
    relative: Array | None = None
    tested: bool = False
    log: bool = False
    weighted: bool = False
    misfit: Array | None = None

    @property
    def clear(self) -> bool:
        """Whether the spread of the noise changes so much that rows may well be weighted by it."""
        return self.relative is not None and bool(self.relative.max() >= CLEAR * self.relative.min())

    def with_weights(self, first: Noise) -> Noise:
        """Return this noise of rows that were weighted by the spread of ``first``."""
        return replace(self, growth=first.growth, ends=first.ends, relative=first.relative, weighted=True)

    def spread(self, setup: Setup, theta: Array, direction: Array) -> Spread | None:
        """Return the spread of a direction of the parameters under this noise; None for plain independent noise."""
        if not self.divisions and self.growth is None:
            return None
        labels = tuple(groups.labels for groups in self.divisions) or (np.arange(setup.problem.bound.rows),)
        return spread(setup, theta, direction, labels, self.relative)

    def variance_of_misfit(self, direction: Array) -> float:
        """Return what a smooth misfit of the law adds to the variance of a direction of the parameters."""
        return 0.0 if self.misfit is None else float(direction @ self.misfit @ direction)

    @property
    def names(self) -> str:
        """The names of the divisions; empty without one."""
        return " and ".join(groups.name for groups in self.divisions)

    @property
    def few(self) -> bool:
        """Whether a bootstrap draws the effects of groups anew: they are too few to resample, or two divisions."""
        return len(self.divisions) > 1 or any(groups.count < FEW_GROUPS for groups in self.divisions)

    @property
    def method(self) -> str:
        """What is appended to the method of an interval: ``, clustered by size``; empty for independent noise."""
        if self.divisions:
            return f", clustered by {self.names}"
        return ", for noise that changes with size" if self.growth is not None else ""

    def sentences(self, resampled: bool = False) -> Iterator[str]:
        """Yield what a reader has to know about the noise. ``resampled``: the intervals come from a bootstrap."""
        if self.divisions and self.tested:
            counts = " and ".join(f"{groups.count} {groups.plural}" for groups in self.divisions)
            rows = len(self.divisions[0].labels)
            drawn = f"draw the effects of {counts} anew" if self.few else f"resample {counts}"
            use = drawn if resampled else f"count {counts}, not {rows} independent rows"
            yield f"{self._cause()}: intervals {use} (by='row', --by row, takes rows as independent)"
        if self.growth is not None:
            small, large = (f"{100 * end:.2g} %" if self.log else f"{end:.2g}" for end in self.ends)
            offer = ", the estimates do not (weights='noise', --weights noise, weights the rows by it)"
            use = "the rows are weighted by it, and intervals" if self.weighted else "intervals"
            use += f" allow for it{offer if self.clear and not self.weighted else ''}"
            source = ", by its replicates" if self.growth.replicates else ""
            yield (
                f"the noise changes with size{source}: residuals of about {small} for the smallest run and {large} for "
                f"the largest; {use}"
            )

    def _cause(self) -> str:
        if self.divisions[0].name == "run":
            return "the table has several rows of a run, which are not independent"
        shares = (
            f"one {groups.name} (correlation {share:.2g})"
            for groups, share in zip(self.divisions, self.correlations, strict=True)
        )
        return f"residuals are shared by runs of {' and of '.join(shares)}"

    def values(self) -> dict[str, Any]:
        """Return the noise as plain values."""
        change = None
        if self.growth is not None:
            by = "replicates" if self.growth.replicates else "residuals"
            change = {"smallest": self.ends[0], "largest": self.ends[1], "by": by, "weighted": self.weighted}
        return {
            "shared_by": [
                {"name": groups.name, "groups": groups.count, "correlation": share}
                for groups, share in zip(self.divisions, self.correlations, strict=True)
            ],
            "tested": self.tested,
            "changes_with_size": change,
        }


INDEPENDENT = Noise()


def find_noise(setup: Setup, theta: Array, observations: Observations, resampling: Resampling) -> Noise:
    """Return the noise of a fit at its optimum ``theta`` (p,): tested if ``resampling.by`` is auto, else as asked.

    Whether its spread changes with size is tested whatever was asked for. Tests look at up to MAX_ROWS rows. Raise
    InputError if ``by`` is not known.
    """
    by = resampling.by
    if by in ("row", "seed"):
        given = None
    else:
        given = curves(observations) if by == "auto" else _asked(observations, resampling)
    rows = _rows(len(observations.losses))
    cleaned = _clean(setup, theta, observations, rows)
    if cleaned is None:
        return INDEPENDENT if given is None else Noise((given,), (0.0,), tested=by == "auto")
    return _tested(setup, theta, observations, rows, cleaned, given, by == "auto")


def _asked(observations: Observations, resampling: Resampling) -> RowGroups:
    """Return the groups that were asked for. Raise InputError if there is one alone, or none."""
    by = resampling.by
    cell = by == "cell"
    found = RowGroups("cell", cell_numbers(observations, resampling.keys), "cells") if cell else named(observations, by)
    if found.count < LEAST_ASKED:
        raise InputError(f"by = {by!r} needs at least {LEAST_ASKED} {found.plural}, {found.count} found")
    return found


def _rows(count: int) -> Array:
    if count <= MAX_ROWS:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, MAX_ROWS, replace=False))


def _clean(setup: Setup, theta: Array, observations: Observations, rows: Array) -> Residuals | None:
    slopes = jacobian(setup, theta, rows)
    residual = _residuals(setup, theta)[rows]
    if not (np.isfinite(slopes).all() and np.isfinite(residual).all()):
        return None
    return clean(residual, slopes, logs(_part(observations, rows)))


def _residuals(setup: Setup, theta: Array) -> Array:
    problem = setup.problem
    residual = residuals(problem.losses, problem.bound.predict(theta[None])[0], problem.space)
    return np.asarray(residual * np.sqrt(problem.weights))


def _part(observations: Observations, rows: Array) -> Observations:
    if len(rows) == len(observations.losses):
        return observations
    inputs = {name: column[rows] for name, column in observations.inputs.items()}
    return replace(observations, inputs=inputs, losses=observations.losses[rows], frame=observations.frame[rows])


def logs(observations: Observations) -> list[Array]:
    """Return the logarithm of each input."""
    with np.errstate(all="ignore"):
        found = [np.log(column) for column in observations.inputs.values()]
    return [np.nan_to_num(column, neginf=0.0, posinf=0.0) for column in found]


def _tested(
    setup: Setup, theta: Array, observations: Observations, rows: Array, cleaned: Residuals,
    given: RowGroups | None, auto: bool,
) -> Noise:  # fmt: skip
    """Return the noise with the groupings that share it, in addition to any given grouping, and its growth if any."""
    part = _part(observations, rows)
    free = [groups for groups in candidates(part) if given is None or groups.name != given.name]
    chosen, null = _divisions(cleaned, [] if given is None else [given.take(rows)], free if auto else [])
    shares = correlations(cleaned, chosen) if chosen else ()
    change = _growth(cleaned, _residuals(setup, theta)[rows], part, null)
    known = {} if given is None else {given.name: given}
    divisions = tuple(known.get(groups.name) or named(observations, groups.name) for groups in chosen)
    noise = Noise(divisions, shares, tested=auto, log=setup.problem.space == "log")
    noise = noise if change is None else _changing(noise, change, _residuals(setup, theta), observations)
    if divisions or not auto:  # an error shared by a size or budget looks like a misfit
        return noise
    relative = None if noise.relative is None else noise.relative[rows]
    residual = _residuals(setup, theta)[rows]
    return replace(noise, misfit=misfit_covariance(setup, theta, residual, logs(part), rows, relative))


def _growth(cleaned: Residuals, residual: Array, part: Observations, null: Array) -> Growth | None:
    """Return how the spread changes: by what replicates scatter about their means if they are many, else by residuals.

    Replicates know nothing of a misfit, which residuals have too.
    """
    found = replicates(residual, list(part.inputs.values()))
    if found is None:
        return growth(cleaned, logs(part), null)
    own, several = found
    draws = np.random.default_rng(0).normal(size=(draws_for(len(own.values)), len(own.values)))
    change = growth(own, [column[several] for column in logs(part)], own.project(draws))
    return None if change is None else replace(change, replicates=True)


def _divisions(cleaned: Residuals, chosen: list[RowGroups], free: list[RowGroups]) -> tuple[list[RowGroups], Array]:
    """Return the divisions with those added that share further noise, the clearest first, and draws of such noise."""
    rng = np.random.default_rng(0)
    while True:
        null = _draw(rng, cleaned, chosen)
        tests = [(test(cleaned, groups, null), groups) for groups in free]
        fired = [(tested.excess, groups) for tested, groups in tests if tested.fires]
        if not fired or len(chosen) == MOST_DIVISIONS:
            return chosen, null
        more = max(fired, key=lambda pair: pair[0])[1]
        chosen, free = _joined(chosen, more), [groups for groups in free if groups is not more]


def _joined(chosen: Sequence[RowGroups], more: RowGroups) -> list[RowGroups]:
    """Return the divisions with one more; of two nested ones only the coarser counts."""
    kept = [groups for groups in chosen if not nested(groups.labels, more.labels)]
    return kept if any(nested(more.labels, groups.labels) for groups in kept) else [*kept, more]


def _draw(rng: np.random.Generator, cleaned: Residuals, divisions: Sequence[RowGroups]) -> Array:
    """Return projected normal draws (draws, n) of noise that the divisions share as much as the residuals do."""
    count = draws_for(len(cleaned.values))
    shares = correlations(cleaned, divisions) if divisions else ()
    draws = np.sqrt(max(1 - sum(shares), 0.0)) * rng.normal(size=(count, len(cleaned.values)))
    for groups, share in zip(divisions, shares, strict=True):
        draws += np.sqrt(share) * rng.normal(size=(count, groups.count))[:, groups.labels]
    return cleaned.project(draws)


def _changing(noise: Noise, change: Growth, residual: Array, observations: Observations) -> Noise:
    """Return the noise with a spread that changes, and its size at the smallest and at the largest run."""
    columns = logs(observations)
    relative = change.at(columns)
    typical = float(np.median(np.abs(residual) / relative)) / 0.6745
    order = np.argsort(np.sum(columns, axis=0), kind="stable")
    ends = (typical * float(relative[order[0]]), typical * float(relative[order[-1]]))
    return replace(noise, growth=change, ends=ends, relative=relative)
