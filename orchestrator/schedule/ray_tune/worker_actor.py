"""A slot: one Tune trial, which runs one pack after another for as long as packs of its size come.

A pack trains on in a thread of its own while Tune comes and goes for rows. Where a trial takes several processes, this
one is rank 0 and the others are actors in the same placement group.
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
from sweeplaw.trials.workload import Context, World

STEP_SECONDS = 1.0  # how often a worker hands over rows while a pack runs, where there are few workers
STEP_ROWS = 128  # and how many at most: below 100 KB, Ray hands them over past its object store, which may be full


@dataclass(frozen=True, slots=True)
class Settings:
    """What all packs of a slot have in common.

    ``idle_seconds`` is how long it waits for one between two looks, ``pace`` how often in seconds it hands over rows.
    """

    size: TrialResources
    patience: float
    commit: str | None
    idle_seconds: float
    pace: float = STEP_SECONDS


@dataclass(frozen=True)
class WorkerStart:
    """What a slot begins with."""

    settings: Settings
    job: Job

    def __deepcopy__(self, memo: Any) -> WorkerStart:
        return self


class WorkerActor(tune.Trainable):
    """A worker. ``parcel`` in its config holds its settings and its first job; `feed` brings the next."""

    def setup(self, config: dict[str, Any]) -> None:
        self.config = {}  # Tune sends it back with every answer: 180 KB where the first job is of a thousand trials
        self._settings: Settings = config["parcel"].settings
        self._ending = threading.Event()
        self._ranks = Ranks(self._settings.size)
        self._stream: RowStream | None = None
        self.feed(config["parcel"].job)

    def feed(self, job: Job) -> None:
        """Begin this job; the one before has ended."""
        self._heard = time.monotonic()
        address = self._ranks.begin(job)
        self._stream = RowStream(lambda folder: self._rows(job, folder, address))

    def wind(self) -> None:
        """Preemption is near: the running pack is told to write what it can resume from and to end."""
        self._ending.set()

    def _rows(self, job: Job, folder: Path, address: str | None) -> Generator[Row, None, None]:
        device = "cuda" if ray.get_gpu_ids() else "cpu"
        context = Context(
            device,
            folder,
            max(1, int(self._settings.size.cpus)),
            World(0, self._settings.size.processes, address),
            job.shrink,
            job.checkpoints,
            job.checkpoint_seconds,
            ending=self._ending.is_set,
        )
        return worker.run(job, context, provenance(device, self._settings.commit))

    def step(self) -> dict[str, Any]:
        if self._stream is None:  # between two packs: the driver may have none for it just now
            time.sleep(self._settings.idle_seconds)
            return WorkerReport().result()
        stream = self._stream
        rows = stream.take(self._settings.pace, STEP_ROWS)
        self._heard = time.monotonic() if rows else self._heard
        error, reason = stream.error, "worker died"
        if stream.ended:
            self._stream = None
            error = error or self._ranks.end()
        elif error := self._ranks.trouble():
            pass
        elif time.monotonic() - self._heard > self._settings.patience:
            error, reason = f"no row for {self._settings.patience:g} s", "hung"
        return WorkerReport(rows, stream.ended or error is not None, error, reason if error else None).result()

    def cleanup(self) -> None:
        if self._stream:
            self._stream.close()


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What a slot says once a second: rows, whether its pack has ended, and why when not by itself.

    After an ``error`` the slot is not fit for another pack.
    """

    rows: Sequence[Row] = ()
    ended: bool = False
    error: str | None = None
    reason: str | None = None

    def result(self) -> dict[str, Any]:
        """As a Tune result, which Tune flattens and keeps: one object, which the driver takes out again."""
        return {"answer": self}
