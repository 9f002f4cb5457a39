"""One call from a table to a law: parameters, objective, verdict, intervals, residuals, and what was dropped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from sweeplaw.analysis.fitting.checks import Observations
from sweeplaw.analysis.fitting.objectives import Objective, parse_objective, residuals
from sweeplaw.analysis.fitting.observations import observe
from sweeplaw.analysis.fitting.profiles import ProfileLikelihood, profile
from sweeplaw.analysis.fitting.solve import Setup, Solution, Verdict, objective_value, set_up, solve
from sweeplaw.analysis.fitting.uncertainty import By, Draws, Interval, band, bootstrap
from sweeplaw.analysis.laws.catalog import law as named_law
from sweeplaw.analysis.laws.law import Law, Param, formula_law
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.progress import ProgressCallback, no_progress

Array = np.ndarray


@dataclass(frozen=True)
class Fit:
    """A fitted law. ``params`` are in the law's units (inputs divided by ``observations.units``).

    ``verified`` is False whenever the optimum was not proved; ``status`` says why in words. ``draws`` are the bootstrap
    refits, None when none were asked for or none are possible (``warnings`` says so then). ``intervals`` are the
    percentiles of the draws, or of the profile likelihood without draws: the better calibrated of the two.
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
        """`profiles`, made at most once; ``watch`` is told how many parameters are done."""
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
        """How many independent starts reached the optimum."""
        return self.verdict.starts_agreeing

    @property
    def rows_used(self) -> int:
        """Rows the fit saw."""
        return len(self.observations.losses)

    @property
    def rows_dropped(self) -> int:
        """Rows that could not take part; `observations.dropped` says why."""
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
        """Loss (nats a token) at the inputs, given in the table's own unit: a mapping, or an array for one input."""
        return self.predictions(x, self.theta[None])[0]

    def predictions(self, x: Mapping[str, Any] | Any, theta: Array) -> Array:
        """Losses at many parameter vectors (batch, p) in the law's units: (batch, n)."""
        return self.law.function.bind(self.columns(x)).predict(theta)

    def columns(self, x: Mapping[str, Any] | Any) -> list[Array]:
        """The inputs as arrays in the law's units. Raises InputError for a missing one."""
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
        """The band of the law itself, or of one further run with its own noise, at the inputs: two arrays (n,).

        A run's noise is drawn from the residuals, widened by sqrt(n / (n - p)); measured, a 95 % band holds 92 % of
        runs at 40 rows. Raises InputError without draws.
        """
        if self.draws is None:
            raise InputError("a band needs bootstrap draws: fit with bootstrap=1000")
        predicted = self.predictions(x, self.draws.params)
        if of == "run":
            freedom = self.rows_used - len(self.law.names)
            rest = self.residuals * math.sqrt(self.rows_used / freedom)
            noise = np.random.default_rng(self.draws.seed).choice(rest, size=predicted.shape)
            predicted = predicted + noise if self.objective.space == "raw" else predicted * np.exp(noise)
        return band(predicted, level)


def fit(
    table: Any,
    law: str | Law = "additive",
    objective: str | Objective = "huber:0.001",
    x: str | Mapping[str, str] | None = None,
    y: str | None = None,
    *,
    space: Literal["raw", "log"] = "raw",
    reduction: Literal["mean", "sum"] = "mean",
    weights: str | None = None,
    units: Mapping[str, float] | None = None,
    where: str | None = None,
    best: bool = False,
    fixed: Mapping[str, float] | None = None,
    bounds: Mapping[str, tuple[float | None, float | None]] | None = None,
    bootstrap: int = 0,
    by: By = "row",
    keys: Sequence[str] = (),
    level: float = 0.95,
    seed: int = 0,
    watch: ProgressCallback = no_progress,
) -> Fit:
    """Fit a law to a table by minimising the named objective.

    ``table``: a Polars or pandas frame, `analysis.load`'s tables, a mapping of columns, or a path. ``law``: a name from
    `analysis.LAWS`, a Law, or a formula such as ``"E + A / N**a"`` whose inputs are the keys of ``x``. ``x`` maps the
    law's inputs to columns or SQL expressions (our own store's columns when left out), ``y`` is the loss column.
    ``best`` fits the lowest loss at each distinct point (the best over nuisance axes). ``units`` divide inputs,
    ``fixed`` gives known parameters, ``bounds`` others. ``bootstrap`` resamples are drawn
    ``by`` row, cell or seed, cells being the distinct values of ``keys``; ``watch`` is told how many are done. Raises
    InputError with every fault.
    """
    chosen = _law(law, x, fixed, bounds)
    named = objective if isinstance(objective, Objective) else parse_objective(objective, space, reduction, weights)
    seen = observe(table, chosen, x, y, weights=named.weights, units=units, where=where, best=best)
    return fit_observations(
        seen, chosen, named, resamples=bootstrap, by=by, keys=keys, level=level, seed=seed, watch=watch
    )


def fit_observations(
    seen: Observations, law: Law, objective: Objective, *, resamples: int = 0, by: By = "row", keys: Sequence[str] = (),
    level: float = 0.95, seed: int = 0, watch: ProgressCallback = no_progress,
) -> Fit:  # fmt: skip
    """Fit a law to rows that were read already."""
    setup = set_up(law, objective, seen.inputs, seen.losses, seen.weights)
    solution = solve(setup)
    params = dict(zip(law.names, setup.outward(solution.theta[None])[0].tolist(), strict=True))
    draws, warnings = _resample(setup, solution, seen, resamples, by, keys, seed, watch)
    value = objective_value(setup, solution.theta)
    marks = () if solution.verdict.verified else (solution.verdict.status,)
    return Fit(
        law, objective, params, value, solution.verdict, seen, draws, level,
        (*seen.warnings, *marks, *_exact(law, seen), *warnings), setup, solution,
    )  # fmt: skip


def _open_ended(interval: Interval, param: Param) -> Interval:
    """The interval with an infinite end where the resamples ran to the bound of the search: no bound by the data."""
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


def _exact(law: Law, seen: Observations) -> tuple[str, ...]:
    if len(seen.losses) > len(law.names):
        return ()
    count = len(law.names)
    return (f"{len(seen.losses)} rows fix {count} parameters exactly: an interpolation, no residual can judge it",)


def _resample(
    setup: Setup, solution: Solution, seen: Observations, count: int, by: By, keys: Sequence[str], seed: int,
    watch: ProgressCallback,
) -> tuple[Draws | None, tuple[str, ...]]:  # fmt: skip
    if not count:
        return None, ()
    if len(seen.losses) <= len(setup.law.names):
        return None, ("no bootstrap: there are no more rows than parameters",)
    draws = bootstrap(setup, solution, seen, count, by, keys, seed, watch)
    lost = int(np.sum(~draws.converged))
    return draws, (
        (f"{lost} of {count} resamples did not reach a verified optimum; they are kept as they ended",) if lost else ()
    )
