"""Outcomes that other launches have recorded since the last look: only what is new is read."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from sweeplaw.trials.store_format.journal import decode
from sweeplaw.trials.store_format.layout import Location, catalog, segment_of

Outcome = tuple[int, str]  # attempt, state


class StoreTail:
    """Remembers what it has read of a store: names of parts, and bytes of journals."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._parts: set[str] = set()
        self._bytes: dict[str, int] = {}

    def skip(self, parts: Iterable[str]) -> None:
        """These parts are known already."""
        self._parts.update(parts)

    def fresh(self, own_launch: str) -> dict[str, Outcome]:
        """trial_id -> latest outcome, of rows that other launches recorded since the last call."""
        found: dict[str, Outcome] = {}
        while not self._look(own_launch, found):
            pass
        return found

    def _look(self, own_launch: str, found: dict[str, Outcome]) -> bool:
        """False when a journal was sealed between the listing and the reading: its part has to be listed."""
        counting = catalog(self._location)
        try:
            for name in counting.journal:
                if not _of(segment_of(name), own_launch):
                    _add(found, self._tail(name))
        except FileNotFoundError:
            return False
        for name in {*counting.parts, *counting.merged} - self._parts:
            self._parts.add(name)
            if not _of(name, own_launch):
                _add(found, self._part(name))
        return True

    def _tail(self, name: str) -> list[tuple[str, Outcome]]:
        start = self._bytes.get(name, 0)
        with self._location.filesystem.open_input_file(self._location.path(f"journal/{name}.jsonl")) as file:
            file.seek(start)
            data = bytes(file.read())
        whole = data[: data.rfind(b"\n") + 1]
        self._bytes[name] = start + len(whole)
        return [(row["trial_id"], (row.get("attempt", 1), row["state"])) for row in decode(whole).trials]

    def _part(self, name: str) -> list[tuple[str, Outcome]]:
        path = self._location.path(f"trials/{name}.parquet")
        try:
            read = pq.read_table(path, columns=["trial_id", "attempt", "state"], filesystem=self._location.filesystem)
        except (pa.ArrowInvalid, OSError):  # damaged: `Store.problems` names it, and its trials count as not run
            return []
        ids, attempts, states = (column.to_pylist() for column in read.columns)
        return list(zip(ids, zip(attempts, states, strict=True), strict=True))


def _of(segment: str, launch_id: str) -> bool:
    return segment.rpartition("-")[0] == launch_id


def _add(found: dict[str, Outcome], rows: Iterable[tuple[str, Outcome]]) -> None:
    for trial_id, outcome in rows:
        found[trial_id] = max(outcome, found.get(trial_id, outcome))
