"""Tolerance of each knob: the region within 0.1, 0.25 and 0.5 % of the best loss as factors, and its convexity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweeplaw.analysis.tuning.cell_settings import CONVEX_ENOUGH
from sweeplaw.analysis.tuning.optimum import CellOptimum
from sweeplaw.trials.quantities import percent

Array = NDArray[np.float64]

THRESHOLDS = (0.001, 0.0025, 0.005)
QUOTED = 0.0025  # the one that texts quote


@dataclass(frozen=True, slots=True)
class KnobTolerance:
    """Factors by which one knob may be off at one threshold (relative excess loss).

    ``factor``: with the other knobs at their optimum; ``retuned``: with the others retuned.
    """

    knob: str
    threshold: float
    factor: float
    retuned: float


@dataclass(frozen=True, slots=True)
class Plateau:
    """Plateau of a cell. ``convex``: share of the draws of the curvature that are convex, None without draws."""

    cell: Mapping[str, Any]
    convex: float | None
    verdict: str
    widths: tuple[KnobTolerance, ...]


def widths(hessian: Array, knobs: Sequence[str], thresholds: Sequence[float] = THRESHOLDS) -> tuple[KnobTolerance, ...]:
    """Return the plateau of a convex quadratic of log loss with ``hessian`` (knobs, knobs) in natural logs.

    log(1 + t) = h d^2 / 2 with h the curvature along the knob (others fixed), or 1 / inverse(H)_kk (others retuned).
    A factor that a float cannot hold is infinite.
    """
    inverse = np.linalg.inv(hessian)

    def factor(threshold: float, curvature: float) -> float:
        with np.errstate(over="ignore"):
            return float(np.exp(np.sqrt(2 * np.log1p(threshold) / curvature)))

    return tuple(
        KnobTolerance(name, threshold, factor(threshold, hessian[k, k]), factor(threshold, 1 / inverse[k, k]))
        for k, name in enumerate(knobs)
        for threshold in thresholds
    )


def plateau(cell: CellOptimum, thresholds: Sequence[float] = THRESHOLDS) -> Plateau:
    """Return the convexity verdict and the plateau of one cell; no widths if the loss is not convex."""
    fit = cell.quadratic
    if fit is None or fit.reason:
        return Plateau(cell.cell, None, f"not tested: {cell.verdict}", ())
    if not fit.is_convex:
        return Plateau(cell.cell, fit.convex, "not convex around the lowest row", ())
    names = cell.fitted_knobs
    if fit.convex is None:
        verdict = "convex as fitted, untested: as many terms as points"
    else:
        word = "convex" if fit.convex >= CONVEX_ENOUGH else "not established as convex"
        verdict = f"{word}: {percent(fit.convex, '.1f')} of the draws of the curvature are"
    return Plateau(cell.cell, fit.convex, verdict, widths(fit.hessian, names, thresholds))


def pooled(cells: Sequence[CellOptimum], thresholds: Sequence[float] = THRESHOLDS) -> tuple[KnobTolerance, ...]:
    """Return median widths over the cells with an optimum in the most common set of knobs; empty if there is none."""
    found = [cell for cell in cells if cell.supported]
    names = [cell.fitted_knobs for cell in found]
    if not names:
        return ()
    common = max(set(names), key=names.count)
    each = [plateau(cell, thresholds).widths for cell in found if cell.fitted_knobs == common]
    factors = np.array([[(width.factor, width.retuned) for width in row] for row in each])
    medians = np.exp(np.median(np.log(factors), axis=0))
    return tuple(
        KnobTolerance(width.knob, width.threshold, float(a), float(b))
        for width, (a, b) in zip(each[0], medians, strict=True)
    )
