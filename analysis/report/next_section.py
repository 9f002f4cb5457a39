"""What to run next for a family of a report: settings that are not settled, then what narrows its law most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.next_runs.law_plans import law_plans
from sweeplaw.analysis.next_runs.run_plan import RunPlan
from sweeplaw.analysis.next_runs.setting_plans import endless, setting_plans
from sweeplaw.analysis.report.family import Family
from sweeplaw.analysis.report.family_laws import fit_laws
from sweeplaw.analysis.report.read import read_families, same_family
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.analysis.tables.tables import Tables
from sweeplaw.analysis.tuning.optimum import CellOptimum, optima
from sweeplaw.trials.errors import InputError


@dataclass(frozen=True, slots=True)
class Advice:
    """The plans, the values and notes on knobs of each family by name, the columns by role, and the tables they were
    made from.
    """

    plans: Mapping[str, list[RunPlan]]
    values: Mapping[str, Mapping[str, Any]]
    by: Axes
    tables: Tables
    notes: Mapping[str, list[str]]


def advise(
    source: str | Path,
    *,
    target: tuple[float, float] | None = None,
    where: str | None = None,
    loss: str = "val_loss",
    x: Mapping[str, str] | None = None,
    verify: bool = False,
) -> Advice:
    """Return what to run next for each family of a store or a table file.

    ``target`` is the (N, D) where the loss matters, by default the best at ten times the largest compute. Raise
    InputError if there is nothing to read, or a target is not positive.
    """
    read = read_families(source, where=where, loss=loss, x=x, verify=verify)
    plans, notes = {}, {}
    for family in read.families:
        surface = next(fit_laws(family, read.by))
        found = family_optima(same_family(read.everything, family), family, read.by)
        plans[family.name] = next_runs(family, read.by, found, surface.fit, target)
        notes[family.name] = endless(found)
    return Advice(plans, {family.name: family.values for family in read.families}, read.by, read.tables, notes)


def next_runs(
    family: Family, by: Axes, found: Sequence[CellOptimum], fit: Fit | None, target: tuple[float, float] | None = None
) -> list[RunPlan]:
    """Return the plans: settings that are not settled, the cheapest first, then what narrows the law most."""
    seeds = max(family.settings["seeds"].to_list(), default=0)
    settled = setting_plans(family.trials, (by.n, by.d), found, seeds)
    if fit is None or not fit.verified:
        return settled
    try:
        return [*settled, *law_plans(fit, target)]
    except InputError:
        if target is not None:
            raise
        return settled  # a law without a best size


def family_optima(trials: pl.DataFrame, family: Family, by: Axes) -> list[CellOptimum]:
    """Return the optimum of every cell of a family, from its ``trials`` in any state."""
    return optima(trials, [by.n, by.d], list(by.knobs), by.loss) if by.knobs else []
