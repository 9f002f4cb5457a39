"""AdamW over one flat buffer per member, with its own learning rate, weight decay and clipping norm for each.

Loshchilov and Hutter 2019, algorithm 2, in PyTorch's form: the decay of a step is ``lr * weight_decay * parameter``.
Matrices decay; norm gains and the token embedding do not (`trials.model.layout` says which is which).
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

CPU_BLOCK = 2**15  # values updated at a time on a CPU: five blocks of 128 KiB stay in a core's cache (measured)


class AdamW:
    """AdamW on ``flat``: (members, parameters), of which the first ``decayed`` columns decay. Updates in place.

    ``lr`` at each step and ``weight_decay`` have shape (members,); ``grad_clip`` too, 0 where there is no clipping.
    """

    def __init__(
        self,
        flat: Tensor,
        gradient: Tensor,
        *,
        decayed: int,
        weight_decay: Tensor,
        grad_clip: Tensor,
        beta1: float,
        beta2: float,
        eps: float,
    ) -> None:
        self.flat, self.gradient, self.decayed = flat, gradient, decayed
        self.weight_decay = weight_decay[:, None]
        self.grad_clip = torch.where(grad_clip > 0, grad_clip, torch.inf)
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self.first = torch.zeros_like(flat)
        self.second = torch.zeros_like(flat)
        self.steps = 0
        width = flat.shape[1]
        block = CPU_BLOCK if flat.device.type == "cpu" else width
        edges = sorted({*range(0, decayed, block), *range(decayed, width, block), width})
        self.blocks = [slice(*pair) for pair in itertools.pairwise(edges)]
        self.scratch = torch.empty(flat.shape[0], min(block, width), device=flat.device, dtype=flat.dtype)

    def step(self, lr: Tensor) -> Tensor:
        """One update with learning rates ``lr``: (members,). Returns gradient norms before clipping: (members,).

        Members touch only their own row, so one whose numbers overflow leaves the others as they would be without it.
        """
        self.steps += 1
        norms = torch.linalg.vector_norm(self.gradient, dim=1)
        clip = (self.grad_clip / (norms + 1e-6)).clamp(max=1.0)[:, None]  # 1e-6 as torch.nn.utils.clip_grad_norm_
        # Both bias corrections go into two numbers, so that no pass over the parameters is spent on them.
        correction2 = (1 - self.beta2**self.steps) ** 0.5
        size = -lr[:, None] * (correction2 / (1 - self.beta1**self.steps))
        keep = 1 - lr[:, None] * self.weight_decay
        eps = self.eps * correction2
        for block in self.blocks:
            self._update(block, clip, size, keep if block.start < self.decayed else None, eps)
        return norms

    def _update(self, block: slice, clip: Tensor, size: Tensor, keep: Tensor | None, eps: float) -> None:
        value, first, second = self.flat[:, block], self.first[:, block], self.second[:, block]
        gradient, scratch = self.gradient[:, block], self.scratch[:, : block.stop - block.start]
        gradient.mul_(clip)
        first.lerp_(gradient, 1 - self.beta1)
        second.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        torch.sqrt(second, out=scratch).add_(eps)
        torch.div(first, scratch, out=scratch).mul_(size)
        if keep is not None:
            value.mul_(keep)
        value.add_(scratch)
