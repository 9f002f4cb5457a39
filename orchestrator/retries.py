"""Put trials back in the queue: their outcomes so far no longer count as finished; the rows stay."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Sequence

import polars as pl

from analysis import tables
from orchestrator import durable
from orchestrator.store import Store
from trials.errors import InputError
from trials.record import STATES


def requeue(store: Store, states: Sequence[str], where: str | None = None) -> dict[str, int]:
    """Mark every trial whose latest outcome is one of ``states`` to be run again; trial_id -> its attempt so far.

    Imported rows are nobody's to run. Trials that are marked already stay so. Raises InputError, OSError.
    """
    if faults := [
        f"state {state!r} is not known (accepted: {', '.join(STATES)})" for state in states if state not in STATES
    ]:
        raise InputError(faults)
    finished = store.finished()
    trials = tables.load(store.location.uri, states=states, where=where).trials
    own = trials.filter(pl.col("launch_id").is_not_null()).select("trial_id", "attempt").collect()
    attempts = {trial_id: attempt for trial_id, attempt in own.iter_rows() if trial_id in finished}
    if attempts:
        now = dt.datetime.now(dt.UTC)
        content = {"asked_at": now.isoformat(), "states": list(states), "attempts": attempts}
        durable.publish_json(store.location, f"retries/{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}.json", content)
    return attempts
