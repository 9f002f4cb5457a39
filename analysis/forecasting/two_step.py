"""From loss to accuracy: a forecast of a task's metric in two steps, with the errors of both.

Step one forecasts the loss at (N, D). Step two is a sigmoid of the metric in the loss, fitted over the same runs:
m = c + (t - c) / (1 + exp(k (L - L0))), with the chance level c and the ceiling t (the second step of Llama 3's and
Bhagia et al.'s task scaling laws, arXiv:2407.21783 and 2412.04403).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from sweeplaw.analysis.fitting.fit import fit
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.forecasting.forecaster import Forecaster
from sweeplaw.analysis.tables.display import Card, Shown, finite
from sweeplaw.analysis.tables.sql.expressions import check_columns
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted, percent, short

Array = np.ndarray

FORMULA = "c + (t - c) / (1 + exp(k * (L - L0)))"
LEAST_RUNS = 5
DRAWS = 4000  # of the loss and the sigmoid together
RESAMPLES = 400
QUANTILES = np.linspace(0.0005, 0.9995, 401)


@dataclass(frozen=True, repr=False)
class MetricForecast(Shown):
    """The forecast of ``metric`` at n points: ``median``, and ``low`` and ``high`` of the band at ``level``, each (n,).

    ``run`` are the ends for one new run, whose metric scatters around the sigmoid. ``loss`` is the forecast of step
    one. ``first`` and ``second`` are the widths of the band if only that step had an error. ``beyond`` marks where the
    loss is lower than that of every run, so that the sigmoid is extrapolated. ``sigmoid`` is fitted to the metric plus
    ``shift``.
    """

    metric: str
    inputs: Mapping[str, Array]
    loss: Array
    median: Array
    low: Array
    high: Array
    run: tuple[Array, Array]
    first: Array
    second: Array
    beyond: Array
    level: float
    sigmoid: Fit
    shift: float
    warnings: tuple[str, ...]

    def headline(self) -> tuple[str, ...]:
        """Return a line for each point, the verdicts on the sigmoid, and each warning."""
        return (*(self._line(at) for at in range(len(self.median))), *self.verdicts(), *self.warnings)

    def verdicts(self) -> tuple[str, ...]:
        """Return the three verdicts on the sigmoid, and a sentence for each that failed."""
        verdict, ends = self.sigmoid.adequacy, {name: value - self.shift for name, value in self.sigmoid.law.fixed}
        span = f"from {ends['c']:.4g} (chance) to {ends['t']:.4g} (ceiling)"
        sentences = [f"the sigmoid of {self.metric} {span}: {'; '.join(verdict.badges)}"]
        if verdict.law == "inadequate":
            sentences.append(
                f"no sigmoid {span} describes {self.metric}, whose residuals follow a pattern: its bands do not hold "
                "unless chance and ceiling are right"
            )
        elif verdict.law == "cannot be judged":
            sentences.append(f"too few or too noisy runs to tell whether a sigmoid describes {self.metric}")
        if not verdict.parameters_identified:
            sentences.append(f"the runs do not identify the sigmoid of {self.metric}: they do not reach its bend")
        return tuple(sentences)

    def _line(self, at: int) -> str:
        point = ", ".join(f"{name} = {short(float(column[at]))}" for name, column in self.inputs.items())
        beyond = ", at a loss below that of every run" if self.beyond[at] else ""
        return (
            f"{point}: {self.metric} {self.median[at]:.4f}, {percent(self.level)} band of its expected value "
            f"[{self.low[at]:.4f}, {self.high[at]:.4f}], of one new run [{self.run[0][at]:.4f}, {self.run[1][at]:.4f}] "
            f"(at a loss of {self.loss[at]:.4f}{beyond}; the band would be {self.first[at]:.2g} wide with the error of "
            f"the loss alone, {self.second[at]:.2g} with that of the sigmoid alone)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the forecast as plain values for JSON."""
        points = [
            {
                **{name: float(column[at]) for name, column in self.inputs.items()},
                "loss": float(self.loss[at]), "median": float(self.median[at]),
                "low": float(self.low[at]), "high": float(self.high[at]),
                "run": [float(end[at]) for end in self.run], "width_of_loss": float(self.first[at]),
                "width_of_sigmoid": float(self.second[at]), "beyond_the_runs": bool(self.beyond[at]),
            }
            for at in range(len(self.median))
        ]  # fmt: skip
        ends = {name: value - self.shift for name, value in self.sigmoid.law.fixed}
        sigmoid = dict(self.sigmoid.params) | ends
        verdict = {"badges": self.sigmoid.adequacy.badges, "sentences": self.verdicts()}
        return dict(finite({"metric": self.metric, "level": self.level, "sigmoid": sigmoid, "verdict": verdict,
                            "points": points, "warnings": self.warnings}))  # fmt: skip

    def card(self) -> Card:
        """Return the headline and the parameters of the sigmoid."""
        rows = tuple((name, f"{value:.6g}") for name, value in self.sigmoid.params.items())
        return Card(self.headline(), (f"{self.metric} = {FORMULA}", ""), rows)


def metric_forecast(
    found: Forecaster, metric: str, at: Mapping[str, Any], *, chance: float = 0.0, ceiling: float = 1.0,
    level: float = 0.95, seed: int = 0,
) -> MetricForecast:  # fmt: skip
    """Forecast the column ``metric`` of the runs of ``found`` at inputs in the table's own units.

    ``chance`` and ``ceiling`` are the metric's values at a very high and a very low loss. The metric grows as the loss
    falls from one to the other. Raise InputError if fewer than 5 runs have the metric, or it lies outside.
    """
    if not chance < ceiling:
        raise InputError(f"chance = {chance:g}, ceiling = {ceiling:g} (accepted: chance below ceiling)")
    losses, values, warnings = _runs(found, metric, chance, ceiling)
    shift = 1.0 + abs(min(0.0, float(values.min()), chance))  # the engine fits positive values
    sigmoid = _sigmoid(losses, values + shift, chance + shift, ceiling + shift, seed)
    law = found.predict(at, level, "law")
    points = found._points(law.inputs)
    ends = ((1 - level) / 2, (1 + level) / 2)
    rng = np.random.default_rng(seed)
    drawn = _losses(found, points, rng)
    params = sigmoid.draws.params[rng.integers(0, len(sigmoid.draws.params), DRAWS)]  # type: ignore[union-attr]
    both = _metric(params, drawn, chance, ceiling)
    noise = rng.choice(sigmoid.residuals * np.sqrt(len(losses) / max(len(losses) - 2, 1)), size=both.shape)
    low, high = np.quantile(both, ends, axis=0)
    run = np.quantile(both + noise, ends, axis=0)
    only_loss = _width(_metric(sigmoid.theta[None, :2], drawn, chance, ceiling), ends)
    only_sigmoid = _width(_metric(params, np.broadcast_to(law.median, drawn.shape), chance, ceiling), ends)
    return MetricForecast(
        metric, law.inputs, law.median, np.median(both, axis=0), low, high, (run[0], run[1]), only_loss, only_sigmoid,
        law.median < losses.min(), level, sigmoid, shift, (*law.warnings, *warnings),
    )  # fmt: skip


def _runs(found: Forecaster, metric: str, chance: float, ceiling: float) -> tuple[Array, Array, tuple[str, ...]]:
    """Return the loss and the metric of the runs that have one. Raise InputError."""
    frame = found.observations.frame
    check_columns(frame, [metric], numbers=[metric])
    values = frame[metric].cast(pl.Float64).fill_null(np.nan).to_numpy()
    known = np.isfinite(values)
    if known.sum() < LEAST_RUNS:
        raise InputError(
            f"{counted(int(known.sum()), 'run')} with {metric}; its sigmoid in the loss needs {LEAST_RUNS}"
        )
    losses, values = np.asarray(found.observations.losses)[known], values[known]
    span = ceiling - chance
    if (outside := (values < chance - 0.5 * span) | (values > ceiling + 0.5 * span)).any():
        seen = f"{values[outside].min():g} to {values[outside].max():g}"
        raise InputError(
            f"{metric} is {seen} in {counted(int(outside.sum()), 'run')}: far outside {chance:g} to {ceiling:g}"
        )
    without = int((~known).sum())
    return losses, values, (f"{counted(without, 'run')} without {metric} left out",) if without else ()


def _sigmoid(losses: Array, values: Array, chance: float, ceiling: float, seed: int) -> Fit:
    """Return the sigmoid by least squares."""
    table = {"L": losses, "m": values}
    return fit(
        table, FORMULA, "ls", x={"L": "L"}, y="m", space="raw", all_rows=True, bootstrap=RESAMPLES, by="row", seed=seed,
        fixed={"c": chance, "t": ceiling}, bounds={"k": (1e-3, 1e3), "L0": (1e-3, 1e3)},
    )  # fmt: skip


def _losses(found: Forecaster, points: Any, rng: np.random.Generator) -> Array:
    """Return draws of the expected loss at each point: (draws, n), by the inverse of the forecast's distribution."""
    quantiles = np.exp(found.process.quantiles(points, tuple(QUANTILES), noise=False))
    uniform = rng.uniform(QUANTILES[0], QUANTILES[-1], DRAWS)
    return np.column_stack([np.interp(uniform, QUANTILES, column) for column in quantiles.T])


def _metric(params: Array, losses: Array, chance: float, ceiling: float) -> Array:
    """Return the sigmoid at parameters (draws, 2) or (1, 2) and losses (draws, n)."""
    k, middle = params[:, :1], params[:, 1:2]
    with np.errstate(over="ignore"):
        return np.asarray(chance + (ceiling - chance) / (1 + np.exp(k * (losses - middle))))


def _width(draws: Array, ends: tuple[float, float]) -> Array:
    low, high = np.quantile(draws, ends, axis=0)
    return np.asarray(high - low)
