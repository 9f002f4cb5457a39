"""Remove the runs of an earlier import from a store's data. Their rows stay, and an import may add them again."""

from __future__ import annotations

import polars as pl

from sweeplaw.analysis.tables import tables
from sweeplaw.orchestrator.importing.identity import WORKLOAD
from sweeplaw.orchestrator.store import exclusions
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError, nearest


def remove(store: str, source: str, *, dry: bool) -> int:
    """Remove every imported run of ``source`` and return their number; a ``dry`` run only counts. Raise InputError."""
    opened = Store.open(store)
    trials = tables.load(store, states=None).trials.filter(pl.col("workload") == WORKLOAD)
    found = trials.select("trial_id", "source").collect()
    sources = sorted(found["source"].unique().drop_nulls().to_list())
    if source not in sources:
        known = f"{nearest(source, sources)} (sources: {', '.join(sources)})" if sources else ", nor of another source"
        raise InputError(f"{store} has no imported run of {source!r}{known}")
    ids = found.filter(pl.col("source") == source)["trial_id"].to_list()
    if not dry:
        exclusions.exclude(opened, ids, f"import of {source} removed", removed=True)
    return len(ids)
