"""Weights spread over the processes of a group by `fully_shard`: each holds its piece of every part, and its gradient.

Stage 3 of ZeRO (Rajbhandari et al. 2020, section 5) as `torch.distributed.fsdp` has it: a part is gathered when the
model comes to it, let go when its layer is done, gathered again for its gradient, and that is summed into the pieces;
on a GPU the next part is under way meanwhile. A part is one parameter, (members, values), cut along the values, which
are padded to a multiple of the processes: so one gather brings a whole block, members stay an axis of every piece, and
the optimizer is the one every other trial runs on.

Under autocast matrices are gathered in its number type, half the traffic: the values autocast would make of them. Their
gradients are summed in float32.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard

from sweeplaw.trials.training.distributed import ProcessGroup, exchanging
from sweeplaw.trials.training.weights import COMMON, HEAD, Layer, WeightSlot, drawn, generators, views


@dataclass(frozen=True, slots=True)
class Span:
    """One part of the weights: where its ``size`` values begin among all of a member."""

    name: str
    slots: tuple[WeightSlot, ...]
    begin: int
    size: int

    def of(self, whole: Tensor) -> Tensor:
        """This part, (members, size), of (members, parameters)."""
        return whole[:, self.begin : self.begin + self.size]


def spans(slots: Sequence[WeightSlot]) -> tuple[Span, ...]:
    """The parts of the weights in the order of the slots."""
    found: list[Span] = []
    for name, members in itertools.groupby(slots, key=lambda slot: slot.part):
        mine = tuple(members)
        begin = found[-1].begin + found[-1].size if found else 0
        found.append(Span(name, mine, begin, sum(slot.numel for slot in mine)))
    return tuple(found)


class Sharded:
    """The weights of which this process holds the pieces of its rank. ``autocast`` is its number type, if any."""

    def __init__(
        self,
        slots: Sequence[WeightSlot],
        seeds: Sequence[int],
        device: str,
        group: ProcessGroup,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.group, self.spans = group, spans(slots)
        members, mesh = generators(seeds), init_device_mesh(device, (group.size,))
        self.parts: dict[str, _ShardedPart] = {}
        for span in self.spans:  # the common part, which holds the others, is the last, as it must be
            common = span.name == COMMON
            values = _padded(drawn(span.slots, members), group.size)  # all of the model is never in one process
            part = _ShardedPart(span.slots, values, self.parts if common else {})
            _shard(part, mesh, let_go=span.name not in (COMMON, HEAD), autocast=None if common else autocast)
            self.parts[span.name] = part
        self._pieces = [part.flat for part in self.parts.values()]
        self.values = [_local(piece) for piece in self._pieces]
        self.decays = [name != COMMON for name in self.parts]

    @property
    def gradients(self) -> list[Tensor]:
        return [_local(piece.grad) for piece in self._pieces]

    def run(self, part: str, layer: Layer, *inputs: Tensor) -> Tensor:
        with exchanging():
            output: Tensor = self.parts[part](layer, *inputs)
        return output

    def backward(self, losses: Tensor, weight: float = 1.0, *, first: bool = True) -> None:
        if first:
            for piece in self._pieces:
                piece.grad = None
        with exchanging():
            torch.autograd.backward(losses, torch.full_like(losses, weight))

    def norms(self) -> Tensor:
        squares = torch.stack([gradient.square().sum(dim=1) for gradient in self.gradients])
        return self.group.total(squares.sum(dim=0)).sqrt_()

    def whole(self, held: Sequence[Tensor]) -> Tensor | None:
        found = []
        for span, piece in zip(self.spans, held, strict=True):  # one part at a time is whole on the device
            pieces = self.group.gathered(piece)  # (processes, members, values)
            if self.group.rank == 0:
                found.append(pieces.transpose(0, 1).flatten(1)[:, : span.size].cpu())
        return torch.cat(found, dim=1) if found else None

    def take(self, held: Sequence[Tensor], whole: Tensor) -> None:
        for span, piece in zip(self.spans, held, strict=True):
            piece.copy_(_padded(span.of(whole), self.group.size).chunk(self.group.size, dim=1)[self.group.rank])
        for part in self.parts.values():  # an evaluation leaves some gathered
            assert isinstance(part, FSDPModule)
            part.reshard()


class _ShardedPart(nn.Module):
    """A part of the weights, padded: one parameter, which `fully_shard` gathers around each call."""

    def __init__(self, slots: Sequence[WeightSlot], values: Tensor, others: Mapping[str, _ShardedPart]) -> None:
        super().__init__()
        self.slots, self.flat, self.others = slots, nn.Parameter(values), nn.ModuleDict(others)

    def forward(self, layer: Layer, *inputs: Tensor) -> Tensor:
        """``layer`` of the tensors of this part and ``inputs``, which are copied: layers add to what they are given,
        and autograd lets nobody write into what `fully_shard`'s hooks have passed on.
        """
        return layer(views(self.flat, self.slots), *(tensor.clone() for tensor in inputs))


def _shard(part: _ShardedPart, mesh: DeviceMesh, *, let_go: bool, autocast: torch.dtype | None) -> None:
    """Cut a part over the processes of the mesh. What is needed first in the backward pass is not ``let_go`` before."""
    policy = MixedPrecisionPolicy(
        param_dtype=autocast, reduce_dtype=autocast and part.flat.dtype, cast_forward_inputs=False
    )
    fully_shard(part, mesh=mesh, mp_policy=policy, reshard_after_forward=let_go, shard_placement_fn=lambda _: Shard(1))
    assert isinstance(part, FSDPModule)
    part.set_gradient_divide_factor(1.0)  # a sum: every process weighs its share of the batch itself
    part.set_force_sum_reduction_for_comms(True)


def _padded(values: Tensor, processes: int) -> Tensor:
    """(members, size) with zeros up to a multiple of the processes."""
    return nn.functional.pad(values, (0, -values.shape[1] % processes))


def _local(tensor: Tensor | None) -> Tensor:
    """What this process holds of a tensor that is spread, sharing its memory."""
    assert isinstance(tensor, DTensor)
    with torch.no_grad():
        return tensor.to_local()
