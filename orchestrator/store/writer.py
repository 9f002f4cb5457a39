"""Writer of a store: append rows to a journal and seal it into a Parquet part when it has grown.

``write`` returns when its rows are on disk. A journal holds at most a few megabytes, and its rows are buffered in
columns until they are sealed, so a launcher's memory does not grow with the number of recorded rows.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import pyarrow as pa

from sweeplaw.orchestrator.store import atomic, journal
from sweeplaw.orchestrator.store.buffer import SegmentBuffer
from sweeplaw.orchestrator.store.journal import Journal
from sweeplaw.trials.record import CURVE_COLUMNS, TRIAL_COLUMNS, CurvePoint, TrialRecord
from sweeplaw.trials.store_format import columns, confined
from sweeplaw.trials.store_format.journal import encode, read
from sweeplaw.trials.store_format.layout import catalog
from sweeplaw.trials.store_format.location import Location

SEGMENT_BYTES = 8 * 2**20  # about 5,000 trials of four points; sealing it takes a tenth of a second and 15 MB
SMALL_PARTS = 64  # of about 7,000 records; this many start a compaction
SEGMENT_LINES = 2_000  # on an object store a line is an object, and a reader opens each
_TRIALS, _CURVES = columns.types_of(TRIAL_COLUMNS), columns.types_of(CURVE_COLUMNS)


class StoreWriteError(RuntimeError):
    """The rows of a write were not recorded (a full disk, a lost connection). Earlier rows are unaffected.

    The write may be retried.
    """


class Writer:
    """The only writer of its segments. Use it as a context manager, from one thread."""

    def __init__(self, location: Location, launch_id: str, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._location = location
        self._launch_id = launch_id
        self._segment_bytes = segment_bytes
        self._journal: Journal | None = None
        self._trials, self._curves = SegmentBuffer(TRIAL_COLUMNS), SegmentBuffer(CURVE_COLUMNS)
        self._lines = 0
        self._bytes = 0
        self._compaction: subprocess.Popen[bytes] | None = None

    def write(self, records: Sequence[TrialRecord], curves: Sequence[CurvePoint] = ()) -> None:
        """Record these rows durably, all or none. Raise StoreWriteError.

        A value that does not fit its column is recorded as null and reported in the row's message.
        """
        self.write_rows([record.row() for record in records], [point.row() for point in curves])

    def write_rows(self, trials: Sequence[Mapping[str, Any]], curves: Sequence[Mapping[str, Any]] = ()) -> None:
        """`write` for flat rows, such as imported ones."""
        if not trials and not curves:
            return
        known = [_fitted(row) for row in trials]
        points = [columns.fitted(row, _CURVES)[0] for row in curves]
        self._append(encode(known, points, self._lines + 1))
        self._trials.add(known)
        self._curves.add(points)
        if self._bytes >= self._segment_bytes or self._lines >= SEGMENT_LINES:
            self._seal()
            self._compact_in_background()

    def close(self) -> None:
        """Seal the open segment. If that fails (a full disk) the journal stays, and readers read it."""
        self._seal()
        if self._compaction is not None:
            self._compaction.wait()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, line: bytes) -> None:
        try:
            if self._journal is None:
                self._journal = journal.new(self._location, self._launch_id)
            self._journal.append(line)
        except OSError as error:
            self._seal()  # never append after a failed write, which may have left bytes in the file
            raise StoreWriteError(
                f"{self._location.uri}: not recorded ({error.strerror or error}); recorded results are safe"
            ) from error
        self._lines += 1
        self._bytes += len(line)

    def _seal(self) -> None:
        if self._journal is None:
            return
        segment, trials, curves = self._journal, self._trials, self._curves
        self._trials, self._curves = SegmentBuffer(TRIAL_COLUMNS), SegmentBuffer(CURVE_COLUMNS)
        self._journal, self._lines, self._bytes = None, 0, 0
        try:
            if len(trials) or len(curves):
                seal(self._location, segment.segment, trials.table(), curves.table())
                pa.default_memory_pool().release_unused()  # else 15 MB stay allocated after a part of 2 MB
        except OSError:
            segment.close()
        else:
            segment.remove()

    def _compact_in_background(self) -> None:
        """Compact in a separate process: merging takes a gigabyte, and its failure must not affect the launcher."""
        if self._compaction is not None and self._compaction.poll() is None:
            return
        if len(catalog(self._location).parts) >= SMALL_PARTS:
            command = [sys.executable, "-m", "sweeplaw.orchestrator.store.compaction", self._location.uri]
            self._compaction = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )


def seal(location: Location, segment: str, trials: pa.Table, curves: pa.Table) -> None:
    """Write the part of this segment: curves first, because the trials file makes both count. Raise OSError."""
    if curves.num_rows:
        atomic.publish_table(location, f"curves/{segment}.parquet", curves)
    atomic.publish_table(location, f"trials/{segment}.parquet", trials)
    count(location, segment, trials=trials.num_rows, curves=curves.num_rows)


def count(location: Location, part: str, **rows: int) -> None:
    """Record the number of rows by folder of the files of a part, so that a missing one is noticed. Raise OSError.

    Only trials may be empty: other files without rows are not written.
    """
    atomic.publish_json(location, f"sealed/{part}.json", {name: n for name, n in rows.items() if n or name == "trials"})


def recover(location: Location) -> list[str]:
    """Seal the journals of dead writers on a local file system; return a sentence per torn or damaged journal.

    A locked file belongs to a live writer and is skipped; so is one with damaged or missing lines, for a person to
    inspect.
    """
    if not location.local:
        return []
    return [problem for name in location.names("journal", ".jsonl") for problem in _recover(location, name)]


def _recover(location: Location, segment: str) -> list[str]:
    name = f"journal/{segment}.jsonl"
    try:
        descriptor = confined.open_file(location.root, name, os.O_RDWR)
    except (FileNotFoundError, PermissionError):
        return []
    try:
        if not journal.lock(descriptor, wait=False) or not journal.still_there(descriptor, location, name):
            return []
        rows = read(location, segment)
        if rows.damaged or rows.missing:
            return [f"{name} {rows.fault}"]
        files = catalog(location)
        if segment in files.journal and (rows.trials or rows.curves):
            trials, curves = columns.table(rows.trials, TRIAL_COLUMNS), columns.table(rows.curves, CURVE_COLUMNS)
            seal(location, segment, trials, curves)
        elif segment in files.parts:  # sealed by a writer that died before it removed the journal
            count(location, segment, trials=len(rows.trials), curves=len(rows.curves))
        journal.discard(location, segment)
        torn = [f"{name}: a torn last line of {rows.torn} bytes was dropped"] if rows.torn else []
        return [*torn, *([f"{name} {rows.fault}"] if rows.fault else [])]
    finally:
        os.close(descriptor)


def _fitted(row: Mapping[str, Any]) -> dict[str, Any]:
    kept, faults = columns.fitted(row, _TRIALS)
    if faults:
        kept["message"] = "; ".join(filter(None, [kept.get("message"), *faults]))
    return kept
