"""The section of a report about the best settings: laws, scores and plateau, or why there are none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from sweeplaw.analysis.fitting.resampling import affordable
from sweeplaw.analysis.hyperlaws.comparison import KNOBS, compare
from sweeplaw.analysis.hyperlaws.evaluation import Scorer
from sweeplaw.analysis.hyperlaws.hyperlaw import RESAMPLES, Hyperlaw, fit_runs
from sweeplaw.analysis.report.paper.hyperlaw_figures import heatmaps, law_lines
from sweeplaw.analysis.tuning.settings import Launches
from sweeplaw.trials.errors import InputError


@dataclass(frozen=True, slots=True)
class HyperSection:
    """``values``: the laws as plain values, empty if ``refused`` says why there are none. ``names`` of its figures."""

    values: Mapping[str, Any]
    refused: str
    names: tuple[str, ...] = ()
    _figures: Callable[[], dict[str, Figure]] = dict

    def draw(self) -> dict[str, Figure]:
        """Return the figures by name."""
        return self._figures()


def hyper_section(
    frame: pl.DataFrame,
    axes: Sequence[str],
    knobs: Sequence[str],
    y: str = "val_loss",
    estimator: str = "joint",
    *,
    recipes: Sequence[str] = (),
    launches: Launches = (),
) -> HyperSection:
    """Return the laws of ``knobs`` over ``axes`` from ``frame``; its figures are line plots, and maps of two knobs.

    ``recipes`` and ``launches`` are those of `cell_table`. A design that cannot determine a law is reported in the
    section and is not an error.
    """
    count = affordable(RESAMPLES, frame.height)
    try:
        scorer, found = fit_runs(frame, axes, knobs, y, recipes, launches, estimator=estimator, resamples=count)
    except InputError as error:
        return HyperSection({}, error.sentence())
    names = ("hyperlaw_lines", "hyperlaw_heatmaps")[: 2 if len(scorer.table.knobs) > 1 else 1]
    return HyperSection(found.to_dict(), "", names, partial(_drawn, frame, scorer, found))


def _drawn(frame: pl.DataFrame, scorer: Scorer, found: Hyperlaw) -> dict[str, Figure]:
    figures = {"hyperlaw_lines": law_lines(scorer.table, found)}
    if len(scorer.table.knobs) > 1:
        others = {}
        if set(scorer.table.knobs) <= set(KNOBS):
            ranked = compare(frame, scorer.table, scorer)
            others = {one.law.name: one.predicted for one in ranked if len(one.off) > 1}
        figures["hyperlaw_heatmaps"] = heatmaps(scorer, found, others)
    return figures
