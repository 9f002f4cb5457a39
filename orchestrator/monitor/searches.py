"""Where the searches of a store stand: by the latest state that each sweep's launches published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.quantities import counted, short
from sweeplaw.trials.store_format import search_state
from sweeplaw.trials.store_format.search_state import SearchState

_UNITS = {"trials": "trial", "flops": "FLOP", "device_seconds": "device-second", "wall_seconds": "second"}


def searches(store: Store) -> tuple[SearchState, ...]:
    """Return the latest state of the search of each sweep; damage is reported to the store."""
    faults: list[str] = []
    latest = search_state.foremost(search_state.load(store.location, faults))
    store.report(faults)
    return tuple(latest.values())


def sentences(state: SearchState) -> Iterator[str]:
    """Yield where a search stands, in words: proposals, budget left, its belief, and how many optima it certified."""
    left = ", ".join(
        f"{short(value)} {_UNITS.get(name, name)}{'' if value == 1 else 's'}" for name, value in state.left.items()
    )
    yield (
        f"{state.kind} search of {state.sweep}: {counted(state.proposals, 'proposal')}, "
        f"{counted(state.known, 'setting')} known; budget left: {left or 'not bounded'}"
    )
    if state.belief:
        yield f"  believes: {state.belief}"
    if state.ended:
        yield f"  ended: {state.ended}"


def proposed(state: SearchState | None, row: Mapping[str, Any], trial_id: str) -> str:
    """Return a sentence on why a trial was proposed, or '' if neither its row nor the search records a proposal."""
    kind = f"the {state.kind} search" if state else "a search"
    if row.get("search_number") is not None:
        known = f", which knew {counted(row['search_known'], 'result')}" if "search_known" in row else ""
        return f"proposal {row['search_number']} of {kind}{known}: {row.get('search_reason', 'no reason kept')}"
    note = state.running.get(trial_id) if state else None
    return f"proposal {note['number']} of {kind}: {note['reason']}" if note else ""
