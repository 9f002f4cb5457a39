"""A store as a report: what it says, as numbers; `analysis.report.page` shows it.

What was left out is counted, what is not verified says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from sweeplaw.analysis.fitting.fit import Fit
from sweeplaw.analysis.fitting.validation import largest
from sweeplaw.analysis.report.family_laws import FittedSlice, count, statements
from sweeplaw.analysis.report.fit_summary import summarise
from sweeplaw.analysis.report.hyperlaw_section import HyperSection, hyper_section
from sweeplaw.analysis.tables.families import Axes, Family, axes, families
from sweeplaw.analysis.tables.tables import Tables, load
from sweeplaw.analysis.tuning.optimum import CellOptimum, optima, unmeasured_cells
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.progress import ProgressCallback, no_progress

LEAST_LEVELS = 4  # of a knob, for a law of its optimum: a quadratic and one level to spare
MAX_FAMILIES = 6  # more would be a page nobody reads; the rest is counted


@dataclass(frozen=True, slots=True)
class Section:
    """One family with its laws and the optimum of every cell."""

    family: Family
    by: Axes
    surface: FittedSlice
    slices: tuple[FittedSlice, ...]
    optima: tuple[CellOptimum, ...]
    hyper: HyperSection | None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a report says, before it is a page. ``source`` is what the person asked for, as they wrote it."""

    source: str
    tables: Tables
    everything: pl.DataFrame
    by: Axes
    sections: tuple[Section, ...]
    families_left_out: int


def make(
    source: str | Path,
    *,
    where: str | None = None,
    loss: str = "val_loss",
    verify: bool = False,
    watch: ProgressCallback = no_progress,
) -> Report:
    """The report of a store or a table file. Raises InputError when there is nothing to report.

    ``verify`` as for `load`. ``watch`` is told after each law how many of how many are done.
    """
    tables = load(source, where=where, verify=verify)
    everything = load(source, states=None, where=where, verify=verify).trials.collect()
    trials = tables.trials.collect()
    if not trials.height:
        counts = ", ".join(f"{rows} {reason}" for reason, rows in tables.dropped.items())
        raise InputError(f"{tables.source}: no completed trials to report ({counts or 'the store is empty'})")
    by = axes(tables, trials, loss=loss)
    found = families(trials, by)
    shown = found[:MAX_FAMILIES]
    total = sum(count(family, by) for family in shown)
    sections: list[Section] = []
    laws: list[FittedSlice] = []
    watch(0, total)
    for family in shown:
        first = len(laws)
        for statement_made in statements(family, by):
            laws.append(statement_made)
            watch(len(laws), total)
        sections.append(_section(family, by, everything, laws[first:]))
    return Report(str(source), tables, everything, by, tuple(sections), len(found) - len(shown))


def _section(family: Family, by: Axes, everything: pl.DataFrame, laws: Sequence[FittedSlice]) -> Section:
    # Cells are judged on all trials of the family: a diverged neighbour is what makes an edge an edge.
    same = everything
    for name, value in family.values.items():
        same = same.filter(pl.col(name).eq_missing(value))
    found = optima(same, [by.n, by.d], list(by.knobs), by.loss) if by.knobs else []
    surface, *slices = laws
    return Section(family, by, surface, tuple(slices), tuple(found), _hyper(same, family, by))


def _hyper(trials: pl.DataFrame, family: Family, by: Axes) -> HyperSection | None:
    """Laws of the knobs that have enough levels for an optimum inside them; None when no knob does."""
    levels = {knob: family.trials[knob].n_unique() for knob in by.knobs if family.trials[knob].dtype.is_numeric()}
    knobs = [knob for knob, count in levels.items() if count >= LEAST_LEVELS]
    return hyper_section(trials, [by.n, by.d], knobs, by.loss) if knobs else None


def report_values(report: Report) -> dict[str, Any]:
    """Every number of the report, for programs. Unknown is None."""
    return {
        "source": report.source,
        "columns": {"N": report.by.n, "D": report.by.d, "loss": report.by.loss, "knobs": list(report.by.knobs)},
        "trials": _trials(report),
        "families": [_section_numbers(section) for section in report.sections],
        "families_left_out": report.families_left_out,
        "failures": _failures(report.everything),
        "launches": [dict(launch) for launch in report.tables.launches],
        "faults": list(report.tables.faults),
        "provenance": _provenance(report.everything),
    }


def _trials(report: Report) -> dict[str, Any]:
    trials = report.everything
    states = trials["state"].value_counts().sort("state").iter_rows() if "state" in trials.columns else ()
    return {
        "rows": trials.height,
        "states": dict(states),
        "used": sum(section.family.trials.height for section in report.sections),
        "dropped": dict(report.tables.dropped),
        "tokens": _total(trials, "tokens"),
        "flops": _total(trials, "flops"),
        "train_seconds": _total(trials, "train_seconds"),
        **_busy(trials),
    }


def _total(trials: pl.DataFrame, column: str) -> float | None:
    """The sum of what is known; None when nothing is."""
    if column not in trials.columns or trials[column].null_count() == trials.height:
        return None
    return float(trials[column].sum())


def _busy(trials: pl.DataFrame) -> dict[str, float | None]:
    """Wall seconds from the first trial's start to the last one's end, and trials running at once on average."""
    needed = ("started_at", "ended_at", "train_seconds")
    timed = trials.drop_nulls(needed) if set(needed) <= set(trials.columns) else trials.clear()
    if not timed.height:
        return {"wall_seconds": None, "mean_running": None}
    wall = (timed["ended_at"].max() - timed["started_at"].min()).total_seconds()  # type: ignore[operator,union-attr]
    return {"wall_seconds": wall, "mean_running": float(timed["train_seconds"].sum()) / wall if wall > 0 else None}


def _section_numbers(section: Section) -> dict[str, Any]:
    by = section.by
    return {
        "name": section.family.name,
        "values": dict(section.family.values),
        "trials": section.family.trials.height,
        "points": section.family.best.to_dicts(),
        "surface": statement_values(section.surface),
        "slices": [statement_values(one) for one in section.slices],
        "optima": [_optimum(one) for one in section.optima],
        "hyperlaws": None if section.hyper is None else {**section.hyper.statement, "refused": section.hyper.refused},
        "cells_without_loss": unmeasured_cells(section.family.trials, [by.n, by.d], by.loss).to_dicts(),
    }


def statement_values(one: FittedSlice) -> dict[str, Any]:
    """A law as numbers, or why there is none."""
    head = {"title": one.title, "x": list(one.x), "at": one.at}
    return {**head, "law": None, "why_not": one.why_not} if one.fit is None else {**head, **fit_values(one.fit)}


def fit_values(fit: Fit) -> dict[str, Any]:
    """A fit as numbers, with its error on the largest runs when it is fitted without them."""
    return {**summarise(fit), "residuals": fit.residuals.tolist(), "holdout": _extrapolation(fit)}


def _extrapolation(fit: Fit) -> dict[str, Any]:
    try:
        return largest(fit).summary()
    except InputError as error:
        return {"kind": "largest", "rows": 0, "note": error.render()}


def _optimum(one: CellOptimum) -> dict[str, Any]:
    return {
        "cell": dict(one.cell),
        "loss": one.loss,
        "trial_id": one.row.get("trial_id"),
        "rows": one.rows,
        "unmeasured": one.unmeasured,
        "verdict": one.verdict,
        "knobs": {
            knob.name: {
                "best": knob.best,
                "levels": list(knob.levels),
                "edge": knob.edge or None,
                "touches_edge": knob.touches_edge,
                "fitted": knob.fitted,
                "low": knob.low,
                "high": knob.high,
            }
            for knob in one.knobs
        },
    }


def _failures(trials: pl.DataFrame) -> list[dict[str, Any]]:
    """Trials that did not complete, grouped by state and message."""
    if "state" not in trials.columns:
        return []
    bad = trials.filter(pl.col("state") != "completed")
    grouped = bad.group_by("state", "message").agg(
        pl.len().alias("trials"), pl.col("trial_id").first().alias("example")
    )
    return grouped.sort("trials", "state", descending=[True, False]).to_dicts()


def _provenance(trials: pl.DataFrame) -> dict[str, Any]:
    names = [name for name in ("host", "device", "versions", "commit", "source", "workload") if name in trials.columns]
    return {
        name: {str(key): count for key, count in trials[name].value_counts(sort=True).iter_rows()} for name in names
    }
