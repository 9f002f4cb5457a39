"""The interface between the training loop and optimizers, and the settings of one member's updates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

CLIP_EPS = 1e-6  # as torch.nn.utils.clip_grad_norm_


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Settings of one member's updates; each optimizer reads those that it has.

    ``grad_clip`` is the largest global gradient norm; 0 disables clipping.
    """

    grad_clip: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    momentum: float = 0.0
    nesterov: bool = False


USUAL = Coefficients()


class Optimizer(Protocol):
    """An optimizer of groups of values, (members, n) each, which it updates in place.

    Where several processes hold pieces of the weights, each has an optimizer for its piece. Members are independent:
    one whose numbers overflow does not affect the others.
    """

    @property
    def moments(self) -> Mapping[str, Sequence[Tensor]]:
        """What it keeps between updates, by name: tensors shaped like all or some of the values."""
        ...

    def step(
        self, lr: Sequence[float], weight_decay: Sequence[float], gradients: Sequence[Tensor], norms: Tensor
    ) -> None:
        """Update once. ``gradients`` are shaped like the values and are overwritten.

        ``lr`` and ``weight_decay`` are one number per member: values that decay lose ``lr * weight_decay`` of
        themselves. ``norms`` are the global gradient norms before clipping, (members,).
        """
        ...

    def resume(self, rates: Iterable[Sequence[float]]) -> None:
        """Continue after updates with these learning rates, whose ``moments`` have been loaded."""
        ...

    def averaged(self) -> Sequence[Tensor] | None:
        """Return the values that a model is evaluated with, shaped like the values; None for the values themselves."""
        ...


def clip(gradients: Sequence[Tensor], norms: Tensor, grad_clip: Tensor) -> None:
    """Scale the gradients of each member in place so that its global norm is at most its ``grad_clip``, (members,)."""
    divisors = ((norms + CLIP_EPS) / grad_clip).clamp(min=1.0)
    for gradient in gradients:
        gradient.div_(divisors[:, None].to(gradient.dtype))


def column(numbers: Sequence[float], like: Tensor) -> Tensor:
    """Return one number a member as (members, 1), of the type and device of ``like``."""
    return torch.tensor(numbers, dtype=like.dtype, device=like.device)[:, None]


def clip_norms(members: Sequence[Coefficients], device: torch.device) -> Tensor:
    """Return the largest gradient norm of each member, (members,); infinity for no clipping."""
    return torch.tensor([member.grad_clip or torch.inf for member in members], device=device)
