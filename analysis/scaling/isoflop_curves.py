"""The isoFLOP curves of an experiment: at each budget its runs, the parabola near their least loss, and its minimum.

Windows, minima and resamples are those of approach 2 (`analysis.scaling.parabola`), and so is the line through them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.polynomial import Polynomial

from sweeplaw.analysis.fitting.derived.allocation import exponents, flops_per_nd
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.fitting.uncertainty import Interval
from sweeplaw.analysis.scaling.approach import Approach, IsoflopBudget
from sweeplaw.analysis.scaling.isoflop_design import IsoflopDesign, design, windows
from sweeplaw.analysis.scaling.parabola import (
    OFF_CENTRE,
    budget_of,
    optimum_interval,
    parabola_of,
    resampled_optima,
    with_bias,
)
from sweeplaw.analysis.tables.display import finite
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import counted

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class IsoflopCurve:
    """The runs of one budget: N and loss of each (n,), and which of them are ``used``: those within its window.

    ``parabola`` is of the loss in log N through the runs used; None without a window. ``interval`` is that of N* over
    resamples; None where too few of them have an optimum.
    """

    budget: IsoflopBudget
    params: Array
    losses: Array
    used: Array
    parabola: Polynomial | None
    interval: Interval | None

    @property
    def optimum(self) -> tuple[float, float] | None:
        """N* and the loss of the parabola there; None where it is outside the sizes used."""
        if self.budget.params is None or self.parabola is None:
            return None
        return self.budget.params, float(self.parabola(np.log(self.budget.params)))

    def to_dict(self) -> dict[str, Any]:
        """Return the budget, its optimum and the parabola's coefficients in powers of log N as plain values."""
        found = self.optimum
        return {
            "flops": self.budget.flops,
            "rows": self.budget.rows,
            "rows_used": int(self.used.sum()),
            "window": self.budget.window,
            "params": self.budget.params,
            "interval": None if self.interval is None else self.interval.values(),
            "loss": None if found is None else found[1],
            "off_centre": self.budget.off_centre,
            "parabola": None if self.parabola is None else self.parabola.convert().coef.tolist(),
            "note": self.budget.note,
        }


@dataclass(frozen=True, slots=True)
class IsoflopCurves:
    """The curves of all budgets that an optimum can be sought in, and the ``line`` through their optima.

    ``line`` is approach 2; without one, ``why_not`` says why. ``rows`` are those of all budgets, ``k`` is of C = k N D.
    """

    curves: tuple[IsoflopCurve, ...]
    line: Approach | None
    why_not: str
    rows: int
    k: float

    @property
    def found(self) -> tuple[IsoflopCurve, ...]:
        """The curves with an optimum inside the sizes used."""
        return tuple(curve for curve in self.curves if curve.optimum is not None)

    @property
    def rows_used(self) -> int:
        """The runs within the window of their budget."""
        return sum(int(curve.used.sum()) for curve in self.curves)

    def verdict(self) -> str:
        """Return whether the budgets have their optimum inside the sizes tried, and in their middle."""
        inside = f"{len(self.found)} of {counted(len(self.curves), 'budget')} have an optimum inside the sizes fitted"
        off = sum(abs(curve.budget.off_centre or 0.0) > OFF_CENTRE for curve in self.found)
        return inside + (f", {off} of them far from the middle, which pulls the optimum" if off else "")

    def to_dict(self) -> Mapping[str, Any]:
        """Return the curves and the line as plain values for JSON."""
        return dict(finite({
            "flops_per_nd": self.k, "rows": self.rows, "rows_used": self.rows_used, "verdict": self.verdict(),
            "budgets": [curve.to_dict() for curve in self.curves],
            "line": None if self.line is None else self.line.to_dict(), "why_not": self.why_not,
        }))  # fmt: skip


def isoflop_curves(
    rows: IsoflopDesign, k: float, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> IsoflopCurves:
    """Return the curves of the budgets that an optimum can be sought in, none if there is no such budget."""
    best = resampled_optima(rows, resamples, seed)
    curves = tuple(_curve(rows, members, draws, level) for members, draws in zip(rows.usable, best.T, strict=True))
    try:
        line, why_not = parabola_of(rows, best, level), ""
    except InputError as error:
        line, why_not = None, error.sentence()
    return IsoflopCurves(curves, line, why_not, len(rows.losses), k)


def curves_of_fit(fit: Fit, resamples: int = 1000, seed: int = 0) -> IsoflopCurves:
    """Return the curves of the rows of a surface fit; the line's notes name its bias as `compare_approaches` does."""
    k, _ = flops_per_nd(fit)
    rows = design(fit, k)
    found = isoflop_curves(rows, k, fit.level, resamples, seed)
    if found.line is None:
        return found
    a, _ = exponents(fit, rows.mean_flops(np.arange(len(rows.flops))), k)["a"]
    return replace(found, line=with_bias(found.line, rows, fit, a, seed))


def _curve(rows: IsoflopDesign, members: Array, draws: Array, level: float) -> IsoflopCurve:
    params, losses = rows.params[members], rows.losses[members]
    used = windows(params, losses[None])[0][0]
    parabola = Polynomial.fit(np.log(params[used]), losses[used], 2) if used.any() else None
    budget = budget_of(rows, members)
    interval = None if budget.params is None else optimum_interval(draws[1:], level)
    return IsoflopCurve(budget, params, losses, used, parabola, interval)
