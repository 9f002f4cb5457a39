"""What a live view shows of a store at one moment: progress, cells, and the columns by role."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from sweeplaw.analysis.tables.families import Axes, axes
from sweeplaw.analysis.tables.tables import Tables
from sweeplaw.orchestrator.live.cells import CellProgress, cells, runs
from sweeplaw.orchestrator.live.followed import KEPT, FollowedStore
from sweeplaw.orchestrator.monitor.status import Progress, progress
from sweeplaw.orchestrator.store.clocks import approximate_store_time
from sweeplaw.trials.errors import InputError

LOSS = "val_loss"
SAMPLE = 50_000  # completed trials; of more, about this many decide on roles at each look, and all on those of a law
_SETTING = ("workload", "params", "params_non_embedding", "tokens", "source")  # with the knobs: of one setting alike


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
    cells: CellProgress | None
    launches: tuple[Mapping[str, Any], ...]
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
        self._latest = Overview(
            store.location.uri, self._name(), now, rows, found, by, points, self.followed.launches, why_not, number
        )
        return self._latest

    def _name(self) -> str:
        """Return the names of the sweeps, the latest first, or the store's own."""
        names = [str(one["sweep"]) for one in reversed(self.followed.launches) if "sweep" in one]
        return ", ".join(dict.fromkeys(names)) or self.followed.store.location.uri.rstrip("/").rpartition("/")[2]

    def _roles(self, rows: pl.DataFrame) -> tuple[Axes | None, str]:
        """Return the columns by role; or why they are not known."""
        completed = rows.filter(pl.col("state") == "completed")
        if not completed.height:
            return None, "no trial has completed yet"
        if completed.height > SAMPLE:
            completed = completed.gather_every(completed.height // SAMPLE)
        try:
            return roles_of(completed, self.followed.launches), ""
        except InputError as error:
            return None, f"{error.sentence()} (--x and --y are options of sweeplaw report)"


def roles_of(completed: pl.DataFrame, launches: Sequence[Mapping[str, Any]]) -> Axes:
    """Return the columns of completed trials by role, found from one run of each setting. Raise InputError."""
    named = [name for name in completed.columns if name not in KEPT or name in _SETTING]
    settings = completed.unique([name for name in named if name not in ("seed", "final")], keep="any")
    return axes(Tables(settings.lazy(), pl.LazyFrame(), {}, "trials", tuple(launches)), settings, loss=LOSS)


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
