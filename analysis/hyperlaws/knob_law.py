"""The law of one knob: its optimum as a power of the axes, with intervals from resampled cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sweeplaw.analysis.hyperlaws.features import Features
from sweeplaw.analysis.tables.display import Shown, finite

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its 95 % interval, whose ends are None without resamples."""

    value: float
    low: float | None
    high: float | None

    @property
    def ends(self) -> tuple[float | None, float | None]:
        """The ends of the interval."""
        return self.low, self.high


@dataclass(frozen=True, slots=True, repr=False)
class KnobLaw(Shown):
    """``coefficient`` times the axes to their ``exponents`` (times an ``offsets`` factor for a recipe).

    In the units of the columns. ``terms`` (q,) and ``draws`` (resamples, q): coefficients on centered features.
    """

    knob: str
    coefficient: Estimate
    exponents: Mapping[str, Estimate]
    offsets: Mapping[str, Estimate]
    features: Features
    terms: Array
    draws: Array

    def at(self, axes: Mapping[str, float], recipe: Mapping[str, str] | None = None) -> Estimate:
        """Return the knob's optimum at these axis values, with its interval."""
        row = self.features.at(axes, recipe)
        return _exp_estimate(self.draws @ row, float(self.terms @ row))

    @property
    def formula(self) -> str:
        """The law in conventional notation: ``lr = 77.7 N^-0.766 D^0.197``."""
        powers = [f"{axis}^{exponent.value:z.3f}" for axis, exponent in self.exponents.items()]
        return " ".join([f"{self.knob} = {self._coefficient()}", *powers])

    def _coefficient(self) -> str:
        if np.isfinite(self.coefficient.value):
            return f"{self.coefficient.value:.4g}"
        return f"10^{(self.terms[0] - self.terms @ self.features.centers) / np.log(10):.1f}"

    def headline(self) -> tuple[str, ...]:
        """Return the formula, with the 95 % intervals of its exponents, and the factor of each recipe."""
        known = [f"{axis} [{e.low:z.3f}, {e.high:z.3f}]" for axis, e in self.exponents.items() if e.low is not None]
        first = f"{self.formula}    95 %: {', '.join(known)}" if known else self.formula
        return (first, *(f"    x {_factor(factor)} for {name}" for name, factor in self.offsets.items()))

    def to_dict(self) -> dict[str, Any]:
        """Return the law as plain values for JSON; intervals are 95 %."""
        return dict(finite({
            "formula": self.formula,
            "coefficient": self.coefficient.value,
            "coefficient_interval": self.coefficient.ends,
            "exponents": {axis: exponent.value for axis, exponent in self.exponents.items()},
            "exponent_intervals": {axis: exponent.ends for axis, exponent in self.exponents.items()},
            "recipe_factors": {
                name: {"value": factor.value, "interval": factor.ends} for name, factor in self.offsets.items()
            },
        }))  # fmt: skip


def _factor(factor: Estimate) -> str:
    interval = f" [{factor.low:.3f}, {factor.high:.3f}]" if factor.low is not None else ""
    return f"{factor.value:.3f}{interval}"


def knob_law(terms: Features, k: int, knob: str, center: Array, draws: Array) -> KnobLaw:
    """Return the law of knob ``k`` from coefficients (q,) and their resamples (resamples, q) on centered features."""
    names = [name for name, allowed in zip(terms.names, terms.allowed[k], strict=True) if allowed and name != "1"]
    at = {name: terms.names.index(name) for name in names}
    estimates = {name: estimate(draws[:, i], float(center[i])) for name, i in at.items()}
    factors = {name: _exp_estimate(draws[:, i], float(center[i])) for name, i in at.items()}
    origin = terms.centers
    return KnobLaw(
        knob=knob,
        coefficient=_exp_estimate(draws[:, 0] - draws @ origin, float(center[0] - center @ origin)),
        exponents={name: exponent for name, exponent in estimates.items() if "=" not in name},
        offsets={name: factor for name, factor in factors.items() if "=" in name},
        features=terms,
        terms=center,
        draws=draws,
    )


def estimate(draws: Array, value: float) -> Estimate:
    """Return a value with the central 95 % of its draws, without an interval for fewer than two."""
    if len(draws) < 2:
        return Estimate(value, None, None)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def _exp_estimate(draws: Array, value: float) -> Estimate:
    """Return the estimate of an exponential from its logs; infinite or without ends where no float holds it."""
    with np.errstate(over="ignore", invalid="ignore"):  # a quantile between two infinite draws
        return estimate(np.exp(draws), float(np.exp(value)))


def widened(draws: Array, center: Array, freedom: int) -> Array:
    """Return resamples of cells (resamples, ...) moved away from ``center`` (...), for intervals from few cells.

    Percentiles of a bootstrap are those of a normal law; with ``freedom`` cells beyond the terms of the law the errors
    follow Student's t (Hesterberg 2015, arXiv 1411.5279, section 4.4). Measured on planted laws over 8 to 17 cells:
    95 % intervals covered the exponents in 88 to 94 % of the sets without this factor, in 93 to 97 % with it.
    """
    factor = stats.t.ppf(0.975, max(freedom, 1)) / stats.norm.ppf(0.975)
    return np.asarray(center + factor * (draws - center))
