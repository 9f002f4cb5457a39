"""Ranks 1 and up of a trial of several processes: actors in the placement group of its slot."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError
from ray.util import get_current_placement_group, get_node_ip_address
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from sweeplaw.clusters.connect.private import scratch_folder
from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.worker import worker
from sweeplaw.orchestrator.worker.worker import Job
from sweeplaw.trials.errors import describe
from sweeplaw.trials.workload import World

END_SECONDS = 60.0  # for the other ranks to end after rank 0


class Ranks:
    """Ranks 1 and up of a slot of this size; they live as long as the slot, whose process owns them."""

    def __init__(self, size: TrialResources) -> None:
        self._size = size
        self._actors: list[Any] = []
        self._running: list[Any] = []
        group: Any = get_current_placement_group()
        for rank in range(1, size.processes):
            place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
            actor = ray.remote(_Rank).options(num_cpus=size.cpus, num_gpus=size.gpus, scheduling_strategy=place)
            self._actors.append(actor.remote(rank, size))

    def begin(self, job: Job) -> str | None:
        """Start this job in all ranks and return the address for rank 0 to listen on; None without further ranks."""
        if not self._actors:
            return None
        host = get_node_ip_address()
        with socket.socket() as listener:
            listener.bind((host, 0))
            address = f"{host}:{listener.getsockname()[1]}"
        self._running = [actor.train.remote(job, address) for actor in self._actors]
        return address

    def failure(self) -> str | None:
        """Return why a rank ended before rank 0, which would wait for it in vain; None while all run."""
        ended, self._running = ray.wait(self._running, timeout=0) if self._running else ([], [])
        return next((message for future in ended if (message := _error_message(future))), None)

    def end(self) -> str | None:
        """Wait for all ranks to end with the job; return why one did not, or None."""
        if self._running:
            ray.wait(self._running, num_returns=len(self._running), timeout=END_SECONDS)
        message = self.failure()
        late = f"a process of the trial still ran {END_SECONDS:g} s after its end" if self._running else None
        return message or late


def _error_message(future: Any) -> str | None:
    try:
        ray.get(future)
    except Exception as error:  # noqa: BLE001 - any error is reported
        cause = error.cause if isinstance(error, RayTaskError) else error
        return f"a process of the trial ended early: {describe(cause)}"
    return None


class _Rank:
    """One of the further ranks."""

    def __init__(self, rank: int, size: TrialResources) -> None:
        self._rank, self._size = rank, size

    def train(self, job: Job, address: str) -> None:
        """Train the trials of this job with the other ranks; rank 0 records them."""
        place = scratch_folder()
        with tempfile.TemporaryDirectory(prefix="sweeplaw-", dir=place, ignore_cleanup_errors=True) as folder:
            context = worker.make_context(
                job,
                device="cuda" if ray.get_gpu_ids() else "cpu",
                folder=Path(folder),
                threads=max(1, int(self._size.cpus)),
                world=World(self._rank, self._size.processes, address),
            )
            worker.run_as_peer(job, context)
