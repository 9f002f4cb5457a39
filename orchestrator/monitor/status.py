"""The progress of a store's sweeps: planned, claimed, running and ended trials, their rate, and device time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from sweeplaw.orchestrator.launch import published_packs, usage
from sweeplaw.orchestrator.launch.failures import UNSETTLED, Failure, failures
from sweeplaw.orchestrator.launch.published_packs import RunningPack
from sweeplaw.orchestrator.monitor.relaunch import NO_TRIALS, Plans, relaunch_reasons
from sweeplaw.orchestrator.monitor.searches import searches
from sweeplaw.orchestrator.schedule import device_time
from sweeplaw.orchestrator.schedule.device_time import Usage
from sweeplaw.orchestrator.store import claims
from sweeplaw.orchestrator.store.claims import leases
from sweeplaw.orchestrator.store.clocks import approximate_store_time
from sweeplaw.orchestrator.store.heartbeats import Lease
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.record import TASK_SCORES
from sweeplaw.trials.store_format.damage import DamagedFileError, reason_of
from sweeplaw.trials.store_format.location import Location
from sweeplaw.trials.store_format.parts.verification import verifier
from sweeplaw.trials.store_format.search_state import SearchState

RATE_WINDOW = dt.timedelta(minutes=15)
NEEDED = ("workload", "launch_id", "ended_at", "val_loss", "train_seconds", "message")  # of each outcome


@dataclass(frozen=True, slots=True)
class Progress:
    """Counts of all trials of a store.

    ``states``: trials by the state of their latest outcome. ``missing``: planned trials without a final outcome, None
    when no launch recorded its plan; each of them is ``waiting`` (no launch holds it), ``claimed`` (a living launch
    holds it) or ``running`` (on a worker). ``packs``: what runs, with host, time and latest step. ``relaunch``: trials
    that a launch of the same sweeps would run now, by reason. ``rate``: outcomes a second over `RATE_WINDOW`;
    ``seconds_left`` at that rate, None while nothing runs. ``dead``: launches that died without releasing
    their trials. ``failures``: the causes of failed and preempted trials. ``searches``: where the search of each sweep
    stands.
    """

    states: Mapping[str, int]
    imported: int
    missing: int | None
    waiting: int | None
    claimed: int
    running: int
    packs: tuple[RunningPack, ...]
    relaunch: Mapping[str, int]
    leases: tuple[Lease, ...]
    dead: tuple[str, ...]
    rate: float | None
    seconds_left: float | None
    best_loss: float | None
    usage: Usage
    faults: tuple[str, ...]
    failures: tuple[Failure, ...] = ()
    searches: tuple[SearchState, ...] = ()


@dataclass(frozen=True, slots=True)
class _Held:
    """``taken`` are the trials without a final outcome that living launches hold; ``running`` of them run."""

    leases: tuple[Lease, ...]
    dead: tuple[str, ...]
    packs: tuple[RunningPack, ...]
    taken: set[str]
    running: int


def progress(
    store: Store, now: dt.datetime | None = None, *, rows: pl.DataFrame | None = None, plans: Plans | None = None
) -> Progress:
    """Return the progress of all sweeps of the store. Raise InputError.

    ``rows`` are the latest outcomes with the columns `NEEDED` and ``plans`` what launches planned, for a caller that
    has read them (`orchestrator.live.followed`); otherwise both are read.
    """
    now = now or approximate_store_time(store.location)
    rows = store.outcomes(NEEDED) if rows is None else rows
    own, final = rows.filter(pl.col("launch_id").is_not_null()), rows.filter("final")
    held = _held(store, now, final)
    plans = planned(store) if plans is None else plans
    missing = pl.concat([NO_TRIALS, *plans.values()]).unique().join(final, on="trial_id", how="anti")
    waiting = missing.filter(~pl.col("trial_id").is_in(list(held.taken)))
    searching = searches(store)
    rate = _rate(own["ended_at"], now)
    return Progress(
        states=dict(rows["state"].value_counts().sort("state").iter_rows()),
        imported=rows.height - own.height,
        missing=missing.height if plans else None,
        waiting=waiting.height if plans else None,
        claimed=len(held.taken) - held.running,
        running=held.running,
        packs=held.packs,
        relaunch=relaunch_reasons(store, plans, own=own, final=final, waiting=waiting, taken=held.taken),
        leases=held.leases,
        dead=held.dead,
        rate=rate,
        seconds_left=missing.height / rate if missing.height and rate and held.taken else None,
        best_loss=_best_loss(own),
        usage=_usage(store, own),
        failures=failures(own, UNSETTLED),
        searches=searching,
        faults=_faults(store),
    )


def _faults(store: Store) -> tuple[str, ...]:
    """Return the damage found so far, and that of claims."""
    store.report(claims.faults(store.location))
    return store.problems


def _held(store: Store, now: dt.datetime, final: pl.DataFrame) -> _Held:
    held = leases(store.location)
    living = [lease for lease in held if lease.alive(now)]
    packs = tuple(pack for lease in living for pack in running_packs(store, lease))
    claimed = {trial for lease in living for trial in lease.trials}
    known = claimed.union(*(pack.steps for pack in packs))
    ended = set(final.filter(pl.col("trial_id").is_in(list(known)))["trial_id"])
    taken = claimed - ended
    # A pack whose published trials have all ended since is at its next one.
    running = min(len(taken), sum(max(1, len(pack.steps.keys() - ended)) for pack in packs))
    return _Held(held, tuple(lease.launch_id for lease in held if lease not in living), packs, taken, running)


def planned(store: Store, known: Plans | None = None) -> Plans:
    """Return launch_id -> the trials it planned (trial_id), of every launch that recorded its plan.

    A damaged plan is left out and reported to the store. Those in ``known`` are not read again.
    """
    found = {}
    with verifier(store.location) as checked:
        for launch_id in store.location.names("launches", ".parquet"):
            if known and launch_id in known:
                found[launch_id] = known[launch_id]
                continue
            name = f"launches/{launch_id}.parquet"
            try:
                checked.verify(name)
                found[launch_id] = _ids(store.location, name)
            except (pa.ArrowException, OSError, ValueError) as error:
                store.report([f"{name} cannot be read: {reason_of(error)}; what it planned is not counted"])
    return found


def _ids(location: Location, name: str) -> pl.DataFrame:
    """Raise ArrowException, OSError; ValueError if there is no column of ids."""
    # Not by `read_table`, which imports pandas if it is installed.
    with pq.ParquetFile(location.readable(name), filesystem=location.filesystem) as file:
        ids = file.read(columns=["trial_id"])
    if ids.schema.names != ["trial_id"] or ids.schema.types != [pa.string()]:
        raise ValueError("it has no column trial_id of text")
    return pl.DataFrame(pl.from_arrow(ids))


def running_packs(store: Store, lease: Lease) -> tuple[RunningPack, ...]:
    """Return the packs that the workers of a launch run. Damage goes to the ``problems`` of the store."""
    try:
        found = published_packs.read(store.location, lease.launch_id)
    except DamagedFileError as error:
        store.report([str(error)])
        return ()
    return found[1] if found else ()


def _best_loss(own: pl.DataFrame) -> float | None:
    runs = pl.col("workload").ne_missing(TASK_SCORES)
    losses = own.filter(pl.col("state") == "completed", runs)["val_loss"].drop_nulls()
    return losses.min() if losses.len() else None  # type: ignore[return-value]


def _usage(store: Store, own: pl.DataFrame) -> Usage:
    """Return the device time of all launches. One that published none (of an older version, or still in its first
    seconds) counts by its rows.
    """
    faults: list[str] = []
    published = usage.load(store.location, faults=faults)
    store.report(faults)
    unaccounted = own.filter(~pl.col("launch_id").is_in(list(published)))["train_seconds"].sum()
    return device_time.total([*published.values(), Usage(useful=float(unaccounted))])


def _rate(ended: pl.Series, now: dt.datetime) -> float | None:
    """Return the outcomes a second within `RATE_WINDOW` before now; None when there were none."""
    recent = ended.drop_nulls().filter(ended.drop_nulls() > now - RATE_WINDOW)
    if not recent.len():
        return None
    first: dt.datetime = recent.min()  # type: ignore[assignment]
    return recent.len() / max((now - first).total_seconds(), 1.0)
