"""What a search may know of a store: the rows at settings of its space, its own and those of others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from sweeplaw.analysis.tables import tables
from sweeplaw.orchestrator.search import registry
from sweeplaw.orchestrator.search.ledger import COLUMNS, Ledger
from sweeplaw.orchestrator.search.space import Space
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import shown
from sweeplaw.trials.quantities import counted

MOST = 10**12  # of a number in a row; assumption: no search makes so many proposals
_NOTE = ("search_number", "search_known", "search_setting")


def ledger(space: Space, store: Store) -> Ledger:
    """Return the ledger of what a store has of a sweep's space, imported runs included."""
    found = Ledger(space, registry.objective(space.sweep))
    for row in rows(space, store):
        found.add(row)
    if space.sweep.search.pauses or space.sweep.search.early_stopping:
        metric = registry.objective(space.sweep).metrics[0]
        curves = tables.load(store.location.uri, states=None).curves
        if metric in curves.collect_schema().names():
            points = curves.select("trial_id", "step", metric).sort("trial_id", "step").collect()
            for trial_id, step, value in points.iter_rows():
                found.add_point(trial_id, step, {metric: value})
    return found


def rows(space: Space, store: Store, ids: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return the latest row of each trial (of those with these ``ids``), imported ones first, then by their end.

    ``search_*`` values that no search wrote are reported to the store and left out: such rows are results without a
    proposal.
    """
    objective = registry.objective(space.sweep)
    wanted = [*COLUMNS, "ended_at", *objective.metrics, *(name for axis in space.sweep.axes for name in axis.names)]
    trials = tables.load(store.location.uri, states=None).trials
    present = trials.collect_schema().names()
    if ids is not None:
        trials = trials.filter(pl.col("trial_id").is_in(list(ids)))
    chosen = trials.select(name for name in dict.fromkeys(wanted) if name in present).collect()
    found = chosen.sort(pl.col("launch_id").is_not_null(), "ended_at", "trial_id", maintain_order=True).to_dicts()
    faults = {row["trial_id"]: fault for row in found if (fault := _fault(row))}
    if faults:
        trial, fault = next(iter(faults.items()))
        store.report(
            [f"{counted(len(faults), 'row')} with search columns that no search wrote, such as {trial}: {fault}"]
        )
    return [{**row, **dict.fromkeys(_NOTE)} if row["trial_id"] in faults else row for row in found]


def _fault(row: Mapping[str, Any]) -> str:
    """Return why the ``search_*`` values of a row are not from a search, or ''."""
    for name in _NOTE[:2]:
        count = row.get(name)
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MOST):
            return f"{name} = {shown(count)} is no number from 0 to {MOST:,}"
    text = row.get("search_setting")
    if text is None:
        return "" if row.get("search_number") is None else "search_number without a search_setting"
    try:
        content = json.loads(text)
        values = [*content.pop("", {}).values(), *content.values()]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return f"search_setting = {shown(text)} is no table of knobs"
    odd = [value for value in values if not isinstance(value, int | float | str)]
    return f"search_setting has {shown(odd[0])}, which is no value of a knob" if odd else ""
