"""Incremental reader of the outcomes that other launches record."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from sweeplaw.trials.store_format.journal import decode
from sweeplaw.trials.store_format.layout import catalog, segment_of
from sweeplaw.trials.store_format.location import Location

Outcome = tuple[int, str]  # attempt, state


class FreshOutcomes(Protocol):
    """Where outcomes come from that a launch does not know yet."""

    def fresh(self, own_launch: str) -> dict[str, Outcome]:
        """Return trial_id -> latest outcome of the rows that other launches recorded since the last call."""
        ...


class StoreTail:
    """Tracks what has been read of a store: names of parts and bytes of journals."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._parts: set[str] = set()
        self._bytes: dict[str, int] = {}

    def skip(self, parts: Iterable[str]) -> None:
        """Mark these parts as read."""
        self._parts.update(parts)

    def fresh(self, own_launch: str) -> dict[str, Outcome]:
        """Return trial_id -> latest outcome of the rows that other launches recorded since the last call."""
        found: dict[str, Outcome] = {}
        while not self._read(own_launch, found):
            pass
        return found

    def _read(self, own_launch: str, found: dict[str, Outcome]) -> bool:
        """Add new outcomes to ``found``. Return False if a journal was sealed meanwhile: list its part and retry."""
        files = catalog(self._location)
        try:
            for name in files.journal:
                if not _belongs_to(segment_of(name), own_launch):
                    _keep_latest(found, self._read_journal(name))
        except FileNotFoundError:
            return False
        for name in {*files.parts, *files.merged} - self._parts:
            self._parts.add(name)
            if not _belongs_to(name, own_launch):
                _keep_latest(found, self._read_part(name))
        return True

    def _read_journal(self, name: str) -> list[tuple[str, Outcome]]:
        start = self._bytes.get(name, 0)
        with self._location.open(f"journal/{name}.jsonl") as file:
            file.seek(start)
            data = file.read()
        complete = data[: data.rfind(b"\n") + 1]
        self._bytes[name] = start + len(complete)
        return [(row["trial_id"], (row.get("attempt", 1), row["state"])) for row in decode(complete).trials]

    def _read_part(self, name: str) -> list[tuple[str, Outcome]]:
        try:
            path = self._location.readable(f"trials/{name}.parquet")
            table = pq.read_table(path, columns=["trial_id", "attempt", "state"], filesystem=self._location.filesystem)
        except (pa.ArrowInvalid, OSError):  # damaged: reported by `Store.problems`; its trials count as not run
            return []
        ids, attempts, states = (column.to_pylist() for column in table.columns)
        return list(zip(ids, zip(attempts, states, strict=True), strict=True))


def _belongs_to(segment: str, launch_id: str) -> bool:
    return segment.rpartition("-")[0] == launch_id


def _keep_latest(found: dict[str, Outcome], rows: Iterable[tuple[str, Outcome]]) -> None:
    for trial_id, outcome in rows:
        found[trial_id] = max(outcome, found.get(trial_id, outcome))
