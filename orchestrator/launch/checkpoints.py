"""The checkpoints and kept weights of a store, as a launch sees them: their folders, and what is there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from sweeplaw.orchestrator.plan.sweep import SweepSpec
from sweeplaw.orchestrator.store import clocks
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.store_format import checkpoint, kept_weights, tensor_files
from sweeplaw.trials.store_format.location import Location


def folder(location: Location) -> str:
    """Return the path or URI under which trials keep their checkpoints."""
    return f"{location.uri}/checkpoints"


def weights_folder(location: Location) -> str:
    """Return the path or URI under which the weights of trials are kept."""
    return f"{location.uri}/{kept_weights.FOLDER}"


def without_weights(store: Store, sweep: SweepSpec, planned: Iterable[str]) -> tuple[str, ...]:
    """Return the completed trials whose weights the sweep wants and the store does not keep.

    They are among the ``planned``; where a search proposes the trials, among those recorded for the sweep.
    """
    if not sweep.keep:
        return ()
    completed = store.outcomes(["sweep"]).filter("final", pl.col("state") == "completed")
    asked = pl.col("sweep") == sweep.name if sweep.search.proposes else pl.col("trial_id").is_in(list(planned))
    kept = kept_weights.trials(store.location)
    return tuple(trial for trial in completed.filter(asked)["trial_id"].sort() if trial not in kept)


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
    present = {name.removesuffix(tensor_files.SUFFIX) for name in location.names("checkpoints", "")}
    return [trial for trial in trials if trial in present]
