"""The section of a report about the best settings: laws, scores, plateau and figures, or why there are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from sweeplaw.analysis.hyperlaws.comparison import KNOBS, compare
from sweeplaw.analysis.hyperlaws.evaluation import Scorer
from sweeplaw.analysis.hyperlaws.hyperlaw import fit_cells
from sweeplaw.analysis.report.hyperlaw_figures import heatmaps, law_lines
from sweeplaw.analysis.tuning.cells import cell_table
from sweeplaw.trials.errors import InputError


@dataclass(frozen=True, slots=True)
class HyperSection:
    """``values``: the laws as plain values, empty if ``refused`` says why there are none. ``figures`` by name."""

    values: Mapping[str, Any]
    figures: Mapping[str, Figure]
    refused: str


def hyper_section(
    frame: pl.DataFrame, axes: Sequence[str], knobs: Sequence[str], y: str = "val_loss", estimator: str = "joint"
) -> HyperSection:
    """Return the laws of ``knobs`` over ``axes`` from ``frame``, with heatmaps (two knobs or more) and line plots.

    A design that cannot determine a law is reported in the section and is not an error.
    """
    try:
        table = cell_table(frame, axes, knobs, y)
        scorer = Scorer.of(table)
        found = fit_cells(scorer, estimator)
    except InputError as error:
        return HyperSection({}, {}, error.render())
    figures = {"hyperlaw_lines": law_lines(table, found)}
    if len(knobs) > 1:
        others = {}
        if set(knobs) <= set(KNOBS):
            ranked = compare(frame, table, scorer)
            others = {one.law.name: one.predicted for one in ranked if len(one.off) > 1}
        figures["hyperlaw_heatmaps"] = heatmaps(scorer, found, others)
    return HyperSection(found.to_dict(), figures, "")
