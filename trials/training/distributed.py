"""The processes that train one trial together, and their collective operations.

A process that ends for any reason closes its connections, and over gloo the others get `PeerLost` from the operation
they wait in at once. NCCL cannot detect that: there the others wait until their launcher ends them, and at most
COLLECTIVE_TIMEOUT, when NCCL's own watchdog ends the process. The same limit applies to a process that hangs.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from sweeplaw.trials.workload import PeerLost, World

RENDEZVOUS_TIMEOUT = dt.timedelta(minutes=10)  # from the first to the last: a node may read a corpus before it joins
COLLECTIVE_TIMEOUT = dt.timedelta(minutes=10)  # of one operation; a checkpoint is written between two

# Introduced by torch 2.13, which warns of the older name.
_all_gather: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """This process (``rank``) among the ``size`` processes that train together. A group of one communicates nothing.

    All operations raise PeerLost if another process of the group is gone.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum ``tensor`` over all processes, in place."""
        if self.size > 1:
            with detect_lost_peer():
                dist.all_reduce(tensor)
        return tensor

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Return for each flag whether it is true in any process."""
        if self.size == 1:
            return flags
        counts = self.sum(torch.tensor([float(flag) for flag in flags], device=self.device))
        return tuple(count > 0 for count in counts.tolist())

    def all_equal(self, number: int) -> bool:
        """Return whether all processes have the same number."""
        mean = self.sum(torch.tensor(float(number), dtype=torch.float64, device=self.device)).item() / self.size
        return not self.any(mean != number)[0]

    def all_gather(self, shard: Tensor) -> Tensor:
        """Stack every process's ``shard``, contiguous and of one shape, along a new first axis."""
        shards = shard.new_empty(self.size * shard.shape[0], *shard.shape[1:])
        with detect_lost_peer():
            _all_gather(shards, shard)
        return shards.view(self.size, *shard.shape)


ALONE = ProcessGroup()


class Rendezvous:
    """Meeting point of the processes of a world. Rank 0 serves it while this object exists."""

    def __init__(self, world: World, device: str) -> None:
        import torch.distributed.fsdp  # noqa: F401 - first imported inside a group, it would keep that group for good

        if world.address is None:
            raise ValueError(f"a world of {world.size} processes needs an address to meet at")
        host, _, port = world.address.rpartition(":")
        self._world, self._device, self._round = world, device, 0
        with detect_lost_peer():
            self._store = dist.TCPStore(  # type: ignore[attr-defined]
                host.strip("[]"), int(port), world.size, world.rank == 0, timeout=RENDEZVOUS_TIMEOUT
            )

    @contextlib.contextmanager
    def joined(self) -> Iterator[ProcessGroup]:
        """Join the process group, waiting for all ranks; may be re-entered if every rank does so.

        The connections close, which notifies the other processes, once nothing refers to sharded tensors. After an
        error its traceback still refers to them: call `release_group` again when the error is handled. Raise PeerLost.
        """
        self._round += 1
        store = dist.PrefixStore(f"round {self._round}", self._store)  # type: ignore[attr-defined]
        with detect_lost_peer():
            dist.init_process_group(
                "nccl" if self._device == "cuda" else "gloo",
                store=store,
                rank=self._world.rank,
                world_size=self._world.size,
                timeout=COLLECTIVE_TIMEOUT,
                device_id=torch.device("cuda", torch.cuda.current_device()) if self._device == "cuda" else None,
            )
        try:
            yield ProcessGroup(self._world.rank, self._world.size, self._device)
        finally:
            dist.destroy_process_group()
            release_group()

    def announce(self, event: str) -> None:
        """Leave ``event`` for the other processes of this round to read after they have lost this process."""
        self._store.set(f"{event} in round {self._round}", "1")

    def announced(self, event: str) -> bool:
        """Return whether a process has announced ``event`` in this round; False if rank 0, which stores it, is gone."""
        try:
            return bool(self._store.check([f"{event} in round {self._round}"]))
        except RuntimeError:
            return False


def release_group() -> None:
    """Free unused sharded tensors, which form reference cycles, and torch's cache of their layouts.

    The cache would otherwise hold the process group and its connections forever.
    """
    from torch.distributed.tensor.debug import _clear_sharding_prop_cache  # seconds of imports that few trials need

    _clear_sharding_prop_cache()
    gc.collect()


@contextlib.contextmanager
def detect_lost_peer() -> Iterator[None]:
    """Raise PeerLost if a communication inside fails because another process is gone.

    torch then raises a DistError or, over gloo, a RuntimeError that names gloo's source.
    """
    try:
        yield
    except PeerLost:  # from an inner operation
        raise
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise PeerLost(f"another process of this trial is gone: {str(error).splitlines()[0]}") from error
