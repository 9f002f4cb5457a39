"""The process of a worker slot: one Tune trial, which runs packs of its size one after another.

A pack trains in a thread of its own while Tune fetches rows. If a trial takes several processes, this one is rank 0 and
the others are actors in the same placement group.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune

from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.schedule.ray_tune.ranks import Ranks
from sweeplaw.orchestrator.worker import worker
from sweeplaw.orchestrator.worker.provenance import provenance
from sweeplaw.orchestrator.worker.stream import RowStream
from sweeplaw.orchestrator.worker.worker import Job
from sweeplaw.trials.record import Row
from sweeplaw.trials.workload import World

STEP_SECONDS = 1.0  # between two reports while a pack runs, if there are few workers
STEP_ROWS = 128  # at most in a report: below 100 KB, it bypasses Ray's object store, which may be full


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Settings for all packs of a slot.

    ``patience`` is the longest time without a row, ``idle_seconds`` the time between two polls for a pack and ``pace``
    the time between two reports, in seconds; ``commit`` is the revision of the code.
    """

    size: TrialResources
    patience: float
    commit: str | None
    idle_seconds: float
    pace: float = STEP_SECONDS


@dataclass(frozen=True)
class WorkerStart:
    """The first input of a worker."""

    settings: WorkerSettings
    job: Job

    def __deepcopy__(self, memo: Any) -> WorkerStart:
        return self


class WorkerActor(tune.Trainable):
    """A worker. Its config holds a `WorkerStart` as ``worker``; `feed` brings further jobs; steps run them."""

    def setup(self, config: dict[str, Any]) -> None:
        self.config = {}  # Tune returns it with every report: 180 KB if the first job has a thousand trials
        self._settings: WorkerSettings = config["worker"].settings
        self._ending = threading.Event()
        self._ranks = Ranks(self._settings.size)
        self._stream: RowStream | None = None
        self._next: Job | None = config["worker"].job

    def feed(self, job: Job) -> None:
        """Run this job from the next step on; the previous one has ended."""
        self._next = job

    def drain(self) -> None:
        """Let the running pack write a checkpoint and end."""
        self._ending.set()

    def _rows(self, job: Job, folder: Path, address: str | None) -> Generator[Row, None, None]:
        device = "cuda" if ray.get_gpu_ids() else "cpu"
        context = worker.make_context(
            job,
            device=device,
            folder=folder,
            threads=max(1, int(self._settings.size.cpus)),
            world=World(0, self._settings.size.processes, address),
            ending=self._ending.is_set,
        )
        return worker.run(job, context, provenance(device, self._settings.commit), own_process=True)

    def _begin(self, job: Job) -> RowStream:
        """Start a job. Only a step does: a process that dies before the driver knows of it has then run nothing."""
        self._last_row = time.monotonic()
        address = self._ranks.begin(job)
        return RowStream(lambda folder: self._rows(job, folder, address))

    def step(self) -> dict[str, Any]:
        if self._next is not None:
            self._stream, self._next = self._begin(self._next), None
        if self._stream is None:  # between two packs: the driver may have none now
            time.sleep(self._settings.idle_seconds)
            return WorkerReport().result()
        stream = self._stream
        rows = stream.take(self._settings.pace, STEP_ROWS)
        self._last_row = time.monotonic() if rows else self._last_row
        error, reason = stream.error, "worker died"
        if stream.ended:
            self._stream = None
            error = error or self._ranks.end()
        elif error := self._ranks.failure():
            pass
        elif time.monotonic() - self._last_row > self._settings.patience:
            error, reason = f"no row for {self._settings.patience:g} s (patience_seconds)", "hung"
        return WorkerReport(rows, stream.ended or error is not None, error, reason if error else None).result()

    def cleanup(self) -> None:
        if self._stream:
            self._stream.close()


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """A worker's report, about once a second: new rows, whether its pack has ended, and the error if it failed.

    After an ``error`` the slot takes no further pack.
    """

    rows: Sequence[Row] = ()
    ended: bool = False
    error: str | None = None
    reason: str | None = None

    def result(self) -> dict[str, Any]:
        """Return it as a Tune result, which Tune flattens and keeps: one object, which the driver takes out again."""
        return {"report": self}
