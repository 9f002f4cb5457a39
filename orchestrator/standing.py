"""How a store's sweeps stand: what finished how, what runs, what a relaunch would run, how fast it goes."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl
import pyarrow.parquet as pq

from analysis import tables
from orchestrator.claims import Lease, leases, utc_now
from orchestrator.store import Store

RATE_WINDOW = dt.timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Progress:
    """``states``: trials by the state of their latest outcome. ``missing``: planned trials that a relaunch would run,
    None when no launch recorded its plan; ``requeued`` of them are retries. ``running``: trials held by living
    launches. ``rate``: outcomes a second over the last minutes; ``seconds_left`` at that rate, None while nothing runs.
    """

    states: Mapping[str, int]
    imported: int
    missing: int | None
    requeued: int
    running: int
    leases: tuple[Lease, ...]
    rate: float | None
    seconds_left: float | None
    best_loss: float | None
    device_seconds: float
    faults: tuple[str, ...]


def progress(store: Store, now: dt.datetime | None = None) -> Progress:
    """The progress of everything in the store. Raises InputError."""
    now = now or utc_now()
    loaded = tables.load(store.location.uri, states=None)
    names = ("trial_id", "state", "launch_id", "ended_at", "val_loss", "train_seconds")
    rows = loaded.trials.select(names).collect()
    own = rows.filter(pl.col("launch_id").is_not_null())
    finished = store.finished()
    held = leases(store.location)
    running = {trial for lease in held if lease.alive(now) for trial in lease.trials} - finished.keys()
    missing = _missing(store, finished.keys())
    rate = _rate(own["ended_at"], now)
    losses = own.filter(pl.col("state") == "completed")["val_loss"].drop_nulls()
    return Progress(
        states=dict(sorted(Counter(rows["state"].to_list()).items())),
        imported=rows.height - own.height,
        missing=None if missing is None else len(missing),
        requeued=len(set(own["trial_id"]) - finished.keys()),
        running=len(running),
        leases=held,
        rate=rate,
        seconds_left=len(missing) / rate if missing is not None and rate and running else None,
        best_loss=losses.min() if losses.len() else None,  # type: ignore[arg-type]
        device_seconds=float(own["train_seconds"].sum()),
        faults=loaded.faults,
    )


def planned(store: Store) -> set[str] | None:
    """Every trial any launch set out to run; None when none recorded its plan."""
    names = store.location.names("launches", ".parquet")
    ids: set[str] = set()
    for name in names:
        path = store.location.path(f"launches/{name}.parquet")
        ids.update(pq.read_table(path, filesystem=store.location.filesystem)["trial_id"].to_pylist())
    return ids if names else None


def _missing(store: Store, finished: object) -> set[str] | None:
    ids = planned(store)
    return None if ids is None else {trial for trial in ids if trial not in finished}  # type: ignore[operator]


def _rate(ended: pl.Series, now: dt.datetime) -> float | None:
    """Outcomes a second within the window before now; None when there were none."""
    recent = ended.drop_nulls().filter(ended.drop_nulls() > now - RATE_WINDOW)
    if not recent.len():
        return None
    first: dt.datetime = recent.min()  # type: ignore[assignment]
    return recent.len() / max((now - first).total_seconds(), 1.0)
