"""The inline backend: run packs in this process, one after another, for example under a debugger. No Ray here."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Generator
from pathlib import Path

from sweeplaw.orchestrator.schedule.dispatcher import DispatcherCallbacks
from sweeplaw.orchestrator.schedule.packs import Pack, Queue
from sweeplaw.orchestrator.worker import worker
from sweeplaw.orchestrator.worker.provenance import provenance
from sweeplaw.orchestrator.worker.stream import RowStream
from sweeplaw.trials.record import Provenance, Row

STEP_SECONDS = 0.2  # between two writes of rows
STEP_ROWS = 1000  # at most in a write


def run(
    queue: Queue,
    callbacks: DispatcherCallbacks,
    *,
    slots: int | None,
    patience: float,
    grace: float,
    ready: float,
    commit: str | None,
) -> None:
    """Run every pack in this process; ``slots``, ``patience`` and ``ready`` are without effect.

    A pack runs in a thread, so that an interrupt, which the main thread gets, is never mistaken for an exception of a
    trial. Once ``callbacks.ending()`` is true, no further pack starts and the running one has ``grace`` seconds to end.
    Raise what ``callbacks.sink`` raises, and what keeps a workload from being loaded.
    """
    origin = provenance("cpu", commit)
    while not callbacks.ending() and (pack := queue.take()):
        _run_pack(pack, callbacks, grace, origin)


def _run_pack(pack: Pack, callbacks: DispatcherCallbacks, grace: float, origin: Provenance) -> None:
    job = callbacks.make_job(pack)
    callbacks.placed(pack, socket.gethostname())

    def rows(folder: Path) -> Generator[Row, None, None]:
        return worker.run(job, worker.make_context(job, device="cpu", folder=folder, ending=callbacks.ending), origin)

    ending_since: float | None = None
    with contextlib.closing(RowStream(rows)) as stream:
        while not stream.ended:
            if arrived := stream.take(STEP_SECONDS, STEP_ROWS):
                callbacks.sink(arrived)
            if ending_since is None and callbacks.ending():
                ending_since = time.monotonic()
            if ending_since is not None and time.monotonic() - ending_since > grace:
                return
    if stream.cause is not None:
        raise stream.cause
