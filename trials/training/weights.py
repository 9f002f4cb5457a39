"""The weights of a stack of models, drawn and held in one flat buffer in the order of `parametrization.layout`.

The model passes each layer to the holder of its part of the weights, so that `trials.training.sharding` can keep them
on several processes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from sweeplaw.trials.training.parametrization.groups import ParameterGroup, ParameterLayout
from sweeplaw.trials.training.parametrization.layout import WeightSlot
from sweeplaw.trials.training.parametrization.scaling import ScaledValues

Layer = Callable[..., Tensor]  # a function of a part's tensors by name and of tensors that it may overwrite


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """Return each member's generator of initial values, on the CPU so that every device gets the same values."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def draw(values: Sequence[ScaledValues], members: Sequence[torch.Generator]) -> Tensor:
    """Draw the next initial values of each member, (members, values), in order."""
    return torch.stack([torch.cat(list(_drawn(values, member))) for member in members])


def _drawn(values: Sequence[ScaledValues], generator: torch.Generator) -> Iterator[Tensor]:
    """Draw each tensor whole, and multiply its pieces by their factors."""
    for slot, items in itertools.groupby(values, key=lambda item: item.slot):
        pieces = list(items)
        drawn = _draw(slot, generator).split([piece.size for piece in pieces])
        yield from (own if piece.init == 1 else own.mul_(piece.init) for own, piece in zip(drawn, pieces, strict=True))


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
    def groups(self) -> Sequence[ParameterGroup]:
        """How each of ``values`` is updated."""
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

    def __init__(self, layout: ParameterLayout, seeds: Sequence[int], device: str) -> None:
        self.flat = draw(layout.values, generators(seeds)).to(device)
        self.gradient = torch.zeros_like(self.flat)
        self.parameters = views(self.flat, layout.slots)
        for leaf in self.parameters.values():
            leaf.requires_grad_()
        self.groups = layout.groups
        sizes = [group.size for group in self.groups]
        self.values, self.gradients = self.flat.split(sizes, dim=1), self.gradient.split(sizes, dim=1)
        self._gradient_parts = views(self.gradient, layout.slots).values()

    def run(self, part: str, layer: Layer, *inputs: Tensor) -> Tensor:
        return layer(self.parameters, *inputs)

    def backward(self, losses: Tensor, weight: float = 1.0, *, first: bool = True) -> None:
        # Only here do the parts exist beside the whole gradient; the activations are freed by then.
        parts = torch.autograd.grad(losses, list(self.parameters.values()), torch.full_like(losses, weight))
        if first:
            torch.cat([part.flatten(1) for part in parts], dim=1, out=self.gradient)
        else:
            for whole, part in zip(self._gradient_parts, parts, strict=True):
                whole.add_(part)

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
