"""The weights of a stack of models: which tensors there are, how they start, and how they lie in one flat buffer.

Matrices that decay come first in the buffer, block by block; what does not decay (embedding, gains) is its end. The
model has each layer run with its part of the weights, so that another holder may keep them elsewhere
(`trials.training.sharding`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sweeplaw.trials.accounting import Shape

HEAD_SCALE = 0.1  # logits start with this deviation, so that the loss starts within 0.01 nats of ln(vocabulary)
COMMON, HEAD = "common", "head"  # parts of the weights; the others are the blocks, by number
Layer = Callable[..., Tensor]  # of a part's tensors by name, and of tensors it uses up


@dataclass(frozen=True, slots=True)
class WeightSlot:
    """One parameter tensor of one member: its name, shape, whether it decays, and the deviation it starts with.

    ``std`` None is a gain, which starts at 1.
    """

    name: str
    size: tuple[int, ...]
    decays: bool
    std: float | None

    @property
    def part(self) -> str:
        """The part of the weights it belongs to: the head's or a block's matrices, or what does not decay."""
        return self.name.partition(".")[0] if self.decays else COMMON

    @property
    def numel(self) -> int:
        """How many values it holds."""
        return math.prod(self.size)


def layout(shape: Shape) -> tuple[WeightSlot, ...]:
    """All parameter tensors of a shape, those that decay first.

    Initialization: matrices normal with deviation 1/sqrt(inputs), those that write into the residual stream divided
    by sqrt(2 depth) (Radford et al. 2019, section 2.3); token embedding 1/sqrt(width); output head 0.1/sqrt(width);
    gains 1.
    """
    width, ffn, table = shape.width, shape.ffn, (shape.vocabulary, shape.width)
    inward, residual = width**-0.5, (2 * shape.depth) ** -0.5
    slots = [WeightSlot("embedding", table, False, inward), WeightSlot("final_norm", (width,), False, None)]
    if not shape.tied_embeddings:
        slots.append(WeightSlot(HEAD, table, True, HEAD_SCALE * inward))
    for block in range(shape.depth):
        slots += [
            WeightSlot(f"{block}.attention_norm", (width,), False, None),
            WeightSlot(f"{block}.qkv", (3 * width, width), True, inward),
            WeightSlot(f"{block}.attention_out", (width, width), True, inward * residual),
            WeightSlot(f"{block}.ffn_norm", (width,), False, None),
            WeightSlot(f"{block}.gate_up", (2 * ffn, width), True, inward),
            WeightSlot(f"{block}.down", (width, ffn), True, ffn**-0.5 * residual),
        ]
        if shape.qk_norm:
            gain = (width // shape.heads,)
            slots += [WeightSlot(f"{block}.{part}_norm", gain, False, None) for part in ("query", "key")]
    return tuple(sorted(slots, key=lambda slot: not slot.decays))


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """What each member's starting values are drawn from: on the CPU, so that every device agrees."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def drawn(slots: Sequence[WeightSlot], members: Sequence[torch.Generator]) -> Tensor:
    """The next starting values of each member, (members, values), in the order of the slots."""
    return torch.stack([torch.cat([_drawn(slot, member) for slot in slots]) for member in members])


def _drawn(slot: WeightSlot, generator: torch.Generator) -> Tensor:
    if slot.std is None:
        return torch.ones(slot.numel)
    return torch.randn(slot.size, generator=generator).flatten().mul_(slot.std)


class Weights(Protocol):
    """Who holds the weights of a stack."""

    @property
    def values(self) -> Sequence[Tensor]:
        """What is held here, (members, n) each."""
        ...

    @property
    def decays(self) -> Sequence[bool]:
        """Which of ``values`` decay."""
        ...

    @property
    def gradients(self) -> Sequence[Tensor]:
        """Gradients of ``values``, from the last backward pass."""
        ...

    def run(self, part: str, layer: Layer, *inputs: Tensor) -> Tensor:
        """``layer`` of the tensors of a part by name, (members, *size) each, and of ``inputs``, which are used up."""
        ...

    def backward(self, losses: Tensor, weight: float = 1.0, *, first: bool = True) -> None:
        """Add ``weight`` times the gradient of each member's own loss, (members,), to ``gradients``; the ``first``
        takes their place.
        """
        ...

    def norms(self) -> Tensor:
        """Global norm of each member's gradient, (members,)."""
        ...

    def whole(self, held: Sequence[Tensor]) -> Tensor | None:
        """All values on the CPU, (members, parameters), of what lies like ``values``; None but in one process."""
        ...

    def take(self, held: Sequence[Tensor], whole: Tensor) -> None:
        """Fill ``held``, which lies like ``values``, from ``whole``, (members, parameters)."""
        ...


class Whole:
    """All weights in this process, in one buffer ``flat``, (members, parameters), with their ``gradient``;
    ``parameters`` are the leaves, views of the buffer.
    """

    def __init__(self, slots: Sequence[WeightSlot], seeds: Sequence[int], device: str) -> None:
        self.flat = drawn(slots, generators(seeds)).to(device)
        self.gradient = torch.zeros_like(self.flat)
        self.parameters = views(self.flat, slots)
        for leaf in self.parameters.values():
            leaf.requires_grad_()
        decayed = sum(slot.numel for slot in slots if slot.decays)
        sizes = [decayed, self.flat.shape[1] - decayed]
        self.values, self.gradients = self.flat.split(sizes, dim=1), self.gradient.split(sizes, dim=1)
        self.decays = (True, False)

    def run(self, part: str, layer: Layer, *inputs: Tensor) -> Tensor:
        return layer(self.parameters, *inputs)

    def backward(self, losses: Tensor, weight: float = 1.0, *, first: bool = True) -> None:
        # The parts live beside the gradient for a moment, when the activations they were made from are gone.
        parts = torch.autograd.grad(losses, list(self.parameters.values()), torch.full_like(losses, weight))
        if first:
            torch.cat([part.flatten(1) for part in parts], dim=1, out=self.gradient)
        else:
            self.gradient.add_(torch.cat([part.flatten(1) for part in parts], dim=1))

    def norms(self) -> Tensor:
        return torch.bmm(self.gradient[:, None], self.gradient[..., None]).flatten().sqrt_()

    def whole(self, held: Sequence[Tensor]) -> Tensor | None:
        return torch.cat([part.cpu() for part in held], dim=1)

    def take(self, held: Sequence[Tensor], whole: Tensor) -> None:
        for part, values in zip(held, whole.split([part.shape[1] for part in held], dim=1), strict=True):
            part.copy_(values)


def views(flat: Tensor, slots: Sequence[WeightSlot]) -> dict[str, Tensor]:
    """Tensors (members, *size) over (members, values), which may have more values than the slots."""
    sizes = [slot.numel for slot in slots]
    *parts, _ = flat.split([*sizes, flat.shape[1] - sum(sizes)], dim=1)
    return {slot.name: part.unflatten(1, slot.size) for slot, part in zip(slots, parts, strict=True)}
