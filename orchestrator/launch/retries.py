"""Put trials back in the queue: their outcomes so far no longer count as finished; the rows stay.

Either a user asks for it (`sweeplaw retry`), or the sweep's policy does: a trial runs again while the number of its
outcomes in its last state is at most the number of further attempts that the policy allows.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sweeplaw.analysis.tables import tables
from sweeplaw.orchestrator.plan.limits import Retry
from sweeplaw.orchestrator.store import atomic
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import STATES
from sweeplaw.trials.store_format.location import Location
from sweeplaw.trials.store_format.parts.snapshot import Snapshot, snapshot, verified

_COLUMNS = ["trial_id", "state", "attempt", "launch_id"]
_LISTED = 5  # ids that a message names
OutcomeCounts = Counter[tuple[str, str]]  # (trial_id, state) -> count of our own attempts with this outcome


def requeue(store: Store, states: Sequence[str], where: str | None = None, ids: Sequence[str] = ()) -> dict[str, int]:
    """Mark trials to be run again: those whose latest outcome is one of ``states`` (by default any), for which
    ``where`` holds, and which are named by ``ids`` or beginnings of ids (by default all). Return trial_id -> attempt
    so far.

    Imported and excluded trials are never run again. Trials that are marked already stay marked. Raise InputError,
    OSError.
    """
    if faults := [
        f"state {state!r} is not known (accepted: {', '.join(STATES)})" for state in states if state not in STATES
    ]:
        raise InputError(faults)
    if not states and not ids:
        narrowed = ", and a condition only narrows them" if where else ""
        raise InputError(f"no state and no trial was named{narrowed} (accepted states: {', '.join(STATES)})")
    loaded = tables.load(store.location.uri, states=states or None, where=where)
    own = loaded.trials.filter(pl.col("launch_id").is_not_null()).select("trial_id", "attempt").collect()
    if ids:
        named = _named(store, own["trial_id"], ids, loaded.excluded, every=not states and not where)
        own = own.filter(pl.col("trial_id").is_in(named))
    final = store.outcomes().filter("final")
    attempts = dict(own.join(final, on="trial_id", how="semi").rows())
    if attempts:
        _publish(store, {"states": list(states)}, attempts)
    return attempts


def _named(store: Store, own: pl.Series, ids: Sequence[str], excluded: pl.LazyFrame, *, every: bool) -> list[str]:
    """Return those of the trials ``own`` whose id is among ``ids``, or begins with one of them.

    Raise InputError for a beginning of several, and with ``every`` for a name of none.
    """
    whole = set(own)
    found, faults = [name for name in ids if name in whole], []
    for name in sorted(set(ids) - whole):
        begun = [trial for trial in whole if name and trial.startswith(name)]
        found += begun
        if len(begun) > 1:
            some = ", ".join(sorted(begun)[:_LISTED])
            faults.append(f"{len(begun)} trials begin with {name!r}: {some}… (accepted: one id)")
        elif not begun and every:
            out = name and excluded.filter(pl.col("trial_id").str.starts_with(name)).collect().height
            why = "is excluded (sweeplaw exclude --undo restores it)" if out else "is not there, or was imported"
            faults.append(f"trial {name!r} of {store.location.uri} {why}")
    if faults:
        raise InputError(faults)
    return found


def requeue_by_policy(store: Store, retry: Retry, finished: Mapping[str, str], wanted: Iterable[str]) -> dict[str, int]:
    """Mark those of ``wanted`` that the policy gives another attempt; return trial_id -> attempt so far.

    Raise OSError.
    """
    attempts = due_for_retry(store, retry, finished, wanted)
    if attempts:
        _publish(store, {"policy": retry.model_dump()}, attempts)
    return attempts


def due_for_retry(store: Store, retry: Retry, finished: Mapping[str, str], wanted: Iterable[str]) -> dict[str, int]:
    """Return the finished trials of ``wanted`` that the policy gives another attempt, as trial_id -> attempt so far."""
    allowed = retry.by_state()
    ended = {trial: finished[trial] for trial in wanted if finished.get(trial) in allowed}
    if not ended:
        return {}
    frame = _outcomes(store.location, list(ended))
    counts = _counted(frame)
    latest: Mapping[str, int] = dict(frame.group_by("trial_id").agg(pl.col("attempt").max()).iter_rows())
    return {
        trial: latest[trial]
        for trial, state in ended.items()
        if trial in latest and counts[trial, state] <= allowed[state]
    }


def count_outcomes(location: Location, trial_ids: Sequence[str]) -> OutcomeCounts:
    """Return the number of attempts of each of these trials that ended in each state, earlier launches included."""
    return _counted(_outcomes(location, trial_ids)) if trial_ids else Counter()


def attempts_of(location: Location, trial_id: str, columns: Sequence[str]) -> pl.DataFrame:
    """Return these columns of every row of our own that the trial has, oldest first."""
    return _outcomes(location, [trial_id], [*dict.fromkeys([*_COLUMNS, *columns])]).sort("attempt", "launch_id")


def _counted(frame: pl.DataFrame) -> OutcomeCounts:
    counts = frame.group_by("trial_id", "state").len()
    return Counter({(trial, state): count for trial, state, count in counts.iter_rows()})


def _outcomes(location: Location, trial_ids: Sequence[str], columns: Sequence[str] = _COLUMNS) -> pl.DataFrame:
    """Return every row of our own that these trials have, including those a compaction moved to earlier/."""
    wanted = pl.Series("trial_id", trial_ids, pl.String).implode()
    while True:
        now = snapshot(location)
        try:
            rows = _rows(location, now, trial_ids, columns)
        except FileNotFoundError:  # sealed or merged since: look again
            continue
        except pa.ArrowInvalid:  # damage behind a good footer
            rows = _rows(location, verified(location, now), trial_ids, columns)
        return rows.filter(pl.col("trial_id").is_in(wanted), pl.col("launch_id").is_not_null())


def _rows(location: Location, now: Snapshot, trial_ids: Sequence[str], columns: Sequence[str]) -> pl.DataFrame:
    paths = [part.path for part in (*now.trials, *now.superseded)]
    journal = pl.DataFrame(pl.from_arrow(now.journal_table("trials").select(list(columns))))
    return pl.concat([journal, *(_read(location, path, trial_ids, columns) for path in paths)])


def _read(location: Location, path: str, trial_ids: Sequence[str], columns: Sequence[str]) -> pl.DataFrame:
    chosen = pc.field("trial_id").isin(list(trial_ids))
    read = pq.read_table(location.readable(path), columns=list(columns), filters=chosen, filesystem=location.filesystem)
    return pl.DataFrame(pl.from_arrow(read))


def _publish(store: Store, asked: Mapping[str, Any], attempts: Mapping[str, int]) -> None:
    now = dt.datetime.now(dt.UTC)
    content = {"asked_at": now.isoformat(), **asked, "attempts": attempts}
    atomic.publish_json(store.location, f"retries/{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}.json", content)
