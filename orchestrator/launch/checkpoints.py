"""The checkpoints of a store, as a launch sees them: their folder, and the age of the latest one."""

from __future__ import annotations

from collections.abc import Sequence

from sweeplaw.orchestrator.store import clocks
from sweeplaw.trials.store_format import checkpoint
from sweeplaw.trials.store_format.location import Location


def folder(location: Location) -> str:
    """Return the path or URI under which trials keep their checkpoints."""
    return f"{location.uri}/checkpoints"


def age(location: Location, trials: Sequence[str]) -> float | None:
    """Return the seconds since the latest checkpoint of ``trials`` was written, by the clock of the store.

    None where there is no checkpoint, or the store cannot be reached: then all work counts as lost.
    """
    try:
        found = trials if location.local else _present(location, trials)
        written = [at for trial in found if (at := checkpoint.written_at(folder(location), trial))]
        return max(0.0, (clocks.store_time(location) - max(written)).total_seconds()) if written else None
    except OSError:
        return None


def _present(location: Location, trials: Sequence[str]) -> Sequence[str]:
    """Return the trials with a checkpoint on an object store, by one request instead of two for each."""
    present = {name.removesuffix(checkpoint.SUFFIX) for name in location.names("checkpoints", "")}
    return [trial for trial in trials if trial in present]
