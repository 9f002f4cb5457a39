"""Where the search of a launch stands, published in its store for other processes and for reports."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sweeplaw.orchestrator.plan.sweep import SweepSpec
from sweeplaw.orchestrator.search import registry
from sweeplaw.orchestrator.search.contract import History
from sweeplaw.orchestrator.store import atomic
from sweeplaw.trials.record import SearchNote
from sweeplaw.trials.store_format.location import Location
from sweeplaw.trials.store_format.search_state import FOLDER, SearchState


def publish(location: Location, launch_id: str, state: SearchState) -> None:
    """Store where the search stands, unless the store cannot be written: its rows matter more, and then they fail."""
    with contextlib.suppress(OSError):
        atomic.publish_json(location, f"{FOLDER}/{launch_id}.json", asdict(state))


def search_state(
    sweep: SweepSpec,
    history: History,
    belief: str,
    ended: str,
    recommended: Sequence[Mapping[str, Any]],
    running: Mapping[str, SearchNote],
) -> SearchState:
    """Return where a search with this history stands; ``running`` says why the trials that run were proposed."""
    objective = registry.objective(sweep)
    return SearchState(
        sweep=sweep.name,
        kind=sweep.search.kind,
        objective=objective.metrics[0],
        maximize=objective.metrics[0] in objective.maximized,
        proposals=history.number,
        known=len(history.observations),
        left={name: value for name, value in asdict(history.left).items() if value is not None},
        belief=belief,
        ended=ended,
        recommended=recommended,
        running={trial: {"number": note.number, "reason": note.reason} for trial, note in running.items()},
    )
