"""What a search may know of a store: the rows at settings of its space, its own and those of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from sweeplaw.analysis.tables import tables
from sweeplaw.orchestrator.search import registry
from sweeplaw.orchestrator.search.ledger import COLUMNS, Ledger
from sweeplaw.orchestrator.search.space import Space
from sweeplaw.orchestrator.store.store import Store


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
    """Return the latest row of each trial (of those with these ``ids``), imported ones first, then by their end."""
    objective = registry.objective(space.sweep)
    wanted = [*COLUMNS, "ended_at", *objective.metrics, *(name for axis in space.sweep.axes for name in axis.names)]
    trials = tables.load(store.location.uri, states=None).trials
    present = trials.collect_schema().names()
    if ids is not None:
        trials = trials.filter(pl.col("trial_id").is_in(list(ids)))
    chosen = trials.select(name for name in dict.fromkeys(wanted) if name in present).collect()
    return chosen.sort(pl.col("launch_id").is_not_null(), "ended_at", "trial_id", maintain_order=True).to_dicts()
