"""What a difference of loss is worth in compute: how much more the first recipe needs to reach the second one's loss.

At each point (N, D) the fitted law of the first recipe is followed along N and D growing alike, to the loss of the
second: L_a(sqrt(s) N, sqrt(s) D) = L_a(N, D) + difference. s is the speed-up at this point; the answer is their
geometric mean. Of several settings at one point each recipe's best counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl

from sweeplaw.analysis.adequacy.advice import failure
from sweeplaw.analysis.fitting.fit import fit
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted, percent

Array = np.ndarray

RESAMPLES = 400
FARTHEST = math.log(1e4)  # a speed-up beyond 10,000 has no number
BISECTIONS = 40  # to 2e-11 in the log
LEAST_POINTS = 4  # for a law with an asymptote
OF_THE_BEST = "of each one's best setting at a size, while the difference is over all settings"


@dataclass(frozen=True, slots=True)
class SpeedUp:
    """``value`` with its interval, from ``points`` points by ``law``; None with the reason in ``note``."""

    value: float | None
    low: float | None
    high: float | None
    points: int
    law: str
    note: str = ""

    def sentence(self, level: float, shown: bool = True) -> str:
        """Return what the difference is worth, for a person; ``shown``: whether there is one beyond noise."""
        if self.value is None:
            return f"worth in compute: unknown ({self.note})"
        ends = (
            f" [{_end(self.low)}, {_end(self.high)}], {percent(level)}; above 1 favours the second" if self.low else ""
        )
        note = f"; {self.note}" if self.note else ""
        number = f"(speed-up of the second {self.value:.3g}{ends}; by the law {self.law} of the first{note})"
        if not shown:
            return f"worth in compute: nothing shown {number}"
        faster, value = ("second", self.value) if self.value >= 1 else ("first", 1 / self.value)
        return f"worth in compute: the {faster} recipe reaches the other's loss with {value:.3g}x less {number}"


def speed_up(points: pl.DataFrame, level: float, seed: int = 0) -> SpeedUp:
    """Return the speed-up of the second recipe from the points of `Pairs`, which have N and D as ``size`` and ``data``.

    The interval is by bootstrap over the points and the law's rows together.
    """
    known = points.drop_nulls(["size", "data"])
    cells = known.group_by("size", "data").agg(pl.col("a").min(), pl.col("b").min())
    cells = cells.sort("size", "data")
    if cells.height < LEAST_POINTS:
        return _unknown(f"{counted(cells.height, 'point')} with known N and D; a law needs {LEAST_POINTS}")
    try:
        found, inputs = _law(*(tuple(cells[name].to_list()) for name in ("size", "data", "a")), seed)
    except InputError as error:
        return _unknown(f"no law of the first recipe: {error.faults[0]}")
    if why := failure(found.adequacy):
        return _unknown(f"by the law {found.law.name} of the first recipe: {why}")
    differences = (cells["b"] - cells["a"]).to_numpy()
    here = _scales(found, inputs, found.theta[None], differences)[0]
    value, note = _mean(here)
    if value is None:
        return _unknown(note)
    low, high = _interval(found, inputs, differences, level, seed)
    notes = [note, OF_THE_BEST if known.height > cells.height else ""]
    return SpeedUp(value, low, high, cells.height, found.law.name, "; ".join(filter(None, notes)))


def _unknown(note: str) -> SpeedUp:
    return SpeedUp(None, None, None, 0, "", note)


@lru_cache(maxsize=2)  # the first recipe is the same in each comparison of the values of a knob
def _law(
    sizes: tuple[float, ...], data: tuple[float, ...], losses: tuple[float, ...], seed: int
) -> tuple[Fit, Callable[[Array], dict[str, Array]]]:
    """Return the law of the first recipe, and its inputs at every point with compute scaled by a factor."""
    n, d = np.array(sizes, float), np.array(data, float)
    both = len(set(sizes)) >= 3 and len(set(data)) >= 3 and len(sizes) > 6
    with np.errstate(over="ignore"):  # the fit leaves out what is infinite
        table = {"N": n, "D": d, "C": 6 * n * d, "loss": np.array(losses, float)}
    x, law = ({"N": "N", "D": "D"}, "additive") if both else ({"x": "C"}, "power_asymptote")
    found = fit(table, law, x=x, y="loss", bootstrap=RESAMPLES, seed=seed)

    def inputs(scale: Array) -> dict[str, Array]:
        root = np.sqrt(scale)
        return {"N": n * root, "D": d * root} if both else {"x": 6 * n * d * scale}

    return found, inputs


def _scales(found: Fit, inputs: Callable[[Array], dict[str, Array]], theta: Array, differences: Array) -> Array:
    """Return the log of the speed-up for each parameter vector and point: (batch, points); infinite out of reach."""
    goal = found.predictions(inputs(np.ones((len(theta), 1))), theta) + differences
    low, high = np.full(goal.shape, -FARTHEST), np.full(goal.shape, FARTHEST)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        above = found.predictions(inputs(np.exp(middle)), theta) > goal
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    middle = (low + high) / 2
    return np.where(np.abs(middle) > FARTHEST * (1 - 1e-6), np.sign(middle) * np.inf, middle)


def _mean(logs: Array) -> tuple[float | None, str]:
    """Return the geometric mean over the points within reach, and how many are not."""
    near = np.isfinite(logs)
    if near.sum() < len(logs) / 2:
        return None, "the second recipe's loss is out of reach of the first one's law at most points"
    beyond = counted(int((~near).sum()), "point")
    note = f"at {beyond} the first recipe's law never gets there, left out" if not near.all() else ""
    return float(np.exp(logs[near].mean())), note


def _interval(
    found: Fit, inputs: Callable[[Array], dict[str, Array]], differences: Array, level: float, seed: int
) -> tuple[float | None, float | None]:
    if found.draws is None:
        return None, None
    rng = np.random.default_rng(seed)
    logs = _scales(found, inputs, found.draws.params, differences)
    chosen = rng.integers(0, len(differences), logs.shape)
    means = np.take_along_axis(logs, chosen, axis=1).mean(axis=1)
    low, high = np.quantile(means[~np.isnan(means)], [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return float(np.exp(low)), float(np.exp(high))


def _end(value: float | None) -> str:
    return "unknown" if value is None else "none" if not math.isfinite(value) else f"{value:.3g}"
