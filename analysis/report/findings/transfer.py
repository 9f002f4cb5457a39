"""One setting of the knobs for all families, sizes and budgets of a report."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from sweeplaw.analysis.report.family import Family
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.analysis.tuning.transfer import Transfer, transfer
from sweeplaw.trials.errors import InputError

LEAST_WORKLOADS = 4  # two to tune on and two to be scored on
LEAST_SETTINGS = 4  # that all tuning workloads share


def one_setting(families: Sequence[Family], by: Axes) -> Transfer | None:
    """Return one setting of the knobs for all families, sizes and budgets, tuned on half of them.

    None if there are fewer than `LEAST_WORKLOADS` of them, or fewer than `LEAST_SETTINGS` were run in every one of the
    half that it is tuned on. Runs with a null knob are left out: without the knob they would be averaged with others.
    """
    workload = [*by.families, by.n, by.d]
    used = [family.trials.select(*workload, *by.knobs, by.loss) for family in families]
    rows = pl.concat(used, how="vertical_relaxed") if used else pl.DataFrame()
    if not rows.height or rows.select(workload).n_unique() < LEAST_WORKLOADS:
        return None
    varied = [name for name in workload if rows[name].n_unique() > 1]
    knobs = [knob for knob in by.knobs if rows[knob].n_unique() > 1]
    if not knobs:
        return None
    try:
        found = transfer(rows, varied, knobs, by.loss)
    except InputError:  # grids that do not overlap
        return None
    return found if found.candidates >= LEAST_SETTINGS else None
