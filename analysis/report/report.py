"""The content of a report of a store, as values; `analysis.report.page` renders it.

Everything left out is counted, and unverified fits are marked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from sweeplaw.analysis.fitting.display.fit_summary import summarise
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.recipes.comparison import RecipeComparison, compare_recipes
from sweeplaw.analysis.report.charts.numbers import people
from sweeplaw.analysis.report.comparison import compared
from sweeplaw.analysis.report.extrapolation import forecast_values, rung_values
from sweeplaw.analysis.report.family import Family
from sweeplaw.analysis.report.family_laws import FittedSlice, count, fit_laws, left_out
from sweeplaw.analysis.report.findings.best_of import best_of, best_of_values
from sweeplaw.analysis.report.findings.event_laws import EventLaw, event_laws
from sweeplaw.analysis.report.findings.importance import KnobShares, knob_shares
from sweeplaw.analysis.report.findings.isoflop import family_curves
from sweeplaw.analysis.report.findings.transfer import one_setting
from sweeplaw.analysis.report.findings.trials import failures, provenance, trial_values
from sweeplaw.analysis.report.hyperlaw_section import HyperSection, hyper_section
from sweeplaw.analysis.report.next_section import family_optima, next_runs
from sweeplaw.analysis.report.read import FamiliesRead, read_families, same_family
from sweeplaw.analysis.report.recipes.section import RecipesSection, recipes_section
from sweeplaw.analysis.report.search_section import SearchSection, search_sections, search_values
from sweeplaw.analysis.scaling.isoflop_curves import IsoflopCurves
from sweeplaw.analysis.scaling.validation import largest
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.analysis.tables.sql.expressions import check_columns
from sweeplaw.analysis.tables.tables import Tables, keep, load
from sweeplaw.analysis.tuning.experiment.experiment import TuningExperiment
from sweeplaw.analysis.tuning.optimum import CellOptimum, unmeasured_cells
from sweeplaw.analysis.tuning.settings import Launches
from sweeplaw.analysis.tuning.transfer import Transfer
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.progress import ProgressCallback, no_progress

LEAST_LEVELS = 4  # of a knob, for a law of its optimum: three for a quadratic and one degree of freedom
MOST_CURVES = 8  # trials whose curves are shown
MAX_FAMILIES = 6  # on a page; further families are counted


@dataclass(frozen=True, slots=True)
class Section:
    """One family with its laws and the optimum of every cell.

    ``isoflop`` is None where runs do not group by compute, ``shares`` where fewer than two knobs were tuned, and
    ``drawn`` where no cell has many settings.
    """

    family: Family
    by: Axes
    surface: FittedSlice
    slices: tuple[FittedSlice, ...]
    optima: tuple[CellOptimum, ...]
    hyper: HyperSection | None
    isoflop: IsoflopCurves | None = None
    shares: KnobShares | None = None
    drawn: TuningExperiment | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The content of a report. ``source``: the argument as the user wrote it; ``everything``: trials in any state.

    ``note`` says why N is not known of some trials, and of how many D is what was planned; empty if there are none.
    ``forecasts`` are those registered in the source with their scores, and the faults of their files; None without any.
    ``searches`` are the sweeps that searched, and ``search_faults`` the damage in what their launches published.
    ``recipes`` compares recipes by their limits; None for a source that has none to compare.
    ``against`` compares it with another store or file, over equal runs; None if none was named.
    ``transfer`` is one setting of the knobs for all families, sizes and budgets; None if they are few.
    ``events`` are the laws of the times to events, such as grokking, that the trials measured.
    ``running`` says what runs and waits in a store without a completed trial, ``other_faults`` what is damaged in the
    source of ``against``.
    """

    source: str
    tables: Tables
    everything: pl.DataFrame
    by: Axes
    sections: tuple[Section, ...]
    families_left_out: int
    note: str = ""
    forecasts: Mapping[str, Any] | None = None
    searches: tuple[SearchSection, ...] = ()
    search_faults: tuple[str, ...] = ()
    recipes: RecipesSection | None = None
    against: RecipeComparison | None = None
    transfer: Transfer | None = None
    events: tuple[EventLaw, ...] = ()
    running: tuple[str, ...] = ()
    other_faults: tuple[str, ...] = ()

    @property
    def faults(self) -> tuple[str, ...]:
        """A sentence for each damaged file, and for each forecast that was changed after it was registered."""
        forecasts = self.forecasts["faults"] if self.forecasts else ()
        return (*self.tables.faults, *forecasts, *self.search_faults, *self.other_faults)


def make(
    source: str | Path,
    *,
    where: str | None = None,
    loss: str = "val_loss",
    x: Mapping[str, str] | None = None,
    reported: str | None = None,
    compare: str | Path | None = None,
    verify: bool = False,
    check: Callable[[FamiliesRead], None] | None = None,
    progress: ProgressCallback = no_progress,
) -> Report:
    """Return the report of a store or a table file. Raise InputError if there is neither a trial nor a launch.

    ``loss`` and ``x``, which maps N and D, are columns or SQL expressions of columns; by default those of our own
    store. ``reported`` is the column of a loss on data that picked no setting, for what selection does to ``loss``.
    ``compare`` is another source, whose runs are compared with equal ones. ``verify`` as for `load`. ``check`` is
    called with what was read, to refuse it before the laws. ``progress`` is called after each law with (laws done,
    laws).
    """
    read = read_families(source, where=where, loss=loss, x=x, verify=verify, unfinished=True)
    if check is not None:
        check(read)
    other = None if compare is None else load(compare, verify=verify)
    against = None if other is None else _against(read.tables, other, loss, where)  # before the laws: it may be refused
    whole, tables, everything, by, found = read.whole, read.tables, read.everything, read.by, read.families
    shown = found[:MAX_FAMILIES]
    if reported is not None:
        check_columns(everything, [reported], numbers=[reported])
    laws = _laws(shown, by, progress)
    sections = tuple(
        _section(family, by, everything, fitted, tables.launches, reported)
        for family, fitted in zip(shown, laws, strict=True)
    )
    forecasts = forecast_values(source, keep(whole, ("completed",), None))
    searches, torn = search_sections(source, whole, everything, by)
    return Report(
        str(source),
        tables,
        everything,
        by,
        sections,
        len(found) - len(shown),
        read.note,
        forecasts,
        tuple(searches),
        tuple(torn),
        recipes_section(tables, loss),
        against,
        one_setting(shown, by),
        event_laws(everything, by, tables.launches),
        other_faults=other.faults if other else (),
    )


def _against(tables: Tables, other: Tables, loss: str, where: str | None) -> RecipeComparison:
    """Return the comparison with another source. Raise InputError that says which command has the options it names."""
    try:
        return compare_recipes(tables, other, y=loss, where=where)[0]
    except InputError as error:
        options = [one for one in ("--on", "--with") if one in error.render()]
        hint = f"a report has no {' or '.join(options)}: `sweeplaw compare`, which takes the same two sources, has"
        raise type(error)(error.faults, where=error.where, hints=[*error.hints, *([hint] if options else [])]) from None


def _laws(shown: Sequence[Family], by: Axes, progress: ProgressCallback) -> Iterator[list[FittedSlice]]:
    """Yield the laws of each family."""
    done, total = 0, sum(count(family, by) for family in shown)
    progress(done, total)
    for family in shown:
        laws = []
        for law in fit_laws(family, by):
            laws.append(law)
            done += 1
            progress(done, total)
        yield laws


def _section(
    family: Family,
    by: Axes,
    everything: pl.DataFrame,
    laws: Sequence[FittedSlice],
    launches: Launches,
    reported: str | None,
) -> Section:
    same = same_family(everything, family)
    found = family_optima(same, family, by)
    surface, *slices = laws
    curves, shares = family_curves(family, by, surface.fit), knob_shares(family, by)
    hyper, drawn = _hyper(same, family, by, launches), best_of(family, by, reported)
    return Section(family, by, surface, tuple(slices), tuple(found), hyper, curves, shares, drawn)


def best_of_each_size(section: Section) -> dict[str, str]:
    """Return the best trial of each size at its largest data budget, as trial_id -> label, at most `MOST_CURVES`."""
    by, seeds = section.by, section.family.seeds
    if "trial_id" not in seeds.columns:
        return {}
    rows = seeds.filter(pl.col(by.d) == pl.col(by.d).max().over(by.n)).unique(by.n, keep="first").sort(by.n)
    return {row["trial_id"]: people(row[by.n]) for row in rows.to_dicts()[:MOST_CURVES]}


def _hyper(trials: pl.DataFrame, family: Family, by: Axes, launches: Launches) -> HyperSection | None:
    """Return the laws of the knobs with enough levels for an inner optimum; None if there is no such knob."""
    levels = {knob: family.trials[knob].n_unique() for knob in by.knobs if family.trials[knob].dtype.is_numeric()}
    knobs = [knob for knob, count in levels.items() if count >= LEAST_LEVELS]
    return hyper_section(trials, [by.n, by.d], knobs, by.loss, launches=launches) if knobs else None


def report_values(report: Report) -> dict[str, Any]:
    """Return the report as plain values, for JSON. Unknown values are None."""
    return {
        "source": report.source,
        "columns": {"N": report.by.n, "D": report.by.d, "loss": report.by.loss, "knobs": list(report.by.knobs)},
        "trials": trial_values(
            report.everything, sum(one.family.trials.height for one in report.sections), report.tables.dropped
        ),
        "families": [_section_values(section) for section in report.sections],
        "families_left_out": report.families_left_out,
        "comparison": compared({one.family.name: one.surface.fit for one in report.sections}),
        "forecasts": report.forecasts,
        "searches": [search_values(one) for one in report.searches],
        "recipes": report.recipes and report.recipes.values(),
        "against": report.against and report.against.to_dict(),
        "transfer": report.transfer and report.transfer.to_dict(),
        "events": [one.to_dict() for one in report.events],
        "running": list(report.running),
        "failures": failures(report.everything),
        "launches": [dict(launch) for launch in report.tables.launches],
        "faults": list(report.faults),
        "provenance": provenance(report.everything),
    }


def _section_values(section: Section) -> dict[str, Any]:
    by = section.by
    return {
        "name": section.family.name,
        "values": dict(section.family.values),
        "trials": section.family.trials.height,
        "points": section.family.best.to_dicts(),
        "noise": section.family.points.noise,
        "notes": list(section.family.notes),
        "surface": slice_values(section.surface),
        "slices": [slice_values(one) for one in section.slices],
        "slices_left_out": left_out(section.family, by),
        "isoflop": section.isoflop and section.isoflop.to_dict(),
        "importance": section.shares and section.shares.to_dict(),
        "best_of": section.drawn and best_of_values(section.drawn),
        "next_runs": [plan.to_dict() for plan in next_runs(section.family, by, section.optima, section.surface.fit)],
        "rungs": rung_values(section.surface.fit, section.optima),
        "optima": [one.to_dict() for one in section.optima],
        "hyperlaws": None if section.hyper is None else {**section.hyper.values, "refused": section.hyper.refused},
        "cells_without_loss": unmeasured_cells(section.family.trials, [by.n, by.d], by.loss).to_dicts(),
    }


def slice_values(one: FittedSlice) -> dict[str, Any]:
    """Return a law as plain values, or the reason why there is none."""
    head = {"title": one.title, "x": list(one.x), "at": one.at}
    return {**head, "law": None, "why_not": one.why_not} if one.fit is None else {**head, **fit_values(one.fit)}


def fit_values(fit: Fit) -> dict[str, Any]:
    """Return a fit as plain values, with its error on the largest runs when fitted without them."""
    return {**summarise(fit), "residuals": fit.residuals.tolist(), "holdout": _extrapolation(fit)}


def _extrapolation(fit: Fit) -> dict[str, Any]:
    try:
        return largest(fit).summary()
    except InputError as error:
        return {"kind": "largest", "rows": 0, "note": error.sentence()}
