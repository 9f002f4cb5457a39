"""The further processes of a trial that several train together: actors in the placement group of its slot."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path
from typing import Any

import ray
from ray.util import get_current_placement_group, get_node_ip_address
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.worker import worker
from sweeplaw.orchestrator.worker.worker import Job
from sweeplaw.trials.workload import Context, World

END_SECONDS = 60.0  # for the others to end after rank 0 has


class Ranks:
    """Ranks 1 and up of a slot of this size, which live as long as the slot: their owner is its process."""

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
        """Start this job in all of them; where rank 0 is to listen for them. None without any."""
        if not self._actors:
            return None
        host = get_node_ip_address()
        with socket.socket() as probe:
            probe.bind((host, 0))
            address = f"{host}:{probe.getsockname()[1]}"
        self._running = [actor.train.remote(job, address) for actor in self._actors]
        return address

    def trouble(self) -> str | None:
        """Why one of them has ended before rank 0, which would wait for it in vain; None while all run."""
        ended, self._running = ray.wait(self._running, timeout=0) if self._running else ([], [])
        return next((said for future in ended if (said := _failure(future))), None)

    def end(self) -> str | None:
        """Wait until all have ended with the job; why one of them did not."""
        if self._running:
            ray.wait(self._running, num_returns=len(self._running), timeout=END_SECONDS)
        said = self.trouble()
        return said or (f"a process of the trial still ran {END_SECONDS:g} s after its end" if self._running else None)


def _failure(future: Any) -> str | None:
    try:
        ray.get(future)
    except Exception as error:  # noqa: BLE001 - whatever ended it is told
        return f"a process of the trial ended early: {type(error).__name__}: {str(error).strip().splitlines()[-1]}"
    return None


class _Rank:
    """One of the further processes."""

    def __init__(self, rank: int, size: TrialResources) -> None:
        self._rank, self._size = rank, size

    def train(self, job: Job, address: str) -> None:
        """Take part in the trials of this job; rank 0 records them."""
        with tempfile.TemporaryDirectory(prefix="sweeplaw-") as folder:
            context = Context(
                "cuda" if ray.get_gpu_ids() else "cpu",
                Path(folder),
                max(1, int(self._size.cpus)),
                World(self._rank, self._size.processes, address),
                job.shrink,
                job.checkpoints,
                job.checkpoint_seconds,
            )
            worker.take_part(job, context)
