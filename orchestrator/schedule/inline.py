"""The inline backend: run packs in this process, one after another, for example under a debugger. No Ray here."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import time
from pathlib import Path

from sweeplaw.orchestrator.schedule.dispatcher import DispatcherCallbacks
from sweeplaw.orchestrator.schedule.packs import Pack, Queue
from sweeplaw.orchestrator.worker import worker
from sweeplaw.orchestrator.worker.provenance import provenance
from sweeplaw.trials.record import Provenance


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

    Once ``callbacks.ending()`` is true, no further pack starts and the running one has ``grace`` seconds to end,
    checked at each of its rows. Raise what ``callbacks.sink`` raises, and what keeps a workload from being loaded.
    """
    origin = provenance("cpu", commit)
    while not callbacks.ending() and (pack := queue.take()):
        _run_pack(pack, callbacks, grace, origin)


def _run_pack(pack: Pack, callbacks: DispatcherCallbacks, grace: float, origin: Provenance) -> None:
    job = callbacks.make_job(pack)
    callbacks.placed(pack, socket.gethostname())
    ending_since: float | None = None
    with tempfile.TemporaryDirectory(prefix="sweeplaw-") as folder:
        context = worker.make_context(job, device="cpu", folder=Path(folder), ending=callbacks.ending)
        with contextlib.closing(worker.run(job, context, origin)) as rows:
            for row in rows:
                callbacks.sink([row])
                if ending_since is None and callbacks.ending():
                    ending_since = time.monotonic()
                if ending_since is not None and time.monotonic() - ending_since > grace:
                    return
