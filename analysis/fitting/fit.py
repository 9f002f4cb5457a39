"""One call from a table to a fitted law: parameters, objective, verdict, intervals, residuals, and dropped rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypedDict, Unpack

import numpy as np

from sweeplaw.analysis.fitting.checks import Observations
from sweeplaw.analysis.fitting.objectives import Objective, parse_objective, residuals
from sweeplaw.analysis.fitting.observations import Columns, observe
from sweeplaw.analysis.fitting.profiles import ProfileLikelihood, profile
from sweeplaw.analysis.fitting.resampling import NO_RESAMPLING, By, Resampling
from sweeplaw.analysis.fitting.solve import Setup, Solution, Verdict, objective_value, set_up, solve
from sweeplaw.analysis.fitting.uncertainty import Draws, Interval, band, bootstrap
from sweeplaw.analysis.laws.catalog import law as named_law
from sweeplaw.analysis.laws.law import Law, Param, formula_law
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.progress import ProgressCallback, no_progress

Array = np.ndarray


@dataclass(frozen=True)
class Fit:
    """A fitted law. ``params`` are in the law's units (inputs divided by ``observations.units``).

    ``verified`` is False unless the optimum is proved; ``status`` gives the reason. ``draws`` are the bootstrap refits,
    None if none were requested or possible (``warnings`` then has the reason). ``intervals`` are percentiles of the
    draws, or profile likelihood intervals without draws: the better calibrated of the two.
    """

    law: Law
    objective: Objective
    params: Mapping[str, float]
    value: float
    verdict: Verdict
    observations: Observations
    draws: Draws | None
    level: float
    warnings: tuple[str, ...]
    setup: Setup = field(repr=False)
    solution: Solution = field(repr=False)

    @cached_property
    def intervals(self) -> Mapping[str, Interval]:
        """An interval for each parameter at the fit's level, by bootstrap or profile."""
        if self.draws is not None:
            return {
                param.name: _open_ended(self.draws.interval(param.name, self.level), param) for param in self.law.free
            }
        return {name: item.interval for name, item in self.profiles.items()}

    @property
    def profiles(self) -> Mapping[str, ProfileLikelihood]:
        """The profile likelihood of each parameter: its interval and whether the data identify it."""
        return self.profiled()

    def profiled(self, watch: ProgressCallback = no_progress) -> Mapping[str, ProfileLikelihood]:
        """Return `profiles`, computed at most once; ``watch`` is called with the parameters done and their total."""
        for done, name in enumerate(self.law.names):
            watch(done, len(self.law.names))
            if name not in self._profiles:
                self._profiles[name] = profile(self.setup, self.solution, name, self.level)
        return self._profiles

    @cached_property
    def _profiles(self) -> dict[str, ProfileLikelihood]:
        return {}

    @property
    def status(self) -> str:
        """The verdict in words."""
        return self.verdict.status

    @property
    def verified(self) -> bool:
        """Whether the optimum is proved."""
        return self.verdict.verified

    @property
    def starts_agreeing(self) -> int:
        """Number of independent starts that reached the optimum."""
        return self.verdict.starts_agreeing

    @property
    def rows_used(self) -> int:
        """Number of rows fitted."""
        return len(self.observations.losses)

    @property
    def rows_dropped(self) -> int:
        """Number of rows that could not take part; `observations.dropped` has the reasons."""
        return self.observations.rows_dropped

    @property
    def theta(self) -> Array:
        """The parameters in the order of the law's names: (p,)."""
        return np.array([self.params[name] for name in self.law.names])

    @property
    def fitted(self) -> Array:
        """Predicted loss of each row used, nats a token."""
        return np.asarray(self.setup.problem.bound.predict(self.solution.theta[None])[0])

    @property
    def residuals(self) -> Array:
        """Observed minus predicted of each row used, in the objective's space (nats, or log)."""
        return residuals(self.observations.losses, self.fitted, self.objective.space)

    def predict(self, x: Mapping[str, Any] | Any) -> Array:
        """Predict the loss (nats a token) at inputs in the table's own units: a mapping, or an array for one input."""
        return np.asarray(self.predictions(x, self.theta[None])[0])

    def predictions(self, x: Mapping[str, Any] | Any, theta: Array) -> Array:
        """Predict losses at many parameter vectors (batch, p) in the law's units: (batch, n)."""
        return self.law.function.bind(self.columns(x)).predict(theta)

    def columns(self, x: Mapping[str, Any] | Any) -> list[Array]:
        """Return the inputs as arrays in the law's units. Raise InputError if one is missing."""
        given = x if isinstance(x, Mapping) else {self.law.inputs[0]: x}
        if len(self.law.inputs) == 1 and len(given) == 1:
            given = {self.law.inputs[0]: next(iter(given.values()))}
        units = self.observations.units
        return [
            column / units.get(name, 1.0) for name, column in zip(self.law.inputs, self.law.columns(given), strict=True)
        ]

    def band(
        self, x: Mapping[str, Any] | Any, level: float = 0.95, of: Literal["law", "run"] = "law"
    ) -> tuple[Array, Array]:
        """Return the band of the law itself, or of one further run with its own noise, at the inputs: two arrays (n,).

        A run's noise is drawn from the residuals, widened by sqrt(n / (n - p)); measured, a 95 % band holds 92 % of
        runs at 40 rows. Raise InputError without draws.
        """
        if self.draws is None:
            raise InputError("a band needs bootstrap draws: fit with bootstrap=1000")
        predicted = self.predictions(x, self.draws.params)
        if of == "run":
            freedom = self.rows_used - len(self.law.names)
            residual = self.residuals * math.sqrt(self.rows_used / freedom)
            noise = np.random.default_rng(self.draws.seed).choice(residual, size=predicted.shape)
            predicted = predicted + noise if self.objective.space == "raw" else predicted * np.exp(noise)
        return band(predicted, level)


class FitOptions(TypedDict, total=False):
    """The keyword arguments of `fit`, documented there; none is required."""

    space: Literal["raw", "log"]
    reduction: Literal["mean", "sum"]
    weights: str | None
    units: Mapping[str, float] | None
    where: str | None
    best: bool
    fixed: Mapping[str, float] | None
    bounds: Mapping[str, tuple[float | None, float | None]] | None
    bootstrap: int
    by: By
    keys: Sequence[str]
    level: float
    seed: int
    watch: ProgressCallback


def fit(
    table: Any,
    law: str | Law = "additive",
    objective: str | Objective = "huber:0.001",
    x: str | Mapping[str, str] | None = None,
    y: str | None = None,
    **options: Unpack[FitOptions],
) -> Fit:
    """Fit a law to a table by minimising the named objective. Raise InputError with every fault.

    ``table``: a Polars or pandas frame, `analysis.load`'s tables, a mapping of columns, or a path. ``law``: a name from
    `analysis.LAWS`, a Law, or a formula such as ``"E + A / N**a"`` whose inputs are the keys of ``x``. ``x`` maps the
    law's inputs to columns or SQL expressions (by default our own store's columns); ``y`` is the loss column.

    Options of the objective: ``space="raw"`` or ``"log"``, ``reduction="mean"`` or ``"sum"``, ``weights=COLUMN``.
    Options of the table: ``units={"N": 1e9}`` divides inputs, ``where=SQL`` selects rows, ``best=True`` fits the lowest
    loss at each distinct point (the best over nuisance axes). Options of the law: ``fixed={"E": 1.7}`` gives known
    parameters, ``bounds={"E": (1.0, None)}`` other bounds. Options of the intervals: ``bootstrap=1000`` resamples
    (default 0: profile likelihood) drawn ``by="row"``, ``"cell"`` or ``"seed"``, cells being the distinct values of
    ``keys``; ``level=0.95``, ``seed=0``; ``watch`` is called with the resamples done and their total.

    The options are a TypedDict, so that the signature stays short while type checkers still know each one.
    """
    if unknown := sorted(options.keys() - FitOptions.__annotations__.keys()):
        raise TypeError(f"fit() got an unexpected keyword argument {unknown[0]!r}")
    chosen = _law(law, x, options.get("fixed"), options.get("bounds"))
    named = objective if isinstance(objective, Objective) else _objective(objective, options)
    columns = Columns(
        x, y, named.weights, options.get("units"), where=options.get("where"), best=options.get("best", False)
    )
    resampling = Resampling(
        options.get("bootstrap", 0), options.get("by", "row"), options.get("keys", ()), options.get("seed", 0)
    )
    return fit_observations(
        observe(table, chosen, columns), chosen, named, resampling, options.get("level", 0.95),
        options.get("watch", no_progress),
    )  # fmt: skip


def _objective(text: str, options: FitOptions) -> Objective:
    space, reduction = options.get("space", "raw"), options.get("reduction", "mean")
    return parse_objective(text, space, reduction, options.get("weights"))


def fit_observations(
    observations: Observations, law: Law, objective: Objective, resampling: Resampling = NO_RESAMPLING,
    level: float = 0.95, progress: ProgressCallback = no_progress,
) -> Fit:  # fmt: skip
    """Fit a law to rows that have been read already."""
    setup = set_up(law, objective, observations.inputs, observations.losses, observations.weights)
    solution = solve(setup)
    params = dict(zip(law.names, setup.to_law_units(solution.theta[None])[0].tolist(), strict=True))
    draws, notes = _resample(setup, solution, observations, resampling, progress)
    value, verdict = objective_value(setup, solution.theta), solution.verdict
    unverified = () if verdict.verified else (verdict.status,)
    warnings = (*observations.warnings, *unverified, *_interpolation(law, observations), *notes)
    return Fit(law, objective, params, value, verdict, observations, draws, level, warnings, setup, solution)


def _open_ended(interval: Interval, param: Param) -> Interval:
    """Return the interval, with an infinite end if the resamples reach the bound of the search: the data give none."""
    if interval.high < param.high * (1 - 1e-6):
        return interval
    return replace(interval, high=math.inf, note=f"resamples run to the bound of the search, {param.high:g}")


def _law(
    law: str | Law, x: str | Mapping[str, str] | None, fixed: Mapping[str, float] | None,
    bounds: Mapping[str, tuple[float | None, float | None]] | None,
) -> Law:  # fmt: skip
    if isinstance(law, str) and not law.replace("_", "").isalnum():
        inputs = ["x"] if x is None or isinstance(x, str) else list(x)
        closed = {name: (low or 0.0, np.inf if high is None else high) for name, (low, high) in (bounds or {}).items()}
        chosen = formula_law(law, inputs, closed)
    else:
        chosen = named_law(law) if isinstance(law, str) else law
        chosen = chosen.within(**bounds) if bounds else chosen
    chosen = chosen.fix(**fixed) if fixed else chosen
    if not chosen.names:
        raise InputError(f"every parameter of {chosen.name} is fixed: nothing is left to fit")
    return chosen


def _interpolation(law: Law, observations: Observations) -> tuple[str, ...]:
    rows, count = len(observations.losses), len(law.names)
    if rows > count:
        return ()
    return (f"{rows} rows fix {count} parameters exactly: an interpolation, with no residuals to judge it by",)


def _resample(
    setup: Setup, solution: Solution, observations: Observations, resampling: Resampling, progress: ProgressCallback
) -> tuple[Draws | None, tuple[str, ...]]:
    """Return the draws, None if none were requested or possible, and warnings about them."""
    count = resampling.count
    if not count:
        return None, ()
    if len(observations.losses) <= len(setup.law.names):
        return None, ("no bootstrap: there are no more rows than parameters",)
    draws = bootstrap(setup, solution, observations, resampling, progress)
    lost = int(np.sum(~draws.converged))
    note = f"{lost} of {count} resamples did not reach a verified optimum; they are kept"
    return draws, (note,) if lost else ()
