"""The store: open it, ask what is finished, record into it.

The rules of what counts are in `store_format.layout` and `store_format.snapshot`; this module never holds more than
ids and states in memory.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from sweeplaw.orchestrator.store import atomic, claims, clocks, writer
from sweeplaw.orchestrator.store.tail import StoreTail
from sweeplaw.orchestrator.store.writer import Writer
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import SCHEMA_VERSION, UNFINISHED
from sweeplaw.trials.store_format.columns import ARROW
from sweeplaw.trials.store_format.layout import FORMAT, MARKER, MERGED, RECENCY, Location, identify, locate
from sweeplaw.trials.store_format.snapshot import DECLARED, Snapshot, StorePart, snapshot, verified

_FOLDERS = (
    "launches",
    "journal",
    "trials",
    "curves",
    "earlier",
    "merges",
    "retries",
    "claims",
    "rejected",
    "quarantine",
)
_LAUNCH_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_OUTCOME = ["trial_id", "state", *RECENCY]


class Store:
    """One results store. ``problems`` are sentences about damage found on the way: parts that could not be read."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self.problems: tuple[str, ...] = ()
        self._watch = StoreTail(location)
        self._retried: dict[str, int] = {}

    @classmethod
    def open(cls, uri: str | Path, *, create: bool = False) -> Store:
        """The store at a path or URI; ``create`` makes it when nothing is there.

        Raises InputError when it is no store, a newer one, or cannot be created.
        """
        location = locate(uri)
        if create:
            _create(location)
        identify(location)
        return cls(location)

    def finished(self) -> dict[str, str]:
        """trial_id -> state of its latest outcome, for every trial whose latest outcome is final."""
        self._watch.skip(name for name in self.location.names("trials", ".parquet"))
        final = self.outcomes().filter("final")
        finished: dict[str, str] = {}
        for (state,), trials in final.group_by("state"):  # one text a state, not a million
            finished.update(dict.fromkeys(trials["trial_id"].to_list(), str(state)))
        return finished

    def outcomes(self, columns: Sequence[str] = ()) -> pl.DataFrame:
        """The latest outcome of every trial: trial_id, state, attempt, these further columns of `trials`, and whether
        it is ``final``: the trial ended in a finished state (`record.UNFINISHED` has the others) and no retry has put
        it back in the queue."""
        latest = self._read("trials", list(dict.fromkeys([*_OUTCOME, *columns])))
        # Retries are rare, and sorting a million rows is not free. Two ids of one hash cost the sorting, no more.
        if latest["trial_id"].hash().n_unique() < latest.height:
            latest = latest.sort(*RECENCY, nulls_last=False).unique("trial_id", keep="last")
        requeued = self._retried = self._requeued()
        ended = ~pl.col("state").is_in(list(UNFINISHED))
        if requeued:
            until = pl.col("trial_id").replace_strict(requeued, default=None, return_dtype=pl.Int64)
            ended &= until.is_null() | (pl.col("attempt") > until)
        return latest.with_columns(final=ended)

    def attempts(self) -> dict[str, int]:
        """trial_id -> attempts so far, for trials with any row: the next attempt is one more.

        An attempt whose worker died before its outcome is known by its curve points.
        """
        seen = [self._outcomes().select("trial_id", "attempt"), self._read("curves", ["trial_id", "attempt"])]
        count = pl.concat(seen).group_by("trial_id").agg(pl.col("attempt").max())
        return dict(zip(count["trial_id"].to_list(), count["attempt"].to_list(), strict=True))

    def add_launch(self, launch_id: str, facts: Mapping[str, Any], planned: Iterable[str] = ()) -> None:
        """Record what a launch is: sweep file text, versions, hosts, command; and the ids of its ``planned`` trials.

        Raises InputError for an id that cannot be a file name, OSError.
        """
        _check_launch_id(launch_id)
        ids = pa.table({"trial_id": pa.array(planned, pa.string())})
        if ids.num_rows:
            atomic.publish_table(self.location, f"launches/{launch_id}.parquet", ids)
        content = {"launch_id": launch_id, "recorded_at": self.next_time().isoformat(), **facts}
        atomic.publish_json(self.location, f"launches/{launch_id}.json", content)

    def next_time(self) -> dt.datetime:
        """The wall clock, or a second after the latest launch where that is ahead: launches are in order, whatever
        their clocks say."""
        now = clocks.utc_now()
        for name in reversed(self.location.names("launches", ".parquet")):
            try:
                latest = dt.datetime.fromisoformat(self.location.read_json(f"launches/{name}.json")["recorded_at"])
            except FileNotFoundError:  # it is being recorded
                continue
            return max(now, latest + dt.timedelta(seconds=1))
        return now

    def writer(self, launch_id: str) -> Writer:
        """A writer of this launch's rows. First seals what dead writers left; what that told is in ``problems``.

        Raises InputError when the store cannot be written.
        """
        _check_launch_id(launch_id)
        if self.location.local and not os.access(self.location.path("journal"), os.W_OK):
            raise InputError(f"{self.location.uri} cannot be written: no permission on its journal folder")
        _raise_schema(self.location)
        self.problems += tuple(writer.recover(self.location))
        return Writer(self.location, launch_id)

    def claim(self, trial_ids: Iterable[str], launch_id: str, lease_seconds: float) -> set[str]:
        """Those of ``trial_ids`` that are this launch's to run for ``lease_seconds`` (`renew` in time).

        Not granted: what a living launch holds, and what another launch has recorded since `finished` (they record
        before they release, and we look after we claim, so no trial slips between). Raises OSError, TimeoutError.
        """
        granted = claims.claim(self.location, trial_ids, launch_id, lease_seconds)
        fresh = self._watch.fresh(launch_id)
        done = {
            trial_id
            for trial_id, (attempt, state) in fresh.items()
            if attempt > self._retried.get(trial_id, 0) and state not in UNFINISHED
        } & granted
        if done:
            claims.release(self.location, launch_id, done)
        return granted - done

    def renew(self, launch_id: str, lease_seconds: float) -> bool:
        """Keep this launch's claims for another ``lease_seconds``; False when they have been taken over."""
        return claims.renew(self.location, launch_id, lease_seconds)

    def release(self, launch_id: str, trial_ids: Iterable[str] | None = None) -> None:
        """Give these claims back after recording the outcomes; None: all of them, at the end of the launch."""
        claims.release(self.location, launch_id, trial_ids)

    def _outcomes(self) -> pl.DataFrame:
        return self._read("trials", _OUTCOME)

    def _parts(self, parts: Sequence[StorePart], table: str, names: Sequence[str]) -> Iterator[pl.DataFrame]:
        paths = [self.location.path(part.path) for part in parts]
        if paths and self.location.local:
            yield _many(paths, table, names)
            return
        for path in paths:
            yield pl.DataFrame(
                pl.from_arrow(pq.read_table(path, columns=list(names), filesystem=self.location.filesystem))
            )

    def _requeued(self) -> dict[str, int]:
        again: dict[str, int] = {}
        for name in self.location.names("retries", ".json"):
            for trial_id, attempt in self.location.read_json(f"retries/{name}.json")["attempts"].items():
                again[trial_id] = max(attempt, again.get(trial_id, 0))
        return again

    def _read(self, table: str, names: Sequence[str]) -> pl.DataFrame:
        """These columns of every row that counts. Damage goes to ``problems``: those trials count as not run."""
        now = snapshot(self.location)
        try:
            return self._columns(now, table, names)
        except (pl.exceptions.ComputeError, pa.ArrowInvalid):  # damage behind a good footer: find it, go on without
            return self._columns(verified(self.location, now), table, names)

    def _columns(self, now: Snapshot, table: str, names: Sequence[str]) -> pl.DataFrame:
        self.problems = tuple(dict.fromkeys([*self.problems, *now.faults]))
        frames = [pl.DataFrame(pl.from_arrow(now.journal_table(table).select(list(names))))]
        frames.extend(self._parts(now.parts(table), table, names))
        return pl.concat(frames)


def _many(paths: Sequence[str], table: str, names: Sequence[str]) -> pl.DataFrame:
    """Columns of many local files of any schema in one scan: a million trials of a hundred parts take a second."""
    types = {column.name: ARROW[column.type] for column in DECLARED[table]}
    empty = pl.DataFrame(pl.from_arrow(pa.schema([(name, types[name]) for name in names]).empty_table()))
    scan = pl.scan_parquet(
        list(paths), glob=False, schema=empty.schema, extra_columns="ignore", missing_columns="insert"
    )
    return scan.collect()


def _check_launch_id(launch_id: str) -> None:
    if not _LAUNCH_ID.fullmatch(launch_id) or launch_id.startswith(MERGED):
        raise InputError(f"launch id {launch_id!r}: letters, digits, '.', '_' and '-', at most 100, not {MERGED}…")


def _raise_schema(location: Location) -> None:
    """Mark an older store as ours before the first row that its own version would misread."""
    if identify(location) < SCHEMA_VERSION:
        atomic.publish_json(location, MARKER, {"format": FORMAT, "schema": SCHEMA_VERSION})


def _is_foreign(path: Path) -> bool:
    """Whether a launcher that makes the store at this moment would not have made this."""
    return not (path.name in {*_FOLDERS, MARKER} or path.name.startswith(f".{MARKER}."))


def _create(location: Location) -> None:
    """Make an empty store where nothing is, or leave the store that is there."""
    try:
        if location.local:
            path = Path(location.root)
            path.mkdir(parents=True, exist_ok=True)
            if not (path / MARKER).exists() and any(map(_is_foreign, path.iterdir())):
                raise InputError(f"{location.uri} is a folder with other files in it, not a sweeplaw store")
            for folder in _FOLDERS:
                (path / folder).mkdir(exist_ok=True)
        if not location.exists(MARKER):
            atomic.publish_json(location, MARKER, {"format": FORMAT, "schema": SCHEMA_VERSION})
    except OSError as error:
        raise InputError(f"{location.uri} cannot be created: {error.strerror or error}") from None
