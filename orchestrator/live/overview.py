"""What a live view shows of a store at one moment: progress, cells, and the columns by role."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from sweeplaw.analysis.tables.families import Axes, axes
from sweeplaw.analysis.tables.tables import Tables
from sweeplaw.orchestrator.live.cells import Cells, cells, runs
from sweeplaw.orchestrator.live.followed import FollowedStore
from sweeplaw.orchestrator.monitor.status import Progress, progress
from sweeplaw.orchestrator.store.clocks import approximate_store_time
from sweeplaw.trials.errors import InputError

LOSS = "val_loss"
_VARYING = frozenset(("trial_id", "message", "attempt", "state", LOSS, "started_at", "ended_at", "train_seconds")) | {
    *("pack_id", "launch_id", "host", "seed", "final")
}  # between the trials of one setting


@dataclass(frozen=True, slots=True)
class Overview:
    """A store at the time ``at`` of its clock.

    ``rows`` are the latest outcomes that count as runs. ``by`` and ``cells`` are None where ``why_not`` says why: no
    trial has completed yet, or N, D or the loss is not known. ``number`` rises with every change.
    """

    source: str
    name: str
    at: dt.datetime
    rows: pl.DataFrame
    progress: Progress
    by: Axes | None
    cells: Cells | None
    why_not: str = ""
    number: int = 0

    @property
    def ended(self) -> int:
        """The number of trials with a final outcome."""
        return int(self.rows["final"].sum()) if self.rows.height else 0

    @property
    def total(self) -> int | None:
        """The number of trials that have ended or are planned; None where no launch recorded a plan."""
        return None if self.progress.missing is None else self.ended + self.progress.missing

    @property
    def lives(self) -> bool:
        """Whether a launch holds trials now."""
        return bool(self.progress.running or self.progress.claimed)


@dataclass(slots=True)
class Observer:
    """Looks at a store again and again; what has not changed is not computed again."""

    followed: FollowedStore
    _latest: Overview | None = field(default=None, init=False)

    def look(self) -> Overview:
        """Return the store as it is now. Raise InputError, OSError."""
        changed = self.followed.read()
        if self._latest is not None and not changed and not self._latest.lives:
            return self._latest
        store = self.followed.store
        now = approximate_store_time(store.location)
        found = progress(store, now, rows=self.followed.rows, plans=self.followed.plans)
        rows = runs(self.followed.rows)
        by, why_not = self._roles(rows)
        held = bool(found.running or found.claimed)
        points = cells(rows, by, self.followed.launches, open_=bool(found.missing), running=held) if by else None
        number = self._latest.number + 1 if self._latest else 1
        self._latest = Overview(store.location.uri, self._name(), now, rows, found, by, points, why_not, number)
        return self._latest

    def _name(self) -> str:
        """Return the names of the sweeps, the latest first, or the store's own."""
        names = [str(one["sweep"]) for one in reversed(self.followed.launches) if "sweep" in one]
        return ", ".join(dict.fromkeys(names)) or self.followed.store.location.uri.rstrip("/").rpartition("/")[2]

    def _roles(self, rows: pl.DataFrame) -> tuple[Axes | None, str]:
        """Return the columns by role, found from one run of each setting; or why they are not known."""
        completed = rows.filter(pl.col("state") == "completed")
        if not completed.height:
            return None, "no trial has completed yet"
        settings = completed.unique([name for name in completed.columns if name not in _VARYING], keep="any")
        tables = Tables(settings.lazy(), pl.LazyFrame(), {}, self.followed.store.location.uri, self.followed.launches)
        try:
            return axes(tables, settings, loss=LOSS), ""
        except InputError as error:
            return None, error.render()


def running_cells(found: Overview) -> Mapping[tuple[float, float], int]:
    """Return (N, D) -> the number of packs that run there, of those whose knobs are published."""
    counts: dict[tuple[float, float], int] = {}
    if found.by is None:
        return counts
    for pack in found.progress.packs:
        n, d = pack.about.get(found.by.n), pack.about.get(found.by.d)
        if isinstance(n, int | float) and isinstance(d, int | float):
            counts[float(n), float(d)] = counts.get((float(n), float(d)), 0) + 1
    return counts
