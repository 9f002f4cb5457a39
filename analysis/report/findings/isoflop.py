"""The isoFLOP curves of a family: those of its law's rows, or of the same rows where there is no law."""

from __future__ import annotations

import polars as pl

from sweeplaw.analysis.fitting.derived.allocation import flops_of_runs
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.report.family import Family
from sweeplaw.analysis.scaling.approach import MIN_BUDGETS
from sweeplaw.analysis.scaling.isoflop_curves import IsoflopCurves, curves_of_fit, isoflop_curves
from sweeplaw.analysis.scaling.isoflop_design import grouped
from sweeplaw.analysis.tables.families import Axes


def family_curves(family: Family, by: Axes, fit: Fit | None) -> IsoflopCurves | None:
    """Return the isoFLOP curves of a family; None where its runs do not group by compute.

    They do where an optimum was found at one budget, or could be sought at three. ``fit`` is the family's surface.
    """
    found = _curves(family, by) if fit is None else curves_of_fit(fit)
    return found if found.found or len(found.curves) >= MIN_BUDGETS else None


def _curves(family: Family, by: Axes) -> IsoflopCurves:
    rows = family.seeds
    n, d, losses = (rows[name].cast(pl.Float64).to_numpy() for name in (by.n, by.d, by.loss))
    k, _ = flops_of_runs(rows, n * d, by.d)
    return isoflop_curves(grouped(n, d, losses, k), k)
