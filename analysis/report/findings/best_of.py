"""What the best of k of the settings of each size and budget is expected to reach, as values of a report."""

from __future__ import annotations

from typing import Any

import polars as pl

from sweeplaw.analysis.report.family import Family
from sweeplaw.analysis.tables.display import finite
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.analysis.tuning.experiment.experiment import Drawn, TuningExperiment, tuning_experiment

LEAST_SETTINGS = 8  # of a cell
RESAMPLES = 200  # of its settings


def best_of(family: Family, by: Axes, reported: str | None = None) -> TuningExperiment | None:
    """Return what the best of k settings is expected to reach in each cell; None if no cell has `LEAST_SETTINGS`.

    The loss of the report picks; ``reported`` is the column of another one, on data that picked nothing. A setting with
    a null knob is a setting too.
    """
    settings = family.settings.drop_nulls([by.n, by.d, by.loss])
    if reported is not None and reported != by.loss:
        columns = [by.n, by.d, *by.knobs]
        means = family.trials.group_by(columns).agg(pl.col(reported).cast(pl.Float64).mean())
        settings = settings.join(means, on=columns, nulls_equal=True, maintain_order="left")
        settings = settings.filter(pl.col(reported).is_finite())
    counts = settings.group_by(by.n, by.d).len().filter(pl.col("len") >= LEAST_SETTINGS)
    rich = settings.join(counts, on=[by.n, by.d], how="semi", maintain_order="left")
    if not rich.height or all(rich[knob].n_unique() == 1 for knob in by.knobs):
        return None
    setting = f"setting of {by.n}, {by.d}, {by.loss}, {reported}"  # a name that none of them can have
    losses = [by.loss] if reported in (None, by.loss) else [by.loss, reported]
    rows = rich.select(pl.col(by.n, by.d).cast(pl.Float64), *losses).with_row_index(setting)
    return tuning_experiment(rows, [by.n, by.d], [setting], by.loss, reported, resamples=RESAMPLES)


def best_of_values(found: TuningExperiment) -> dict[str, Any]:
    """Return the curves of the cells as plain values for JSON."""
    places = [
        {"at": dict(place.at), "settings": place.count, "needed": place.needed, "curve": [*map(_values, place.curve)]}
        for place in found.places
    ]
    return dict(finite({"pick": found.pick, "report": found.report, "within": found.within, "places": places}))


def _values(one: Drawn) -> dict[str, Any]:
    return {
        "k": one.k,
        "picked": one.picked,
        "reported": one.reported,
        "excess": one.excess,
        "selection_bias": one.flattery,
        "selection_bias_interval": one.flattery_interval,
    }
