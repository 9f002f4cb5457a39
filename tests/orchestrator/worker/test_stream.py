"""The rows of a job, produced ahead of their reader by a bounded number, and its end, whatever the reader does."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from sweeplaw.orchestrator.worker import stream
from sweeplaw.orchestrator.worker.stream import RowStream


class Job:
    """A job of ``count`` rows that notes what it has produced, and its end."""

    def __init__(self, count: int) -> None:
        self.count, self.produced, self.closed = count, 0, False

    def __call__(self, folder: Path) -> Generator[Any, None, None]:
        try:
            for number in range(self.count):
                self.produced = number + 1
                yield ("trials", {"number": number})
        finally:
            self.closed = True


def settled(job: Job) -> int:
    """Return how many rows the job has produced once there have been no more for a while."""
    seen = -1
    while seen != job.produced:
        seen = job.produced
        time.sleep(0.2)
    return seen


def test_every_row_arrives_in_order_and_the_end_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "UNREAD_ROWS", 3)
    rows, found = RowStream(Job(20)), []
    while not rows.ended:
        found += rows.take(5.0, 4)
    assert [row["number"] for _, row in found] == list(range(20))  # type: ignore[misc]
    assert rows.error is None


@pytest.mark.heavy
def test_a_job_waits_for_its_reader_and_ends_at_once_when_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "UNREAD_ROWS", 3)
    job = Job(1000)
    rows = RowStream(job)
    assert settled(job) == 4  # three unread, and the one that waits
    assert len(rows.take(5.0, 2)) == 2
    assert settled(job) == 6
    began = time.monotonic()
    rows.close()
    assert time.monotonic() - began < stream.CLOSE_SECONDS / 2
    assert job.closed
    assert job.produced == 6
