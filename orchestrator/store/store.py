"""The store: open it, find finished trials, claim trials and record rows.

Which files count is decided in `store_format.layout` and `store_format.parts.snapshot`; this module only holds ids and
states in memory.
"""

from __future__ import annotations

import datetime as dt
import errno
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from sweeplaw.orchestrator.store import atomic, claims, clocks, writer
from sweeplaw.orchestrator.store.tail import FreshOutcomes, StoreTail
from sweeplaw.orchestrator.store.writer import Writer
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import SCHEMA_VERSION, UNFINISHED
from sweeplaw.trials.store_format.columns import ARROW, array
from sweeplaw.trials.store_format.confined import IrregularError
from sweeplaw.trials.store_format.damage import DamagedFileError, parsed, parsed_all
from sweeplaw.trials.store_format.exclusions import exclusions
from sweeplaw.trials.store_format.layout import (
    FOLDERS,
    FORMAT,
    LATER_FOLDERS,
    MARKER,
    MERGED,
    RECENCY,
    catalog,
    identify,
)
from sweeplaw.trials.store_format.location import Location, locate
from sweeplaw.trials.store_format.parts.part_files import DECLARED
from sweeplaw.trials.store_format.parts.snapshot import Snapshot, StorePart, snapshot, verified

_LAUNCH_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
EXCLUDED = "excluded"
_OUTCOME = ["trial_id", "state", *RECENCY]


class Store:
    """A results store. ``problems`` are sentences about damage found so far, such as unreadable parts."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self.problems: tuple[str, ...] = ()

    @classmethod
    def open(cls, uri: str | Path, *, create: bool = False) -> Store:
        """Open the store at a path or URI; ``create`` makes it if nothing is there.

        Raise InputError if it is not a store, is a newer one, or cannot be created; OSError if the disk is full.
        """
        location = locate(uri)
        if create:
            _create(location)
        identify(location)
        return cls(location)

    def finished(self) -> dict[str, str]:
        """Return trial_id -> state of the latest outcome, for every trial whose latest outcome is final."""
        final = self.outcomes().filter("final")
        finished: dict[str, str] = {}
        for (state,), trials in final.group_by("state"):  # one string per state, not a million
            finished.update(dict.fromkeys(trials["trial_id"].to_list(), str(state)))
        return finished

    def outcomes(self, columns: Sequence[str] = ()) -> pl.DataFrame:
        """Return the latest outcome of every trial: trial_id, state, attempt, the given ``columns`` and ``final``.

        An outcome is ``final`` if its state is finished (not in `record.UNFINISHED`) and no retry has requeued it, or
        if its trial is excluded: its state is then `EXCLUDED`.
        """
        latest = self._read("trials", list(dict.fromkeys([*_OUTCOME, *columns])))
        # Retries are rare and sorting a million rows is slow. A hash collision only costs an unnecessary sort.
        if latest["trial_id"].hash().n_unique() < latest.height:
            latest = latest.sort(*RECENCY, nulls_last=False).unique("trial_id", keep="last")
        return self.judged(latest)

    def judged(self, latest: pl.DataFrame) -> pl.DataFrame:
        """Return latest outcomes (trial_id, state, attempt and any other columns) with ``final``, as `outcomes`."""
        noted = exclusions(self.location)
        self.report(noted.faults)
        requeued = self._requeued()
        ended = ~pl.col("state").is_in(list(UNFINISHED))
        if requeued:
            until = pl.col("trial_id").replace_strict(requeued, default=None, return_dtype=pl.Int64)
            ended &= until.is_null() | (pl.col("attempt") > until)
        excluded = pl.col("trial_id").is_in(list(noted.reasons))
        state = pl.when(excluded).then(pl.lit(EXCLUDED)).otherwise("state") if noted.reasons else pl.col("state")
        return latest.with_columns(state.alias("state"), final=ended | excluded)

    def attempts(self) -> dict[str, int]:
        """Return trial_id -> number of attempts so far, for trials with any row.

        An attempt whose worker died before its outcome counts by its curve points.
        """
        seen = [self._outcomes().select("trial_id", "attempt"), self._read("curves", ["trial_id", "attempt"])]
        count = pl.concat(seen).group_by("trial_id").agg(pl.col("attempt").max())
        return dict(zip(count["trial_id"].to_list(), count["attempt"].to_list(), strict=True))

    def add_launch(self, launch_id: str, facts: Mapping[str, Any], planned: Iterable[str] = ()) -> None:
        """Record facts about a launch (sweep file, versions, hosts, command) and the ids of its ``planned`` trials.

        Raise InputError for an id that is not a valid file name, or if a folder of the store is a link; OSError.
        """
        _check_launch_id(launch_id)
        _check_folders(self.location)
        ids = pa.table({"trial_id": array(list(planned), pa.string())})
        if ids.num_rows:
            atomic.publish_table(self.location, f"launches/{launch_id}.parquet", ids)
        content = {"launch_id": launch_id, "recorded_at": self.next_time().isoformat(), **facts}
        atomic.publish_json(self.location, f"launches/{launch_id}.json", content)

    def next_time(self) -> dt.datetime:
        """Return the wall clock, or one second after the latest launch if later, so that launches are in order."""
        now = clocks.utc_now()
        for name in reversed(self.location.names("launches", ".parquet")):
            latest = self._recorded_at(name)
            if latest is not None:
                return max(now, latest + dt.timedelta(seconds=1))
        return now

    def _recorded_at(self, launch_id: str) -> dt.datetime | None:
        """Return when a launch was recorded, by its id if the record is damaged; None without a record or time."""
        try:
            return parsed(self.location, f"launches/{launch_id}.json", _recorded_time)
        except FileNotFoundError:
            return None
        except DamagedFileError as error:
            self.report([str(error)])
        try:
            return dt.datetime.strptime(launch_id[:15], "%Y%m%dT%H%M%S").replace(tzinfo=dt.UTC)
        except ValueError:
            return None

    def writer(self, launch_id: str) -> Writer:
        """Return a writer for this launch, after sealing the journals of dead writers (see ``problems``).

        Raise InputError if the store cannot be written, if one of its folders is a link, or if damage hides which
        trials it has, so that they would be recorded twice.
        """
        _check_launch_id(launch_id)
        _check_folders(self.location)
        if faults := catalog(self.location).faults:
            raise InputError(faults, where=f"{self.location.uri} is not written until this is repaired")
        if self.location.local and not os.access(self.location.path("journal"), os.W_OK):
            raise InputError(f"{self.location.uri} cannot be written: no permission on its journal folder")
        _raise_schema(self.location)
        self.problems += tuple(writer.recover(self.location))
        return Writer(self.location, launch_id)

    def tail(self) -> StoreTail:
        """Return a reader of what other launches record from now on: take it before `finished`, pass it to `claim`."""
        tail = StoreTail(self.location)
        tail.skip(self.location.names("trials", ".parquet"))
        return tail

    def claim(
        self, trial_ids: Iterable[str], launch_id: str, lease_seconds: float, tail: FreshOutcomes | None = None
    ) -> set[str]:
        """Claim those of ``trial_ids`` that no other launch holds or has finished, for ``lease_seconds`` (`renew` in
        time), and return them.

        ``tail`` limits the search for finished trials to what it has not read yet; None reads the whole store.
        Other launches record before they release, and the tail is read after claiming, so no trial is missed.
        Raise OSError, TimeoutError.
        """
        granted = claims.claim(self.location, trial_ids, launch_id, lease_seconds)
        self.problems = tuple(dict.fromkeys([*self.problems, *claims.faults(self.location)]))
        fresh = (tail or StoreTail(self.location)).fresh(launch_id)
        requeued = self._requeued() if fresh else {}
        done = {
            trial_id
            for trial_id, (attempt, state) in fresh.items()
            if attempt > requeued.get(trial_id, 0) and state not in UNFINISHED
        } & granted
        if done:
            claims.release(self.location, launch_id, done)
        return granted - done

    def renew(self, launch_id: str, lease_seconds: float) -> bool:
        """Extend this launch's claims by ``lease_seconds``. Return False if another launch has taken them over."""
        return claims.renew(self.location, launch_id, lease_seconds)

    def release(self, launch_id: str, trial_ids: Iterable[str] | None = None) -> None:
        """Release these claims, or (None) all of them at the end of the launch."""
        claims.release(self.location, launch_id, trial_ids)

    def _outcomes(self) -> pl.DataFrame:
        return self._read("trials", _OUTCOME)

    def _parts(self, parts: Sequence[StorePart], table: str, names: Sequence[str]) -> Iterator[pl.DataFrame]:
        paths = [self.location.path(part.path) for part in parts]
        if paths and self.location.local:
            yield _scan(paths, table, names)
            return
        for path in paths:
            yield pl.DataFrame(
                pl.from_arrow(pq.read_table(path, columns=list(names), filesystem=self.location.filesystem))
            )

    def _requeued(self) -> dict[str, int]:
        requeued: dict[str, int] = {}
        faults: list[str] = []
        for attempts in parsed_all(self.location, "retries", _attempts, faults).values():
            for trial_id, attempt in attempts.items():
                requeued[trial_id] = max(attempt, requeued.get(trial_id, 0))
        self.report(faults)
        return requeued

    def report(self, faults: Iterable[str]) -> None:
        """Add sentences about damage to ``problems``."""
        self.problems = tuple(dict.fromkeys([*self.problems, *faults]))

    def _read(self, table: str, names: Sequence[str]) -> pl.DataFrame:
        """Return these columns of every row that counts. Damage goes to ``problems``; its trials count as not run."""
        now = snapshot(self.location)
        try:
            return self._columns(now, table, names)
        except (pl.exceptions.ComputeError, pa.ArrowInvalid):  # damage behind a valid footer: exclude it
            return self._columns(verified(self.location, now), table, names)

    def _columns(self, now: Snapshot, table: str, names: Sequence[str]) -> pl.DataFrame:
        self.report(now.faults)
        frames = [pl.DataFrame(pl.from_arrow(now.journal_table(table).select(list(names))))]
        frames.extend(self._parts(now.parts(table), table, names))
        return pl.concat(frames)


def _recorded_time(content: Mapping[str, Any]) -> dt.datetime:
    at = dt.datetime.fromisoformat(content["recorded_at"])
    return at if at.tzinfo else at.replace(tzinfo=dt.UTC)


def _attempts(content: Mapping[str, Any]) -> dict[str, int]:
    """Return the attempts by trial that a file in retries/ asks to follow by another. Raise ValueError, LookupError."""
    attempts: dict[str, int] = dict(content["attempts"])
    if not all(type(attempt) is int and 0 <= attempt < 2**31 for attempt in attempts.values()):
        raise ValueError("attempts are not all counts")
    return attempts


def _scan(paths: Sequence[str], table: str, names: Sequence[str]) -> pl.DataFrame:
    """Read columns of local files with any schemas in one scan: a million trials in a hundred parts take a second."""
    types = {column.name: ARROW[column.type] for column in DECLARED[table]}
    # Not by `empty_table`, which imports pandas if it is installed.
    empty: Any = pl.from_arrow(pa.Table.from_batches([], pa.schema([(name, types[name]) for name in names])))
    return pl.scan_parquet(
        list(paths), glob=False, schema=empty.schema, extra_columns="ignore", missing_columns="insert"
    ).collect()


def _check_launch_id(launch_id: str) -> None:
    if not _LAUNCH_ID.fullmatch(launch_id) or launch_id.startswith(MERGED):
        raise InputError(f"launch id {launch_id!r}: letters, digits, '.', '_' and '-', at most 100, not {MERGED}…")


def _check_folders(location: Location) -> None:
    """Raise InputError with every folder of a local store that is a link or no folder."""
    faults = []
    for folder in (*FOLDERS, *LATER_FOLDERS) if location.local else ():
        try:
            location.writable(f"{folder}/x")
        except IrregularError as error:
            faults.append(f"{folder}: {error}")
    if faults:
        raise InputError(faults, where=f"{location.uri} is not written")


def _raise_schema(location: Location) -> None:
    """Raise the schema version of an older store before the first row that its version would misread."""
    if identify(location) < SCHEMA_VERSION:
        atomic.publish_json(location, MARKER, {"format": FORMAT, "schema": SCHEMA_VERSION})


def _create(location: Location) -> None:
    """Create an empty store unless there is a store already. Raise InputError; OSError if the disk is full."""
    try:
        if location.local:
            (path := Path(location.root)).mkdir(parents=True, exist_ok=True)
            names = {one.name for one in path.iterdir()} - {*FOLDERS, MARKER}  # which another launcher may be creating
            if location.is_free(MARKER) and not all(name.startswith(f".{MARKER}.") for name in names):
                raise InputError(f"{location.uri} is a folder with other files in it, not a sweeplaw store")
            for folder in FOLDERS:
                (path / folder).mkdir(exist_ok=True)
        if location.is_free(MARKER):
            atomic.publish_json(location, MARKER, {"format": FORMAT, "schema": SCHEMA_VERSION})
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise InputError(f"{location.uri} cannot be created: {error.strerror or error}") from None
