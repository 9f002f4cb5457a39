"""Three verdicts on a hyperparameter law, as on a fit: is an optimum found, is the law adequate, is it identified.

Found: the loss has a minimum in the knobs, also when cells are resampled. Adequate: the optima of the cells lie on the
law, up to noise and to differences in loss that do not matter. Identified: for every axis, the interval of the exponent
shows which way the knob moves, or that within a decade it moves by less than its plateau.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sweeplaw.analysis.adequacy.adequacy import LawVerdict, badges
from sweeplaw.analysis.hyperlaws.evaluation import PERMILLE, WINDOW, Estimator
from sweeplaw.analysis.hyperlaws.knob_law import Estimate, KnobLaw
from sweeplaw.analysis.hyperlaws.verdicts.own_optima import NoMinimumError, OwnOptima, own_optima
from sweeplaw.analysis.tuning.cells import CellTable
from sweeplaw.analysis.tuning.design import at_edges
from sweeplaw.analysis.tuning.plateau import QUOTED, KnobTolerance
from sweeplaw.trials.quantities import counted, short

Array = NDArray[np.float64]

MOST_FAILED = 0.05  # of the resamples, that have no minimum
MATTERS = 1.0  # per mille of loss: the noise of a run in released grids; a law that loses less is as good as any
NOTICED = 0.1 * MATTERS  # from here on it is said why a loss beyond noise is none against an adequate law
LEVEL = 0.01  # of the test of misfit
DECADE = math.log(10)  # of an axis, over which a knob that hardly moves is known not to
LEAST_SCORED = 3  # cells with an optimum of their own, and half of all, for a verdict on the law


@dataclass(frozen=True, slots=True)
class HyperVerdict:
    """``not_found``: why there is no optimum, empty if there is. ``law``: the verdict on the law, with its ``reason``.

    ``open_exponents``: a sentence for each exponent that the cells do not identify, by knob and axis. ``at_edge``: one
    for each knob whose best value is the lowest or highest tried in most cells.
    """

    not_found: str
    law: LawVerdict
    reason: str
    open_exponents: Mapping[tuple[str, str], str]
    at_edge: Mapping[str, str] = field(default_factory=dict)

    @property
    def badges(self) -> tuple[str, str, str]:
        """The verdicts in two to four words each."""
        return badges(not self.not_found, self.law, not self.open_exponents)

    @property
    def objection(self) -> str:
        """Why nothing is advised by these laws; empty if something may be."""
        if self.not_found:
            return self.not_found
        return self.reason if self.law == "inadequate" else ""

    def lines(self) -> Iterator[str]:
        """Yield the verdicts, and a sentence for each that failed."""
        yield "; ".join(self.badges)
        yield from filter(None, [self.not_found])
        yield f"{self.badges[1]}: {self.reason}"
        yield from self.open_exponents.values()

    def with_knob(self, other: HyperVerdict, knob: str) -> HyperVerdict:
        """Return the verdicts with those on one more knob, whose law is of another fit."""
        more = {(name, axis): why for (name, axis), why in other.open_exponents.items() if name == knob}
        worst = max(self, other, key=lambda one: RANK[one.law])
        not_found = self.not_found or (f"{knob}: {other.not_found}" if other.not_found else "")
        edges = {**self.at_edge, **{name: why for name, why in other.at_edge.items() if name == knob}}
        return HyperVerdict(not_found, worst.law, worst.reason, {**self.open_exponents, **more}, edges)

    def values(self) -> dict[str, Any]:
        """Return the verdicts as plain values for JSON."""
        return {
            "badges": list(self.badges),
            "optimum": {"found": not self.not_found, "reason": self.not_found or None},
            "law": {"verdict": self.law, "reason": self.reason},
            "exponents": {"identified": not self.open_exponents, "sentences": list(self.open_exponents.values())},
        }


RANK: Mapping[LawVerdict, int] = {"adequate": 0, "cannot be judged": 1, "inadequate": 2}


def verdict(
    table: CellTable,
    fitted: Estimator,
    laws: Sequence[KnobLaw],
    plateau: Sequence[KnobTolerance],
    failed: int,
    resamples: int,
    window: float | None = None,
) -> HyperVerdict:
    """Return the verdicts on ``laws``; ``failed`` of ``resamples`` resamples of the cells determined no law.

    ``window``: of the runs that cells get optima of their own from; None: those within 1.5 % of the best.
    """
    not_found, own = _not_found(table, failed, resamples), None
    try:
        own = own_optima(table, WINDOW if window is None else window)
    except NoMinimumError:
        not_found = not_found or "the loss near the best runs of the cells does not rise on all sides"
    predicted = fitted.features.matrix @ np.stack([law.terms for law in laws]).T
    law, reason = _law(own, predicted, int(fitted.features.allowed.sum()))
    unsettled = f"{failed} of {counted(resamples, 'resample')} of the cells have no minimum"
    why = unsettled if failed > MOST_FAILED * resamples else ""
    return HyperVerdict(not_found, law, reason, dict(_open(table, fitted, laws, plateau, why)), _mostly_at_edge(table))


def _not_found(table: CellTable, failed: int, resamples: int) -> str:
    """Return why the loss has no minimum in the knobs; empty if it has one."""
    if edges := _mostly_at_edge(table):
        return "; ".join(edges.values())
    if failed > MOST_FAILED * resamples:
        return (
            f"the loss has no minimum in the knobs in {failed} of {counted(resamples, 'resample')} of the cells: its "
            "noise hides the curvature (more seeds, or a wider range of the knobs)"
        )
    return ""


def _mostly_at_edge(table: CellTable) -> dict[str, str]:
    """Return a sentence for each knob whose best value is the lowest or highest tried in over half of the cells."""
    cells = len(table.cells)
    edges = {name: (low, high) for name, (low, high) in at_edges(table).items() if low + high > cells / 2}
    return {
        name: f"the lowest loss is at the {' or '.join(['lowest'] * bool(low) + ['highest'] * bool(high))} {name} "
        f"tried in {low + high} of {cells} cells"
        for name, (low, high) in edges.items()
    }


def _law(own: OwnOptima | None, predicted: Array, terms: int) -> tuple[LawVerdict, str]:
    """Return the verdict on a law with ``terms`` coefficients that predicts log optima (cells, knobs).

    Their distances from the optima of the cells, over the covariances of these, have an F distribution if the law is
    adequate; the loss that they cost beyond what noise alone would must also matter.
    """
    scored = 0 if own is None else int(own.known.sum())
    cells, knobs = predicted.shape
    free = scored * knobs - terms
    if own is None or scored < max(LEAST_SCORED, cells / 2) or free < 1:
        return (
            "cannot be judged",
            f"{scored} of {counted(cells, 'cell')} have an optimum of their own to hold it against",
        )
    away, spread = (predicted - own.optima)[own.known], own.covariances[own.known]
    statistic = float(np.einsum("ci,cij,cj->", away, np.linalg.inv(spread), away)) / free
    loss = float(np.einsum("ci,ij,cj->c", away, own.hessian, away).mean() / 2) * PERMILLE
    noise = float(np.einsum("ij,cji->c", own.hessian, spread).mean() / 2 * free / (scored * knobs)) * PERMILLE
    reason = f"at the optima of the law the cells lose {loss:.2g} per mille of loss, {noise:.2g} would be noise alone"
    if noise > MATTERS:
        return "cannot be judged", f"{reason}, in which a misfit that matters could hide"
    by_chance = stats.f.sf(statistic, free, own.freedom) >= LEVEL
    if loss - noise > MATTERS and not by_chance:
        return "inadequate", reason
    why = "chance explains the rest" if by_chance else f"a misfit of up to {MATTERS:g} per mille does not matter"
    return "adequate", f"{reason}, and {why}" if loss > max(noise, NOTICED) else reason


def _open(
    table: CellTable, fitted: Estimator, laws: Sequence[KnobLaw], plateau: Sequence[KnobTolerance], none: str
) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield a sentence for each knob and axis whose dependence the cells do not identify.

    ``none``: why no exponent is identified, empty if one may be: an interval is of the resamples with a minimum alone.
    """
    tolerance = {width.knob: width.factor for width in plateau if width.threshold == QUOTED}
    for index, axis in enumerate(table.axes):
        logs = table.log_axes[:, index]
        if axis not in fitted.features.names:
            value = short(math.exp(logs.mean()))
            for law in laws:
                yield (
                    (law.knob, axis),
                    f"how {law.knob} moves with {axis} is not identified: {axis} is {value} in all cells",
                )
            continue
        for law in laws:
            found = law.exponents.get(axis)
            if found is not None and (why := none or _why_open(found, tolerance.get(law.knob))):
                yield (law.knob, axis), f"how {law.knob} moves with {axis} is not identified: {why}"


def _why_open(found: Estimate, tolerance: float | None) -> str:
    """Return why an exponent is not identified; empty if it is. ``tolerance``: factor that the loss does not notice."""
    if found.low is None or found.high is None:
        return "without resamples there is no interval"
    if found.low > 0 or found.high < 0:
        return ""
    if tolerance is not None and max(-found.low, found.high) * DECADE <= math.log(tolerance):
        return ""
    return f"its exponent is {found.value:.3f}, 95 % [{found.low:.3f}, {found.high:.3f}], and a flat law fits as well"
