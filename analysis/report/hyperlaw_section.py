"""The part of a report about the best settings: laws, scores, plateau, and the pictures, or why there are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from sweeplaw.analysis.hyperlaws.comparison import KNOBS, compare
from sweeplaw.analysis.hyperlaws.evaluation import Scorer
from sweeplaw.analysis.hyperlaws.hyperlaw import hyperlaw
from sweeplaw.analysis.report.hyperlaw_figures import heatmaps, law_lines
from sweeplaw.analysis.report.hyperlaw_summary import hyperlaw_statement
from sweeplaw.analysis.tuning.cells import cell_table
from sweeplaw.trials.errors import InputError


@dataclass(frozen=True, slots=True)
class HyperSection:
    """``statement``: the laws as plain values, empty when ``refused`` says why there are none. ``figures`` by name."""

    statement: Mapping[str, Any]
    figures: Mapping[str, Figure]
    refused: str


def hyper_section(
    frame: pl.DataFrame, axes: Sequence[str], knobs: Sequence[str], y: str = "val_loss", estimator: str = "joint"
) -> HyperSection:
    """Laws of ``knobs`` over ``axes`` from ``frame``, with heatmaps (two knobs or more) and the laws' lines.

    A design no law can come from is an answer here and no error: a report says so and goes on.
    """
    try:
        found = hyperlaw(frame, axes, knobs, estimator, y)
        table = cell_table(frame, axes, knobs, y)
    except InputError as error:
        return HyperSection({}, {}, error.render())
    arena = Scorer.of(table)
    figures = {"hyperlaw_lines": law_lines(table, found)}
    if len(knobs) > 1:
        others = {}
        if set(knobs) <= set(KNOBS):
            ranked = compare(frame, table, arena)
            others = {one.law.name: one.predicted for one in ranked if len(one.off) > 1}
        figures["hyperlaw_heatmaps"] = heatmaps(arena, found, others)
    return HyperSection(hyperlaw_statement(found), figures, "")
