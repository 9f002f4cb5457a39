"""The law so far: the report's law of N and D, from the complete cells alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from sweeplaw.analysis.report.family import Family, families
from sweeplaw.analysis.report.family_laws import FittedSlice, fit_laws
from sweeplaw.analysis.report.report import slice_values
from sweeplaw.analysis.tables.display import finite
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.orchestrator.live.overview import SAMPLE, Overview, roles_of
from sweeplaw.trials.quantities import counted


@dataclass(frozen=True, slots=True)
class LawSoFar:
    """``surface`` is fitted to the complete cells of the family with the most trials, ``values`` are its plain values.

    ``every`` is that family with all its completed trials, ``complete`` its complete cells, ``cells`` the number of all
    cells, ``others`` that of further families.
    """

    by: Axes
    every: Family
    surface: FittedSlice
    values: Mapping[str, Any]
    complete: frozenset[tuple[float, float]]
    cells: int
    others: int

    @property
    def basis(self) -> str:
        """The cells that the law is fitted to, in words."""
        more = f"; {counted(self.others, 'further family').replace('familys', 'families')} in the report"
        return f"from {len(self.complete)} of {self.cells} cells, those that are complete{more if self.others else ''}"


def law_so_far(found: Overview) -> LawSoFar | None:
    """Return the law of the complete cells; None where N, D and the loss are not known."""
    if found.by is None or found.cells is None:
        return None
    completed = found.rows.filter(pl.col("state") == "completed")
    by = roles_of(completed, found.launches) if completed.height > SAMPLE else found.by
    completed = completed.with_columns(pl.col(by.n, by.d).cast(pl.Float64))
    groups = families(completed, by)
    if not groups:
        return None
    every = max(groups, key=lambda one: one.trials.height)
    kept = every.trials.join(found.cells.complete, on=[by.n, by.d], how="semi")
    done = [every] if kept.height == every.trials.height else families(kept, by)
    keys = done[0].best.select(by.n, by.d).rows() if done else []
    surface = next(fit_laws(done[0], by)) if done else FittedSlice("", (), {}, None, "no cell is complete yet")
    values = finite(slice_values(surface))
    return LawSoFar(by, every, surface, values, frozenset(keys), found.cells.frame.height, len(groups) - 1)
