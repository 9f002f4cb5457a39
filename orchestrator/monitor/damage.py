"""All damage in a store that any command names."""

from __future__ import annotations

from sweeplaw.analysis.forecasting.registered.files import registered
from sweeplaw.orchestrator.monitor.status import progress
from sweeplaw.orchestrator.store.store import Store


def damage(store: Store) -> list[str]:
    """Return a sentence for each damaged or missing file, as the commands that read it do. Raise OSError."""
    _, forecasts = registered(store.location.uri)
    return list(dict.fromkeys([*progress(store).faults, *forecasts]))
