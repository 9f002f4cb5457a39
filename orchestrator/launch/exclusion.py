"""Which trials a user excludes from a store's data, or restores: those for which a condition holds."""

from __future__ import annotations

import polars as pl

from sweeplaw.analysis.tables import tables
from sweeplaw.analysis.tables.sql.expressions import condition
from sweeplaw.orchestrator.store import exclusions
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.store_format.exclusions import exclusions as exclusions_of


def exclude_where(store: Store, where: str, reason: str) -> list[str]:
    """Exclude the trials, in any state, for which ``where`` holds; return their ids. Raise InputError, OSError."""
    store.report(exclusions_of(store.location).faults)
    if not reason.strip():
        raise InputError("an exclusion needs a reason, such as --reason 'learning rate was logged wrongly'")
    found = tables.unless_damaged(
        lambda verify: _ids(tables.load(store.location.uri, states=None, where=where, verify=verify).trials)
    )
    exclusions.exclude(store, found, reason.strip())
    return found


def restore_where(store: Store, where: str) -> list[str]:
    """Restore the excluded trials for which ``where`` holds; return their ids. Raise InputError, OSError."""
    store.report(exclusions_of(store.location).faults)
    excluded = tables.unless_damaged(
        lambda verify: tables.load(store.location.uri, states=None, verify=verify).excluded.collect()
    )
    found = _ids(excluded.lazy().filter(condition(where, excluded.schema)))
    exclusions.restore(store, found)
    return found


def _ids(trials: pl.LazyFrame) -> list[str]:
    return sorted(trials.select("trial_id").collect().to_series().to_list())
