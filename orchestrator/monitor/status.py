"""How a store's sweeps stand: planned, claimed, running and ended trials kept apart, what a relaunch would run, how
fast it goes, and what became of the device time.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl
import pyarrow.parquet as pq

from sweeplaw.analysis.tables.tables import launches
from sweeplaw.orchestrator.launch import running as runs
from sweeplaw.orchestrator.launch import usage
from sweeplaw.orchestrator.launch.retries import owed
from sweeplaw.orchestrator.launch.running import RunningPack
from sweeplaw.orchestrator.plan.policy import Retry
from sweeplaw.orchestrator.schedule import device_time
from sweeplaw.orchestrator.schedule.device_time import Usage
from sweeplaw.orchestrator.store.claims import Lease, leases
from sweeplaw.orchestrator.store.clocks import shown
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.record import UNFINISHED

RATE_WINDOW = dt.timedelta(minutes=15)
_NO_TRIALS = pl.DataFrame(schema={"trial_id": pl.String})


@dataclass(frozen=True, slots=True)
class Progress:
    """Where every trial of a store is.

    ``states``: trials by the state of their latest outcome. ``missing``: planned trials without a final outcome, None
    when no launch recorded its plan; each of them is ``waiting`` (nobody holds it), ``claimed`` (a living launch holds
    it) or ``running`` (a worker has it). ``packs`` are what runs, with host, time and last step. ``relaunch``: how many
    trials a launch of the same sweeps would run now, by reason. ``rate``: outcomes a second over the last minutes;
    ``seconds_left`` at that rate, None while nothing runs. ``dead``: launches that ended without a word.
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


def progress(store: Store, now: dt.datetime | None = None) -> Progress:
    """The progress of everything in the store. Raises InputError."""
    now = now or shown(store.location)
    rows = store.outcomes(("launch_id", "ended_at", "val_loss", "train_seconds"))
    own, final = rows.filter(pl.col("launch_id").is_not_null()), rows.filter("final")
    held = leases(store.location)
    living = [lease for lease in held if lease.alive(now)]
    packs = tuple(pack for lease in living for pack in _packs(store, lease))
    claimed = {trial for lease in living for trial in lease.trials}
    seen = claimed.union(*(pack.steps for pack in packs))
    ended = set(final.filter(pl.col("trial_id").is_in(list(seen)))["trial_id"])
    taken = claimed - ended
    # A pack whose shown trials have ended since is at its next one.
    running = min(len(taken), sum(max(1, len(pack.steps.keys() - ended)) for pack in packs))
    plans = planned(store)
    missing = pl.concat([_NO_TRIALS, *plans.values()]).unique().join(final, on="trial_id", how="anti")
    left_over = own.filter(~pl.col("final")).select("trial_id", "state")
    waiting = missing.filter(~pl.col("trial_id").is_in(list(taken)))
    again = left_over.filter(~pl.col("trial_id").is_in(list(taken)))
    reasons = Counter({"not run yet": waiting.join(again, on="trial_id", how="anti").height})
    reasons.update(_why(state) for state in again["state"])
    reasons["retry policy"] = len(_owed(store, plans, final))
    rate = _rate(own["ended_at"], now)
    losses = own.filter(pl.col("state") == "completed")["val_loss"].drop_nulls()
    states = rows["state"].value_counts().sort("state")
    return Progress(
        states=dict(states.iter_rows()),
        imported=rows.height - own.height,
        missing=missing.height if plans else None,
        waiting=waiting.height if plans else None,
        claimed=len(taken) - running,
        running=running,
        packs=packs,
        relaunch={reason: count for reason, count in sorted(reasons.items()) if count},
        leases=held,
        dead=tuple(lease.launch_id for lease in held if lease not in living),
        rate=rate,
        seconds_left=missing.height / rate if missing.height and rate and taken else None,
        best_loss=losses.min() if losses.len() else None,  # type: ignore[arg-type]
        usage=_usage(store, own),
        faults=store.problems,
    )


def planned(store: Store) -> dict[str, pl.DataFrame]:
    """launch_id -> the trials it set out to run (trial_id), of every launch that recorded its plan."""
    found = {}
    for name in store.location.names("launches", ".parquet"):
        path = store.location.path(f"launches/{name}.parquet")
        ids = pq.read_table(path, columns=["trial_id"], filesystem=store.location.filesystem)
        found[name] = pl.DataFrame(pl.from_arrow(ids))
    return found


def _packs(store: Store, lease: Lease) -> tuple[RunningPack, ...]:
    found = runs.read(store.location, lease.launch_id)
    return found[1] if found else ()


def _why(state: str) -> str:
    """Why the next launch runs a trial whose latest outcome does not count as final."""
    return state if state in UNFINISHED else "asked to run again"


def _owed(store: Store, plans: Mapping[str, pl.DataFrame], final: pl.DataFrame) -> set[str]:
    """Finished trials that the retry policy of their sweep's latest launch gives another attempt."""
    policies: dict[str, Retry] = {}
    trials: dict[str, list[pl.DataFrame]] = {}
    for facts in launches(store.location):  # oldest first
        if "sweep" not in facts:  # an import
            continue
        if "retry" in facts:
            policies[facts["sweep"]] = Retry.model_validate(facts["retry"])
        trials.setdefault(facts["sweep"], [_NO_TRIALS]).append(plans.get(facts["launch_id"], _NO_TRIALS))
    found = set[str]()
    for sweep, policy in policies.items():
        ended = final.filter(pl.col("state").is_in(list(policy.by_state())))
        ours = dict(ended.join(pl.concat(trials[sweep]), on="trial_id", how="semi").select("trial_id", "state").rows())
        found.update(owed(store, policy, ours, ours))
    return found


def _usage(store: Store, own: pl.DataFrame) -> Usage:
    """What every launch used; one that kept no account (of an older version, or still in its first seconds) by its
    rows.
    """
    kept = usage.load(store.location)
    unaccounted = own.filter(~pl.col("launch_id").is_in(list(kept)))["train_seconds"].sum()
    return device_time.total([*kept.values(), Usage(useful=float(unaccounted))])


def _rate(ended: pl.Series, now: dt.datetime) -> float | None:
    """Outcomes a second within the window before now; None when there were none."""
    recent = ended.drop_nulls().filter(ended.drop_nulls() > now - RATE_WINDOW)
    if not recent.len():
        return None
    first: dt.datetime = recent.min()  # type: ignore[assignment]
    return recent.len() / max((now - first).total_seconds(), 1.0)
