"""Weights spread over the processes of a group: each holds its piece of every part, with its gradient and moments.

A forward pass gathers a part when the model asks for it and lets it go with the next one; the backward pass gathers it
again and sums its gradient straight into the pieces. That is stage 3 of ZeRO (Rajbhandari et al. 2020, section 5) and
what `torch.distributed.fsdp.fully_shard` does to a module. It is written out here because our weights are one flat
buffer with an axis of members: `fully_shard` cuts tensors along their first axis, which is the members', demands other
axes to divide evenly, and would bring modules and an optimizer of its own beside the ones every other trial runs on. So
a spread trial differs from any other in this file alone.

Matrices under autocast are gathered in its number type, half the traffic: the values autocast would make of them. Their
gradients are summed in float32. Computation waits for each exchange: nothing is gathered ahead of its use.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trials.distributed import Group
from trials.weights import COMMON, Slot, initial


@dataclass(frozen=True, slots=True)
class Span:
    """One part of the weights: where its ``size`` values begin in the whole buffer, and its piece in this one's."""

    name: str
    slots: tuple[Slot, ...]
    begin: int
    size: int
    held: slice

    @property
    def piece(self) -> int:
        """Values of each process's piece; the last ones of the last are padding."""
        return self.held.stop - self.held.start


def spans(slots: Sequence[Slot], processes: int) -> tuple[Span, ...]:
    """The parts of the weights in the order of the buffer."""
    found: list[Span] = []
    for name, members in itertools.groupby(slots, key=lambda slot: slot.part):
        mine = tuple(members)
        size = sum(slot.numel for slot in mine)
        begin, held = (found[-1].begin + found[-1].size, found[-1].held.stop) if found else (0, 0)
        found.append(Span(name, mine, begin, size, slice(held, held + -(-size // processes))))
    return tuple(found)


class Sharded:
    """The weights of which this process holds the pieces of its rank."""

    def __init__(self, slots: Sequence[Slot], seeds: Sequence[int], device: str, group: Group) -> None:
        self.group, self.device = group, device
        self.spans = {span.name: span for span in spans(slots, group.size)}
        self.decayed = sum(span.piece for span in self.spans.values() if span.name != COMMON)
        self.flat = torch.stack([self._mine(initial(slots, seed)) for seed in seeds]).to(device)
        self.gradient = torch.zeros_like(self.flat)
        self._leaves = {name: self.flat[:, span.held] for name, span in self.spans.items()}
        for name, span in self.spans.items():
            _collect(self._leaves[name], self.gradient[:, span.held])
        self._last: _Gathered | None = None

    def part(self, name: str) -> Mapping[str, Tensor]:
        span = self.spans[name]
        autocast = name != COMMON and torch.is_autocast_enabled(self.device)
        dtype = torch.get_autocast_dtype(self.device) if autocast else self.flat.dtype
        tensors = _Gather.apply(self._leaves[name], self, span, dtype)
        return {slot.name: tensor for slot, tensor in zip(span.slots, tensors, strict=True)}

    def saving(self) -> contextlib.AbstractContextManager[object]:
        return torch.autograd.graph.saved_tensors_hooks(self._let_go, self._again)

    def backward(self, losses: Tensor, weight: float = 1.0, *, first: bool = True) -> None:
        if first:
            self.gradient.zero_()
        torch.autograd.backward(losses, torch.full_like(losses, weight))

    def norms(self) -> Tensor:
        return self.group.total(self.gradient.square().sum(dim=1)).sqrt_()

    def whole(self, held: Tensor) -> Tensor | None:
        size = sum(span.size for span in self.spans.values())
        whole = held.new_empty(len(held), size, device="cpu") if self.group.rank == 0 else None
        for span in self.spans.values():  # one part at a time is whole on the device
            part = self._join(held[:, span.held], span)
            if whole is not None:
                whole[:, span.begin : span.begin + span.size] = part
        return whole

    def take(self, held: Tensor, whole: Tensor) -> None:
        held.copy_(torch.stack([self._mine(row) for row in whole]))

    def gathered(self, span: Span, dtype: torch.dtype) -> Tensor:
        """All values of a part, (members, size), which stay until another part is gathered."""
        self._last = None  # its memory is free for this one
        values = self._join(self.flat.detach()[:, span.held].to(dtype), span)
        self._last = _Gathered(span, values)
        return values

    def summed(self, span: Span, gradients: Sequence[Tensor]) -> Tensor:
        """This process's piece, (members, piece), of the sum over processes of a part's gradient."""
        members, processes = len(self.flat), self.group.size
        buffer = self.flat.new_empty(members, processes * span.piece)
        buffer[:, span.size :] = 0
        places = buffer[:, : span.size].split([slot.numel for slot in span.slots], dim=1)
        for gradient, place in zip(gradients, places, strict=True):
            place.copy_(gradient.flatten(1))
        by_process = buffer.view(members, processes, span.piece).transpose(0, 1).contiguous()
        return self.group.scattered(by_process)

    def _join(self, piece: Tensor, span: Span) -> Tensor:
        pieces = self.group.gathered(piece.contiguous())  # (processes, members, piece)
        return pieces.transpose(0, 1).reshape(piece.shape[0], -1)[:, : span.size]

    def _mine(self, whole: Tensor) -> Tensor:
        """The pieces of this process among all values of one member."""
        parts = []
        for span in self.spans.values():
            begin = span.begin + self.group.rank * span.piece
            values = whole[begin : min(begin + span.piece, span.begin + span.size)]
            parts.append(torch.nn.functional.pad(values, (0, span.piece - len(values))))
        return torch.cat(parts)

    def _let_go(self, tensor: Tensor) -> Tensor | _Saved:
        """What a saved tensor is kept as: if it is gathered weights, as where to find them."""
        last = self._last
        if last is None or last.span.name == COMMON or tensor.untyped_storage().data_ptr() != last.place:
            return tensor
        return _Saved(last.span, tensor.dtype, tensor.shape, tensor.stride(), int(tensor.storage_offset()))

    def _again(self, saved: Tensor | _Saved) -> Tensor:
        if isinstance(saved, Tensor):
            return saved
        last = self._last
        here = last is not None and last.span is saved.span and last.values.dtype == saved.dtype
        values = last.values if last is not None and here else self.gathered(saved.span, saved.dtype)
        return values.as_strided(saved.size, saved.stride, saved.offset)


@dataclass(frozen=True, slots=True)
class _Gathered:
    span: Span
    values: Tensor

    @property
    def place(self) -> int:
        return self.values.untyped_storage().data_ptr()


@dataclass(frozen=True, slots=True)
class _Saved:
    """A view of a part of the weights, to be had again by gathering the part."""

    span: Span
    dtype: torch.dtype
    size: torch.Size
    stride: tuple[int, ...]
    offset: int


class _Gather(torch.autograd.Function):
    """From the pieces of a part to its tensors; their gradients, summed over processes, are the piece's."""

    @staticmethod
    def forward(ctx: Any, piece: Tensor, weights: Sharded, span: Span, dtype: torch.dtype) -> tuple[Tensor, ...]:
        ctx.weights, ctx.span = weights, span
        parts = weights.gathered(span, dtype).split([slot.numel for slot in span.slots], dim=1)
        return tuple(part.unflatten(1, slot.size) for slot, part in zip(span.slots, parts, strict=True))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.weights.summed(ctx.span, gradients), None, None, None


def _collect(leaf: Tensor, gradient: Tensor) -> None:
    """From now on a backward pass adds the gradient of ``leaf`` to ``gradient`` and keeps none of its own.

    Autograd does that by itself for a preset `grad`, but warns of one that is no tensor by itself.
    """

    def add(leaf: Tensor) -> None:
        assert leaf.grad is not None
        gradient.add_(leaf.grad)
        leaf.grad = None

    leaf.requires_grad_().register_post_accumulate_grad_hook(add)
