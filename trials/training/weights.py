"""The weights of a stack of models: their tensors, initialization and layout in one flat buffer.

Matrices that decay come first in the buffer, block by block; what does not decay (embedding, gains) comes last. The
model passes each layer to the holder of its part of the weights, so that `trials.training.sharding` can keep them on
several processes.
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
Layer = Callable[..., Tensor]  # a function of a part's tensors by name and of tensors that it may overwrite


@dataclass(frozen=True, slots=True)
class WeightSlot:
    """One parameter tensor of one member: its name, shape, whether it decays, and its initial standard deviation.

    ``std`` None is a gain, which starts at 1.
    """

    name: str
    size: tuple[int, ...]
    decays: bool
    std: float | None

    @property
    def part(self) -> str:
        """Part of the weights it belongs to: the head's or a block's matrices, or what does not decay."""
        return self.name.partition(".")[0] if self.decays else COMMON

    @property
    def numel(self) -> int:
        """Number of values."""
        return math.prod(self.size)


def layout(shape: Shape) -> tuple[WeightSlot, ...]:
    """Return all parameter tensors of a shape, those that decay first.

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
    """Return each member's generator of initial values, on the CPU so that every device gets the same values."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def draw(slots: Sequence[WeightSlot], members: Sequence[torch.Generator]) -> Tensor:
    """Draw the next initial values of each member, (members, values), in the order of the slots."""
    return torch.stack([torch.cat([_draw(slot, member) for slot in slots]) for member in members])


def _draw(slot: WeightSlot, generator: torch.Generator) -> Tensor:
    if slot.std is None:
        return torch.ones(slot.numel)
    return torch.randn(slot.size, generator=generator).flatten().mul_(slot.std)


class Weights(Protocol):
    """Holder of the weights of a stack."""

    @property
    def values(self) -> Sequence[Tensor]:
        """The weights that this process holds, (members, n) each."""
        ...

    @property
    def decays(self) -> Sequence[bool]:
        """Whether each of ``values`` decays."""
        ...

    @property
    def gradients(self) -> Sequence[Tensor]:
        """Gradients of ``values``, from the last backward pass."""
        ...

    def run(self, part: str, layer: Layer, *inputs: Tensor) -> Tensor:
        """Call ``layer`` with the tensors of a part by name, (members, *size) each, and ``inputs``, which it may
        overwrite.
        """
        ...

    def backward(self, losses: Tensor, weight: float = 1.0, *, first: bool = True) -> None:
        """Add ``weight`` times the gradient of each member's own loss, (members,), to ``gradients``.

        The ``first`` micro-batch replaces them instead.
        """
        ...

    def norms(self) -> Tensor:
        """Return the global norm of each member's gradient, (members,)."""
        ...

    def gather(self, held: Sequence[Tensor]) -> Tensor | None:
        """Return tensors shaped like ``values`` as (members, parameters) on the CPU; None except in the first process.

        A collective operation.
        """
        ...

    def load(self, held: Sequence[Tensor], whole: Tensor) -> None:
        """Fill ``held``, shaped like ``values``, from ``whole``, (members, parameters)."""
        ...


class UnshardedWeights:
    """All weights in this process, in one buffer ``flat``, (members, parameters), with their ``gradient``.

    ``parameters`` are the leaves, views of the buffer.
    """

    def __init__(self, slots: Sequence[WeightSlot], seeds: Sequence[int], device: str) -> None:
        self.flat = draw(slots, generators(seeds)).to(device)
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
        # Only here do the parts exist beside the whole gradient; the activations are freed by then.
        parts = torch.autograd.grad(losses, list(self.parameters.values()), torch.full_like(losses, weight))
        if first:
            torch.cat([part.flatten(1) for part in parts], dim=1, out=self.gradient)
        else:
            self.gradient.add_(torch.cat([part.flatten(1) for part in parts], dim=1))

    def norms(self) -> Tensor:
        return torch.bmm(self.gradient[:, None], self.gradient[..., None]).flatten().sqrt_()

    def gather(self, held: Sequence[Tensor]) -> Tensor | None:
        return torch.cat([part.cpu() for part in held], dim=1)

    def load(self, held: Sequence[Tensor], whole: Tensor) -> None:
        for part, values in zip(held, whole.split([part.shape[1] for part in held], dim=1), strict=True):
            part.copy_(values)


def views(flat: Tensor, slots: Sequence[WeightSlot]) -> dict[str, Tensor]:
    """Return tensors (members, *size) that view (members, values), which may have more values than the slots."""
    sizes = [slot.numel for slot in slots]
    *parts, _ = flat.split([*sizes, flat.shape[1] - sum(sizes)], dim=1)
    return {slot.name: part.unflatten(1, slot.size) for slot, part in zip(slots, parts, strict=True)}
