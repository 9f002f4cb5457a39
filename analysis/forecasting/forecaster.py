"""Forecasts of larger runs from a table: one call learns the process, and the result predicts at any points."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from sweeplaw.analysis.adequacy.reach import require_reach
from sweeplaw.analysis.fitting.checks import Observations, require_fittable
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.fitting.noise.groups import curves
from sweeplaw.analysis.fitting.observations import Columns, observe
from sweeplaw.analysis.fitting.options import is_real
from sweeplaw.analysis.forecasting.budgets import LEAST_BUDGETS, LEAST_ROWS, budgets_of, compute_of, enough
from sweeplaw.analysis.forecasting.calibration import LearntProcesses, calibrated
from sweeplaw.analysis.forecasting.prediction import Of, Prediction, beyond
from sweeplaw.analysis.forecasting.process.process import Process, RunPoints
from sweeplaw.analysis.laws.catalog import ALIASES
from sweeplaw.analysis.laws.catalog import law as named_law
from sweeplaw.analysis.laws.law import Law, formula_law
from sweeplaw.analysis.tables.display import Card, Shown, finite
from sweeplaw.trials.errors import InputError, require_positive, shown
from sweeplaw.trials.quantities import counted, percent

Array = np.ndarray

DEFAULT_LAW = "skaling"
MOST_ROWS = 2000  # learnt from; of more, this many are used, evenly over compute
SEARCHED = 2.5  # decades of N on each side of the square root of the compute, in search of the best
SEARCH_POINTS = 401
LEAST_SPREAD = 1.5  # largest over smallest D / N of runs that determine the best split; assumption: less is rounding


@dataclass(frozen=True, repr=False)
class Forecaster(Shown):
    """A process learnt from runs. `predict` forecasts the loss at points, `best` the best run of a compute budget.

    ``law`` is the mean of the process, learnt from ``losses`` (n,) at ``points``; ``budgets`` is the number of their
    distinct budgets. ``memory`` holds what was learnt from parts of them.
    """

    law: Law
    process: Process
    observations: Observations
    points: RunPoints
    losses: Array
    budgets: int
    warnings: tuple[str, ...]
    memory: LearntProcesses

    @property
    def rows(self) -> int:
        """Number of runs learnt from."""
        return len(self.points.compute)

    def predict(self, at: Mapping[str, Any], level: float = 0.95, of: Of = "law") -> Prediction:
        """Return the forecast at inputs in the table's own units: numbers, or arrays of one length.

        ``of="law"`` gives the band of the expected loss, ``of="run"`` that of one new run, whose noise counts too.
        Raise InputError if an input is missing, not positive or unknown, or a point is farther beyond the runs than any
        law has been checked (`adequacy.reach`).
        """
        _check_level(level, of)
        given = self._given(at)
        points = self._points(given)
        far = self._beyond(points)
        ends = {name: (float(column.min()), float(column.max())) for name, column in self._known().items()}
        self._require_reach(far, ends)
        low, middle, high = np.exp(self.process.quantiles(points, ((1 - level) / 2, 0.5, (1 + level) / 2), of == "run"))
        if not np.isfinite([low, middle, high]).all():
            raise InputError(
                f"{self.law.name} has no positive, finite loss at some of these points: nothing to forecast"
            )
        return Prediction(given, middle, low, high, level, of, far, self.warnings)

    def best(self, compute: float, flops_per_nd: float = 6.0, level: float = 0.95, of: Of = "law") -> Prediction:
        """Return the forecast of the best N and D for ``compute`` FLOPs, with C = ``flops_per_nd`` N D.

        Raise InputError unless the inputs are N and D, and if all runs have one ratio of them.
        """
        if set(self.points.inputs) != {"N", "D"}:
            raise InputError(
                f"the best run of a budget needs the inputs N and D; these are {', '.join(self.law.inputs)}"
            )
        require_positive({"compute": compute, "flops_per_nd": flops_per_nd})
        known = self._known()
        ratio = known["D"] / known["N"]
        if ratio.max() < LEAST_SPREAD * ratio.min():
            raise InputError(
                f"all runs have about D = {np.median(ratio):.3g} N: they do not determine the best N and D of a budget",
                hints=["a run of given N and D can still be forecast (--at N=..,D=..)"],
            )
        product = compute / flops_per_nd
        done = np.prod(list(known.values()), axis=0)  # N D of each run
        ends = {"compute": (flops_per_nd * float(done.min()), flops_per_nd * float(done.max()))}
        self._require_reach({"compute": beyond(np.array([product]), done)}, ends)
        sizes = np.sqrt(product) * np.logspace(-SEARCHED, SEARCHED, SEARCH_POINTS)
        near = (product / sizes**2 >= ratio.min() / 10) & (product / sizes**2 <= ratio.max() * 10)
        sizes = sizes[near] if near.any() else sizes
        points = self._points({"N": sizes, "D": product / sizes})
        median = self.process.quantiles(points, (0.5,), noise=False)[0]
        chosen = float(sizes[int(np.argmin(np.where(np.isfinite(median), median, np.inf)))])
        return self.predict({"N": chosen, "D": product / chosen}, level, of)

    def _require_reach(self, far: Mapping[str, Array], ends: Mapping[str, tuple[float, float]]) -> None:
        """Raise InputError if points are too far beyond the runs, with the unit that the table seems to be in."""
        try:
            require_reach(far, ends)
        except InputError as error:
            odd = self.observations.odd_units
            raise InputError(error.faults, hints=[odd] if odd else error.hints) from None

    def headline(self) -> tuple[str, ...]:
        """Return what the forecast rests on, and each warning."""
        runs = curves(self.observations)
        learnt = f"{self.rows} rows of {counted(runs.count, 'run')}" if runs else counted(self.rows, "run")
        return (
            f"forecast by {self.law.name} and a smooth discrepancy, learnt from {learnt} at "
            f"{counted(self.budgets, 'budget')}",
            f"noise of a run {percent(self.noise, '.2f')}; {self._widened()}",
            *self.warnings,
        )

    def _widened(self) -> str:
        factor = f"{self.process.inflation:.3g}"
        return f"bands widened {factor} times by backtests" if factor != "1" else "no backtest asks for wider bands"

    @property
    def noise(self) -> float:
        """The relative standard deviation of the noise of a run, at the centre of the runs."""
        noise = np.concatenate([part.posterior.noise for part in self.process.parts])
        return float(np.sqrt(self.process.weights @ noise))

    def to_dict(self) -> dict[str, Any]:
        """Return what was learnt as plain values."""
        params = dict(zip(self.law.names, self.process.params.tolist(), strict=True))
        values = {
            "law": self.law.name, "formula": self.law.formula, "rows": self.rows, "budgets": self.budgets,
            "params": params, "noise": self.noise, "widened": self.process.inflation, "warnings": self.warnings,
        }  # fmt: skip
        return dict(finite(values))

    def card(self) -> Card:
        """Return the headline and the law's parameters."""
        params = zip(self.law.names, self.process.params, strict=True)
        return Card(
            self.headline()[:2], ("", ""), tuple((name, f"{value:.6g}") for name, value in params), self.warnings
        )

    def _given(self, at: Mapping[str, Any]) -> dict[str, Array]:
        if not isinstance(at, Mapping):
            raise InputError(f"at = {shown(at)} (accepted: a mapping, such as {{'N': 7e9, 'D': 1.4e11}})")
        known = list(self.points.inputs)
        if unknown := [name for name in at if name not in known]:
            inputs = ", ".join(known)
            raise InputError([f"{name!r} is no input of the forecast (its inputs: {inputs})" for name in unknown])
        columns = dict(zip(self.law.inputs, self.law.columns(at), strict=True))
        bad = [name for name, column in columns.items() if not (np.isfinite(column) & (column > 0)).all()]
        if bad:
            raise InputError([f"{name} = {_shown(columns[name])} (accepted: positive, finite numbers)" for name in bad])
        return columns

    def _known(self) -> dict[str, Array]:
        """Return the inputs of the runs in the table's own units."""
        units = self.observations.units
        return {name: column * units.get(name, 1.0) for name, column in self.points.inputs.items()}

    def _beyond(self, points: RunPoints) -> dict[str, Array]:
        far = {"compute": beyond(points.compute, self.points.compute)}
        return far | {name: beyond(column, self.points.inputs[name]) for name, column in points.inputs.items()}

    def _points(self, given: Mapping[str, Array]) -> RunPoints:
        units = self.observations.units
        inputs = {name: column / units.get(name, 1.0) for name, column in given.items()}
        return RunPoints(inputs, compute_of(inputs))


def forecaster(
    table: Any, law: str | Law | None = None, x: Mapping[str, str] | str | None = None, y: str | None = None, *,
    where: str | None = None, units: Mapping[str, float] | None = None, all_rows: bool = False, pool: bool = False,
    knobs: Sequence[str] | None = None,
) -> Forecaster:  # fmt: skip
    """Learn from runs how the loss goes on beyond them. Raise InputError with every fault.

    ``table`` is any source that `fit` takes, or a Fit, or the Observations of one; its rows are read as `fit` reads
    them. ``law`` is the mean of the process: a name from `analysis.LAWS`, a Law, or a formula; by default the coupled
    law ``skaling`` of N and D, for a Fit of other inputs its own law. ``x`` may name further columns beside the law's
    inputs (unique tokens, a batch size): the discrepancy is then a function of them too.
    """
    if isinstance(table, Fit):
        law = law or (DEFAULT_LAW if set(table.law.inputs) == {"N", "D"} else table.law)
        given = np.ptp(table.observations.weights) > 0 and not table.noise.weighted
        unused = ("the row weights of the fit are not used",) if given else ()
        table = replace(table.observations, warnings=(*table.observations.warnings, *unused))
    if isinstance(table, Observations):
        chosen, observations = _mean_law(law or DEFAULT_LAW, dict.fromkeys(table.inputs, "")), table
        require_fittable(observations, chosen)
    else:
        chosen = _mean_law(law or DEFAULT_LAW, x)
        columns = Columns(x, y, None, units, where=where, all_rows=all_rows, pool=pool, knobs=knobs)
        observations = observe(table, chosen, columns)
    return _learnt(chosen, observations)


def extrapolation_band(fit: Fit, level: float = 0.95) -> Callable[[Mapping[str, Any]], tuple[Array, Array]]:
    """Return a function of inputs that gives the band of the expected loss there, the error of the form included.

    It is for drawings beside the law's own band (`Fit.band`), which takes the form as true. Raise InputError.
    """
    found = forecaster(fit)

    def band(x: Mapping[str, Any]) -> tuple[Array, Array]:
        forecast = found.predict(x, level)
        return forecast.low, forecast.high

    return band


def _learnt(law: Law, observations: Observations) -> Forecaster:
    rows, thinned = _rows(observations)
    inputs = {name: np.asarray(observations.inputs[name], dtype=float)[rows] for name in law.inputs}
    points, losses = RunPoints(inputs, compute_of(inputs)), np.asarray(observations.losses, dtype=float)[rows]
    memory = LearntProcesses(law)
    process = calibrated(points, losses, memory)
    budgets = int(budgets_of(points.compute).max()) + 1
    warnings = (*observations.warnings, *thinned, *_shared(observations), *_claims(len(rows), budgets))
    return Forecaster(law, process, observations, points, losses, budgets, warnings, memory)


def _rows(observations: Observations) -> tuple[Array, tuple[str, ...]]:
    """Return the numbers of the rows to learn from, in order of compute, and a sentence if they are not all."""
    compute = compute_of(observations.inputs)
    order = np.lexsort((observations.losses, *observations.inputs.values(), compute))
    if len(order) <= MOST_ROWS:
        return order, ()
    picked = order[np.linspace(0, len(order) - 1, MOST_ROWS).round().astype(int)]
    return picked, (f"learnt from {MOST_ROWS} of {len(order)} runs, evenly over compute",)


def _shared(observations: Observations) -> tuple[str, ...]:
    """Return a sentence if the rows are points of learning curves."""
    if (runs := curves(observations)) is None:
        return ()
    return (
        f"the table has several rows of a run, which are not independent: the bands count {len(runs.labels)} rows, not "
        f"{counted(runs.count, 'run')}, and may be too narrow (--where can keep the last row of each run)",
    )


def _claims(rows: int, budgets: int) -> tuple[str, ...]:
    if enough(rows, budgets):
        return ()
    need = f"{LEAST_ROWS} runs at {LEAST_BUDGETS} budgets"
    return (
        f"{counted(rows, 'run')} at {counted(budgets, 'budget')} (needed: {need}): the bands are mostly what is "
        "assumed of any law, and claim nothing",
    )


def _mean_law(law: str | Law, x: Mapping[str, str] | str | None) -> Law:
    """Return the law of this name or formula, with the further inputs that ``x`` names."""
    names = list(x) if isinstance(x, Mapping) else []
    if isinstance(law, Law):
        chosen = law
    elif isinstance(law, str) and (law in ALIASES or law.replace("_", "").isalnum()):
        chosen = named_law(law)
    elif isinstance(law, str):
        found = set(re.findall(r"[A-Za-z_]\w*", law))
        chosen = formula_law(law, [name for name in names if name in found] or ["x"])
    else:
        raise InputError(f"law = {shown(law)} (accepted: the name of a law, a formula, a Law)")
    further = tuple(name for name in names if name not in chosen.inputs) if len(chosen.inputs) > 1 else ()
    centred_by = (*(chosen.centred_by or chosen.inputs), *further)
    return replace(chosen, inputs=(*chosen.inputs, *further), centred_by=centred_by)


def _shown(column: Array) -> str:
    """Return the first number that is not positive and finite."""
    return f"{column[~(np.isfinite(column) & (column > 0))][0]:g}"


def _check_level(level: Any, of: Any) -> None:
    faults = []
    if not (is_real(level) and 0 < level < 1):
        faults.append(f"level = {shown(level)} (accepted: a number between 0 and 1)")
    if of not in get_args(Of):
        faults.append(f"of = {shown(of)} (accepted: {', '.join(get_args(Of))})")
    if faults:
        raise InputError(faults)
