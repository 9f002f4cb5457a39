"""Weights sharded by `fully_shard`: each process of a group holds its shard of every part and of its gradient.

ZeRO stage 3 (Rajbhandari et al. 2020, section 5) as implemented by `torch.distributed.fsdp`: a part is gathered when
the model reaches it, freed after its layer, gathered again for its gradient, which is then reduced into the shards; on
a GPU the next part is prefetched meanwhile. A part is one parameter, (members, values), cut along the values, which
are padded to a multiple of the number of processes: one gather fetches a whole block, members remain an axis of every
shard, and the optimizer is the same as without sharding.

Under autocast matrices are gathered in its number type, which halves the traffic and gives the values that autocast
would convert them to. Their gradients are summed in float32.
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

from sweeplaw.trials.errors import InputError
from sweeplaw.trials.training.distributed import ProcessGroup, detect_lost_peer
from sweeplaw.trials.training.parametrization.groups import ParameterGroup, ParameterLayout
from sweeplaw.trials.training.parametrization.layout import COMMON, HEAD, WeightSlot
from sweeplaw.trials.training.weights import Layer, draw, generators, views


@dataclass(frozen=True, slots=True)
class WeightSpan:
    """One part of the weights: its ``size`` values start at ``begin`` among all values of a member."""

    name: str
    slots: tuple[WeightSlot, ...]
    begin: int
    size: int

    def of(self, whole: Tensor) -> Tensor:
        """Return this part, (members, size), of (members, parameters)."""
        return whole[:, self.begin : self.begin + self.size]


def spans(slots: Sequence[WeightSlot]) -> tuple[WeightSpan, ...]:
    """Return the parts of the weights in the order of the slots."""
    found: list[WeightSpan] = []
    for name, group in itertools.groupby(slots, key=lambda slot: slot.part):
        own = tuple(group)
        begin = found[-1].begin + found[-1].size if found else 0
        found.append(WeightSpan(name, own, begin, sum(slot.numel for slot in own)))
    return tuple(found)


class ShardedWeights:
    """Weights of which this process holds the shards of its rank. ``autocast`` is its number type, if any."""

    def __init__(
        self,
        layout: ParameterLayout,
        seeds: Sequence[int],
        device: str,
        group: ProcessGroup,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.group, self.spans = group, spans(layout.slots)
        members, mesh = generators(seeds), init_device_mesh(device, (group.size,))
        self.parts: dict[str, _ShardedPart] = {}
        for span in self.spans:  # the common part contains the others as submodules and must be wrapped last
            common = span.name == COMMON
            values = _pad(
                draw(layout.part(span.name).values, members), group.size
            )  # no process ever holds the whole model
            part = _ShardedPart(span.slots, values, self.parts if common else {})
            _shard(part, mesh, reshard=span.name not in (COMMON, HEAD), autocast=None if common else autocast)
            self.parts[span.name] = part
        self._shards = [part.flat for part in self.parts.values()]
        self.values = [_local(shard) for shard in self._shards]
        self.groups = [
            _shard_group(layout.part(name), part.shape[1]) for name, part in zip(self.parts, self.values, strict=True)
        ]

    @property
    def gradients(self) -> list[Tensor]:
        return [_local(shard.grad) for shard in self._shards]

    def run(self, part: str, layer: Layer, *inputs: Tensor) -> Tensor:
        with detect_lost_peer():
            output: Tensor = self.parts[part](layer, *inputs)
        return output

    def backward(self, losses: Tensor, weight: float = 1.0, *, first: bool = True) -> None:
        if first:
            for shard in self._shards:
                shard.grad = None
        with detect_lost_peer():
            torch.autograd.backward(losses, torch.full_like(losses, weight))

    def norms(self) -> Tensor:
        squares = torch.stack([gradient.square().sum(dim=1) for gradient in self.gradients])
        return self.group.sum(squares.sum(dim=0)).sqrt_()

    def gather(self, held: Sequence[Tensor]) -> Tensor | None:
        found = []
        for span, shard in zip(self.spans, held, strict=True):  # one part at a time is whole on the device
            shards = self.group.all_gather(shard)  # (processes, members, values)
            if self.group.rank == 0:
                found.append(shards.transpose(0, 1).flatten(1)[:, : span.size].cpu())
        return torch.cat(found, dim=1) if found else None

    def load(self, held: Sequence[Tensor], whole: Tensor) -> None:
        for span, shard in zip(self.spans, held, strict=True):
            shard.copy_(_pad(span.of(whole), self.group.size).chunk(self.group.size, dim=1)[self.group.rank])
        for part in self.parts.values():  # an evaluation leaves some gathered
            assert isinstance(part, FSDPModule)
            part.reshard()


class _ShardedPart(nn.Module):
    """A padded part of the weights: one parameter, which `fully_shard` gathers around each call."""

    def __init__(self, slots: Sequence[WeightSlot], values: Tensor, others: Mapping[str, _ShardedPart]) -> None:
        super().__init__()
        self.slots, self.flat, self.others = slots, nn.Parameter(values), nn.ModuleDict(others)

    def forward(self, layer: Layer, *inputs: Tensor) -> Tensor:
        """Call ``layer`` with the tensors of this part and copies of ``inputs``.

        Layers overwrite their inputs, and autograd forbids that for tensors that `fully_shard`'s hooks have returned.
        """
        return layer(views(self.flat, self.slots), *(tensor.clone() for tensor in inputs))


def _shard_group(part: ParameterLayout, size: int) -> ParameterGroup:
    """Return how the ``size`` values of a part that a process holds are updated. Raise InputError if not all alike."""
    first, *others = part.groups
    if others or first.matrices:
        raise InputError(
            "a trial of several processes updates pieces of its tensors (accepted: optimizers of single values, and "
            "parametrizations in which all matrices of a block have one learning rate, or one process a trial)"
        )
    return ParameterGroup(size, first.decays, first.lr)


def _shard(part: _ShardedPart, mesh: DeviceMesh, *, reshard: bool, autocast: torch.dtype | None) -> None:
    """Shard a part over the processes of the mesh.

    ``reshard`` frees it after the forward pass; False suits the parts that the backward pass needs first.
    """
    policy = MixedPrecisionPolicy(
        param_dtype=autocast, reduce_dtype=autocast and part.flat.dtype, cast_forward_inputs=False
    )
    fully_shard(part, mesh=mesh, mp_policy=policy, reshard_after_forward=reshard, shard_placement_fn=lambda _: Shard(1))
    assert isinstance(part, FSDPModule)
    part.set_gradient_divide_factor(1.0)  # a sum: each process already weights its share of the batch
    part.set_force_sum_reduction_for_comms(True)


def _pad(values: Tensor, processes: int) -> Tensor:
    """Pad (members, size) with zeros to a multiple of the number of processes."""
    return nn.functional.pad(values, (0, -values.shape[1] % processes))


def _local(tensor: Tensor | None) -> Tensor:
    """Return this process's shard of a distributed tensor, sharing its memory."""
    assert isinstance(tensor, DTensor)
    with torch.no_grad():
        return tensor.to_local()
