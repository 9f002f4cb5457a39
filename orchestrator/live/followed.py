"""The latest outcome of every trial of a store, kept up to date by reading only what was added."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import pyarrow as pa

from sweeplaw.analysis.tables.launches import launches
from sweeplaw.analysis.tables.scans import column_types, scan
from sweeplaw.analysis.tables.tables import as_shown
from sweeplaw.orchestrator.monitor.relaunch import Plans
from sweeplaw.orchestrator.monitor.status import planned
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.store_format.journal import Decoded
from sweeplaw.trials.store_format.layout import RECENCY, identify
from sweeplaw.trials.store_format.parts.snapshot import Snapshot, snapshot, verified

# Columns that are kept in memory, with the knobs of launches and imports; others are read when asked for.
KEPT = (
    *("trial_id", "workload", "sweep", "state", "message", "attempt", "params", "params_non_embedding", "tokens"),
    *("flops", "val_loss", "started_at", "ended_at", "train_seconds", "pack_id", "launch_id", "host", "source"),
)
_ROLES = ("scientific", "nuisance", "derived", "fixed")
# Folders in which every change of what is shown leaves a trace, damage included.
_WATCHED = (
    *("launches", "journal", "trials", "curves", "earlier", "merges", "sealed", "quarantine"),
    *("retries", "claims", "exclusions", "searches", "usage"),
)


class FollowedStore:
    """A store and what has been read of it. ``rows`` are the latest outcomes, as `Store.judged` returns them;
    ``launches`` the facts of its launches, ``plans`` what they planned. For one thread.
    """

    def __init__(self, uri: str) -> None:
        """Open the store. Raise InputError if there is none."""
        self.store = Store.open(uri)
        self.rows = pl.DataFrame()
        self.launches: tuple[Mapping[str, Any], ...] = ()
        self.plans: Plans = {}
        self._sealed = pl.DataFrame()
        self._parts: frozenset[str] = frozenset()
        self._names: tuple[str, ...] = ()
        self._stamp: Mapping[str, tuple[int, int, int]] | None = None

    def read(self) -> bool:
        """Read what was added. Return False if no file of the store has changed since the last call.

        Raise InputError if there is no store any more, or for now: what was read of it stays. Raise OSError.
        """
        location = self.store.location
        stamp = {name: state for folder in _WATCHED for name, state in location.states(folder).items()}
        if stamp != self._stamp or not stamp:
            identify(location)
        if stamp == self._stamp:
            return False
        self.store.problems = ()
        faults: list[str] = []
        self.launches = launches(location, faults)
        self.store.report(faults)
        self.plans = planned(self.store, self.plans)
        now = snapshot(location)
        try:
            latest = self._latest(now)
        except (pl.exceptions.ComputeError, pa.ArrowInvalid):  # damage behind a valid footer: leave it out
            now = verified(location, now)
            latest = self._latest(now)
        self.store.report(now.faults)
        self.rows = self.store.judged(latest)
        self._stamp = stamp
        return True

    def _latest(self, now: Snapshot) -> pl.DataFrame:
        """Return the latest row of each trial."""
        types = column_types(now, "trials")
        named = [name for launch in self.launches for role in _ROLES for name in launch.get(role, ())]
        named += [name for launch in self.launches for name in _imported(launch.get("columns"))]
        names = tuple(name for name in dict.fromkeys([*KEPT, *named, "seed"]) if name in types)
        parts = frozenset(part.path for part in now.trials)
        if not self._parts <= parts or names != self._names:  # merged, damaged or with further knobs: from the start
            self._sealed, self._parts, self._names = pl.DataFrame(), frozenset(), names
        fresh = tuple(part for part in now.trials if part.path not in self._parts)
        if fresh:
            self._sealed = newest(self._sealed, self._read(replace(now, trials=fresh, journal=_NOTHING), types))
            self._parts = parts
        return newest(self._sealed, self._read(replace(now, trials=()), types))

    def _read(self, now: Snapshot, types: Mapping[str, pa.DataType]) -> pl.DataFrame:
        rows = as_shown(scan(self.store.location, now, "trials", types), self.launches)
        return rows.select(self._names).collect()


_NOTHING = Decoded([], [], 0, ())


def newest(known: pl.DataFrame, added: pl.DataFrame) -> pl.DataFrame:
    """Return the latest row of each trial among ``known``, which has each trial once, and ``added``."""
    if not known.width:
        return _once(added)
    if not added.height:
        return known
    again = pl.col("trial_id").is_in(added["trial_id"].implode())
    both: Sequence[pl.DataFrame] = (known.filter(again), added)
    return pl.concat([known.filter(~again), _once(pl.concat(both, how="vertical_relaxed"))], how="vertical_relaxed")


def _once(rows: pl.DataFrame) -> pl.DataFrame:
    if rows["trial_id"].n_unique() == rows.height:
        return rows
    return rows.sort(*RECENCY, nulls_last=False, maintain_order=True).unique(
        "trial_id", keep="last", maintain_order=True
    )


def _imported(columns: object) -> Iterable[str]:
    """Return the columns of an import, none if these are not what an import records."""
    return columns if isinstance(columns, Mapping) else ()
