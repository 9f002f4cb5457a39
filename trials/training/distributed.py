"""The processes that train one trial together, and the few things they tell each other.

A process that ends, however it ends, closes its connections, and over gloo the others get `PeerLost` out of what they
wait for at once. NCCL cannot tell: there the others wait until whoever started them ends them, and at the latest
PATIENCE, when NCCL's own watchdog ends the process. The same patience holds for a process that hangs.
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

MEETING = dt.timedelta(minutes=10)  # how long the first waits for the last: a node may read a corpus before it comes
PATIENCE = dt.timedelta(minutes=10)  # how long one exchange may take; a checkpoint is written between two

# Named so since torch 2.13, which warns of the names before.
_all_gather: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """This process, number ``rank`` of the ``size`` that train together. Alone, every exchange is free.

    All exchanges raise PeerLost when another process of the group is gone.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    def total(self, tensor: Tensor) -> Tensor:
        """``tensor`` summed over all processes, in place."""
        if self.size > 1:
            with exchanging():
                dist.all_reduce(tensor)
        return tensor

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Of each flag whether it is true in any process."""
        if self.size == 1:
            return flags
        counts = self.total(torch.tensor([float(flag) for flag in flags], device=self.device))
        return tuple(count > 0 for count in counts.tolist())

    def agreed(self, number: int) -> bool:
        """Whether all processes have this same number."""
        mean = self.total(torch.tensor(float(number), dtype=torch.float64, device=self.device)).item() / self.size
        return not self.any(mean != number)[0]

    def gathered(self, piece: Tensor) -> Tensor:
        """Every process's ``piece``, contiguous and of one shape, along a new first axis."""
        pieces = piece.new_empty(self.size * piece.shape[0], *piece.shape[1:])
        with exchanging():
            _all_gather(pieces, piece)
        return pieces.view(self.size, *piece.shape)


ALONE = ProcessGroup()


class Meeting:
    """Where the processes of a world find each other; rank 0 keeps the place for as long as this is open."""

    def __init__(self, world: World, device: str) -> None:
        import torch.distributed.fsdp  # noqa: F401 - imported within a group, it keeps that group for good

        if world.address is None:
            raise ValueError(f"a world of {world.size} processes needs an address to meet at")
        host, _, port = world.address.rpartition(":")
        self._world, self._device, self._round = world, device, 0
        with exchanging():
            self._store = dist.TCPStore(host.strip("[]"), int(port), world.size, world.rank == 0, timeout=MEETING)

    @contextlib.contextmanager
    def joined(self) -> Iterator[ProcessGroup]:
        """The group, once all have come. Leaving it, and going through it again, works as often as all do it.

        Its connections close, and so tell the others, when nothing is left of what was spread over it. After an error
        its traceback still holds that: whoever is done with the error must `let_go` again. Raises PeerLost.
        """
        self._round += 1
        store = dist.PrefixStore(f"round {self._round}", self._store)
        with exchanging():
            dist.init_process_group(
                "nccl" if self._device == "cuda" else "gloo",
                store=store,
                rank=self._world.rank,
                world_size=self._world.size,
                timeout=PATIENCE,
                device_id=torch.device("cuda", torch.cuda.current_device()) if self._device == "cuda" else None,
            )
        try:
            yield ProcessGroup(self._world.rank, self._world.size, self._device)
        finally:
            dist.destroy_process_group()
            let_go()

    def tell(self, word: str) -> None:
        """Leave ``word`` for the others of this round to find after they have lost this process."""
        self._store.set(f"{word} in round {self._round}", "1")

    def told(self, word: str) -> bool:
        """Whether any process has left ``word`` in this round; False when rank 0, which keeps it, is gone."""
        try:
            return bool(self._store.check([f"{word} in round {self._round}"]))
        except RuntimeError:
            return False


def let_go() -> None:
    """Free what was spread over processes and is out of use: it lies in cycles, and torch remembers its layouts for
    good, which hold the group and its connections.
    """
    from torch.distributed.tensor.debug import _clear_sharding_prop_cache  # seconds of imports that few trials need

    _clear_sharding_prop_cache()
    gc.collect()


@contextlib.contextmanager
def exchanging() -> Iterator[None]:
    """Around whatever exchanges something with the other processes: raises PeerLost when one of them is gone.

    What torch raises then is a DistError or, over gloo, a RuntimeError that names gloo's source.
    """
    try:
        yield
    except PeerLost:  # an exchange within another has told it
        raise
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise PeerLost(f"another process of this trial is gone: {str(error).splitlines()[0]}") from error
