"""The law of one knob: its optimum as a power of the axes, with intervals from resampled cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        return estimate(np.exp(self.draws @ row), float(np.exp(self.terms @ row)))

    @property
    def formula(self) -> str:
        """The law in conventional notation: ``lr = 77.7 N^-0.766 D^0.197``."""
        powers = [f"{axis}^{exponent.value:.3f}" for axis, exponent in self.exponents.items()]
        return " ".join([f"{self.knob} = {self.coefficient.value:.4g}", *powers])

    def headline(self) -> tuple[str, ...]:
        """Return the formula, with the 95 % intervals of its exponents, and the factor of each recipe."""
        known = [f"{axis} [{e.low:.3f}, {e.high:.3f}]" for axis, e in self.exponents.items() if e.low is not None]
        first = f"{self.formula}    95 %: {', '.join(known)}" if known else self.formula
        return (first, *(f"    x {factor.value:.3f} for {name}" for name, factor in self.offsets.items()))

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


def knob_law(terms: Features, k: int, knob: str, center: Array, draws: Array) -> KnobLaw:
    """Return the law of knob ``k`` from coefficients (q,) and their resamples (resamples, q) on centered features."""
    names = [name for name, allowed in zip(terms.names, terms.allowed[k], strict=True) if allowed and name != "1"]
    at = {name: terms.names.index(name) for name in names}
    estimates = {name: estimate(draws[:, i], float(center[i])) for name, i in at.items()}
    factors = {name: estimate(np.exp(draws[:, i]), float(np.exp(center[i]))) for name, i in at.items()}
    origin = terms.centers
    return KnobLaw(
        knob=knob,
        coefficient=estimate(np.exp(draws[:, 0] - draws @ origin), float(np.exp(center[0] - center @ origin))),
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
