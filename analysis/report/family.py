"""The families of a table: for each the settings tried at each (N, D), the best of them, and the rows of its laws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from sweeplaw.analysis.report.charts.dots import most_even
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.analysis.tables.roles.families import name_of, split
from sweeplaw.analysis.tables.roles.roles import sweeps_note
from sweeplaw.analysis.tables.runs import LARGEST
from sweeplaw.analysis.tuning.points import BestPoints, best_points
from sweeplaw.analysis.tuning.repeats import LOG_VARIANCE, SEED_STD, SEEDS, settings

MOST_LINES = 8  # of the loss against N or D in one chart


@dataclass(frozen=True, slots=True)
class Family:
    """The trials of one combination of the family columns.

    ``settings`` has a row for each (N, D, knobs): mean loss over seeds, their standard deviation (null for one) and
    number. ``best`` is the setting of least mean loss at each (N, D), with its settings tried and the loss ``used`` by
    laws; ``seeds`` are the trials of these settings, whose loss includes the correction of ``points``: the rows that
    laws are fitted to. ``notes`` are sentences on what was selected.
    """

    name: str
    values: Mapping[str, Any]
    trials: pl.DataFrame
    settings: pl.DataFrame
    best: pl.DataFrame
    seeds: pl.DataFrame
    points: BestPoints
    notes: tuple[str, ...]


def drawn_lines(family: Family, held: str) -> list[Any]:
    """Return the values of a column whose lines are drawn: all, or `MOST_LINES` of more, evenly.

    Then lines of one point are left out where there are longer ones.
    """
    points = family.best.group_by(held).len().sort(held)
    if points.height > MOST_LINES and points["len"].max() != 1:
        points = points.filter(pl.col("len") > 1)
    return most_even(points[held].to_list(), MOST_LINES)


def families(trials: pl.DataFrame, by: Axes) -> list[Family]:
    """Return the families in the order of their values. Rows without N, D or a positive finite loss are in none.

    Nor are those whose N or D is no size: zero, negative, or too large or small to calculate with.
    """
    usable = trials.drop_nulls([by.n, by.d, by.loss]).filter(pl.col(by.loss).is_finite() & (pl.col(by.loss) > 0))
    usable = usable.filter(pl.col(name).cast(pl.Float64).is_between(1 / LARGEST, LARGEST) for name in (by.n, by.d))
    return [_family(values, part, by) for values, part in split(usable, by.families)]


def _family(values: dict[str, Any], part: pl.DataFrame, by: Axes) -> Family:
    cells, knobs = [by.n, by.d], list(by.knobs)
    points = best_points(part, cells, knobs, by.loss)
    best = points.frame.rename({"lowest": by.loss})
    seeds = part[points.rows.tolist()].with_columns(pl.Series(by.loss, points.losses)).sort(cells)
    tried = settings(part, cells, knobs, by.loss).sort([*cells, *knobs], nulls_last=True).drop(LOG_VARIANCE)
    tried = tried.rename({SEEDS: "seeds", SEED_STD: "seed_std"})
    notes = (*points.notes(), *by.notes, *sweeps_note(part))
    return Family(name_of(values), values, part, tried, best, seeds, points, notes)
