"""A fitted law: its parameters, verdict, intervals and predictions, and how it shows itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sweeplaw.analysis.fitting.checks import Observations
from sweeplaw.analysis.fitting.display.digits import in_step
from sweeplaw.analysis.fitting.noise.noise import INDEPENDENT, Noise
from sweeplaw.analysis.fitting.noise.run_noise import run_noise
from sweeplaw.analysis.fitting.profiles import ProfileLikelihood, profile
from sweeplaw.analysis.fitting.solver.objectives import Objective, residuals
from sweeplaw.analysis.fitting.solver.solve import Setup, Solution
from sweeplaw.analysis.fitting.solver.verdict import Verdict
from sweeplaw.analysis.fitting.uncertainty import Draws, Interval, band
from sweeplaw.analysis.laws.law import Law, Param
from sweeplaw.analysis.tables.display import Card, Shown, finite, more_notes
from sweeplaw.trials.errors import InputError, require_types
from sweeplaw.trials.progress import ProgressCallback, no_progress

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sweeplaw.analysis.adequacy.adequacy import Adequacy

Array = np.ndarray


@dataclass(frozen=True, repr=False)
class Fit(Shown):
    """A fitted law. ``params`` are in the law's units (inputs divided by ``observations.units``).

    ``verified`` is False unless the optimum is proved; ``status`` gives the reason. ``draws`` are the bootstrap refits,
    None if none were requested or possible (``warnings`` then has the reason). ``intervals`` are percentiles of the
    draws, or profile likelihood intervals without draws: the better calibrated of the two. `summary` prints the fit as
    `sweeplaw fit` does, `to_dict` is its JSON, `plot` draws it, `to_latex` writes it for a paper.
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
    setup: Setup
    solution: Solution
    noise: Noise = INDEPENDENT

    @cached_property
    def intervals(self) -> Mapping[str, Interval]:
        """An interval for each parameter at the fit's level, by bootstrap or profile."""
        if self.draws is not None:
            return {
                param.name: _open_ended(self.draws.interval(param.name, self.level), param) for param in self.law.free
            }
        return {name: item.interval for name, item in self.profiles.items()}

    @cached_property
    def adequacy(self) -> Adequacy:
        """The three verdicts: is the optimum found, the law adequate to the rows, are its parameters identified."""
        from sweeplaw.analysis.adequacy.adequacy import adequacy

        return adequacy(self)

    @property
    def profiles(self) -> Mapping[str, ProfileLikelihood]:
        """The profile likelihood of each parameter: its interval and whether the data identify it."""
        return self.profiled()

    def profiled(self, watch: ProgressCallback = no_progress) -> Mapping[str, ProfileLikelihood]:
        """Return `profiles`, computed at most once; ``watch`` is called with the parameters done and their total."""
        for done, name in enumerate(self.law.names):
            watch(done, len(self.law.names))
            if name not in self._profiles:
                self._profiles[name] = profile(self.setup, self.solution, name, self.level, noise=self.noise)
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

    def predict(self, x: Mapping[str, Any] | Any = None, **named: Any) -> Array:
        """Predict the loss (nats a token) at inputs in the table's own units: a mapping, or an array for one input.

        Raise InputError if an input is missing, or given by keyword.
        """
        if x is None or named:
            inputs = ", ".join(f"{name!r}: ..." for name in self.law.inputs)
            raise InputError(f"predict takes the inputs as one mapping: predict({{{inputs}}})")
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

        A run's noise is drawn from the residuals (`noise.run_noise`); measured, a 95 % band holds 94-97 % of runs.
        Raise InputError without draws.
        """
        if self.draws is None:
            raise InputError("a band needs bootstrap draws: fit with bootstrap=1000")
        predicted = self.predictions(x, self.draws.params)
        if of == "run":
            noise = self._noise_of_runs(x, len(predicted))
            predicted = predicted + noise if self.objective.space == "raw" else predicted * np.exp(noise)
        return band(predicted, level)

    def _noise_of_runs(self, x: Mapping[str, Any] | Any, count: int) -> Array:
        """Return draws (count, n) of the noise of a run at each of the inputs, in the objective's space."""
        assert self.draws is not None
        with np.errstate(all="ignore"):
            seen = [np.log(self.observations.inputs[name]) for name in self.law.inputs]
            new = [np.log(column) for column in self.columns(x)]
        return run_noise(self.residuals, len(self.law.names), self.noise, seen, new, count, self.draws.seed)

    def headline(self) -> tuple[str, ...]:
        """Return the fit in a few lines. Intervals are among them only if there are draws: profiles take a second."""
        mark = "" if self.verified else " ?"
        ends = self.intervals if self.draws is not None else {}
        params = [f"{name} = {_shown(value, ends.get(name))}{mark}" for name, value in self.params.items()]
        fixed = [f"{name} = {value:.6g} (fixed)" for name, value in self.law.fixed]
        return (
            f"{self.law.name}: L = {self.law.formula}",
            ", ".join([*params, *fixed]),
            f"{self.objective.describe()} = {self.value:.6g}",
            self.status,
            f"{self.rows_used} rows used, {self.rows_dropped} left out",
            *more_notes(len(self.warnings)),
        )

    def to_dict(
        self, budgets: Sequence[float] = (), flops_per_nd: float | None = None, force: bool = False
    ) -> dict[str, Any]:
        """Return the fit as plain values: what ``sweeplaw fit --json`` prints. Numbers that are not finite are None.

        For a law of N and D they include the best N and D for each of ``budgets`` (FLOPs; by default 1, 10 and 100
        times the largest run), with C = ``flops_per_nd`` N D (by default that of the runs, or 6). They are None, with
        the reason, for a law that failed a test; ``force`` overrides this. Raise InputError.
        """
        from sweeplaw.analysis.fitting.display.fit_summary import summarise

        return dict(finite(summarise(self, budgets, flops_per_nd, force)))

    def card(self) -> Card:
        """Return the fit as a table of parameters with intervals, between its verdict and its warnings."""
        from sweeplaw.analysis.fitting.display.fit_card import fit_card
        from sweeplaw.analysis.fitting.display.fit_summary import summarise

        return fit_card(summarise(self))

    def to_latex(self) -> str:
        """Return the formula, the formula with the fitted numbers, and each parameter with its interval, as LaTeX."""
        from sweeplaw.analysis.fitting.display.fit_latex import latex

        return latex(self)

    def plot(self, along: str | None = None, ax: Axes | None = None) -> Axes:
        """Draw the rows, the law and, with bootstrap draws, its 95 % band; return the axes (with their ``.figure``).

        ``along`` is the input on the horizontal axis (default: the first); with several inputs, lines are drawn at
        some values of the others. ``ax`` are axes to draw on, by default those of a new figure. Raise InputError.
        """
        from sweeplaw.analysis.fitting.display.fit_plot import plot

        return plot(self, along, ax)


def require_fits(*fits: object) -> None:
    """Raise InputError for each argument that is not a fit."""
    require_types(*(("fit", fit, Fit, "what fit returns") for fit in fits))


def _shown(value: float, interval: Interval | None) -> str:
    """Return a value with its interval, if that is known, in the digits that it deserves."""
    text, low, high = in_step(value, *((interval.low, interval.high) if interval else (None, None)))
    return f"{text} [{low}, {high}]" if interval else text


def _open_ended(interval: Interval, param: Param) -> Interval:
    """Return the interval, with an infinite end if the resamples reach the bound of the search: the data give none."""
    if interval.high < param.high * (1 - 1e-6):
        return interval
    return replace(interval, high=math.inf, note=f"resamples run to the bound of the search, {param.high:g}")
