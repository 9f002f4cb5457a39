"""AdamW over one flat buffer per member, with its own learning rate, weight decay and clipping norm for each.

Loshchilov and Hutter 2019, algorithm 2, in PyTorch's form: the decay of a step is ``lr * weight_decay * parameter``.
Matrices decay; norm gains and the token embedding do not (`trials.model.layout` says which is which).
"""

from __future__ import annotations

import torch
from torch import Tensor


class AdamW:
    """AdamW on ``flat``: (members, parameters), of which the first ``decayed`` columns decay. Updates in place.

    A step uses up ``gradient``: it holds the update afterwards. Each process that holds a piece of the weights has one
    for its piece.

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

    def step(self, lr: Tensor, norms: Tensor) -> None:
        """One update with learning rates ``lr`` and global norms of the gradient before clipping: (members,) each.

        Members touch only their own row, so one whose numbers overflow leaves the others as they would be without it.
        """
        self.steps += 1
        clip = (self.grad_clip / (norms + 1e-6)).clamp(max=1.0)[:, None]  # 1e-6 as torch.nn.utils.clip_grad_norm_
        # Both bias corrections go into two numbers, so that no pass over the parameters is spent on them.
        correction2 = (1 - self.beta2**self.steps) ** 0.5
        size = -lr[:, None] * (correction2 / (1 - self.beta1**self.steps))
        gradient = self.gradient.mul_(clip)
        self.first.lerp_(gradient, 1 - self.beta1)
        self.second.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        update = torch.sqrt(self.second, out=gradient).add_(self.eps * correction2)
        torch.div(self.first, update, out=update).mul_(size)
        self.flat[:, : self.decayed].mul_(1 - lr[:, None] * self.weight_decay)
        self.flat.add_(update)
