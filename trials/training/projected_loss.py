"""The loss of the output head, whose logits are never held all at once.

With a vocabulary of 128,256, batches of 262,144 tokens and three numbers of 32 bits a logit, all of them take 403 GB.
So the head takes a part of the positions at a time: their logits, their loss and the gradient of that loss, from which
the gradients of the head and of its inputs follow at once, in the forward pass. The backward pass only scales these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sweeplaw.trials import accounting
from sweeplaw.trials.training.kernels import cast, inverse_rms, norm_backward, product_type, project, scale_columns

PartLoss = Callable[[Tensor, slice], Tensor]  # from the logits of some positions, and which: mean loss of each member


def projected_losses(stream: Tensor, gain: Tensor, weight: Tensor, loss: PartLoss, multiple: int = 1) -> Tensor:
    """Return the mean loss of each member, (members,), of the logits that `kernels.norm_project` makes of the others.

    ``loss`` is called with the logits of some positions, (members, positions, vocabulary), and their place among all:
    with at most `accounting.LOSS_LOGITS` logits, but at least ``multiple`` positions and always a multiple of them.
    """
    losses: Tensor = _ProjectedLosses.apply(stream, gain, weight, loss, multiple)
    return losses


def positions_at_once(members: int, vocabulary: int, multiple: int = 1) -> int:
    """Return the number of positions whose logits are held at once."""
    return max(1, accounting.LOSS_LOGITS // (members * vocabulary * multiple)) * multiple


class _ProjectedLosses(torch.autograd.Function):
    """As `kernels._NormProject`, with the gradient dy of each part's loss; the backward pass multiplies by the
    gradient of the mean loss and overwrites what the forward pass saved.
    """

    @staticmethod
    def forward(ctx: Any, stream: Tensor, gain: Tensor, weight: Tensor, loss: PartLoss, multiple: int) -> Tensor:
        scale, dtype = inverse_rms(stream), product_type(stream)
        normed = stream * scale
        inputs, columns = cast(normed, dtype), scale_columns(weight, gain, dtype)
        members, positions, _ = stream.shape
        step = positions_at_once(members, weight.shape[1], multiple)
        total = stream.new_zeros(members, dtype=torch.promote_types(stream.dtype, torch.float32))
        grad_normed = torch.empty_like(normed)
        for begin in range(0, positions, step):
            part = slice(begin, min(begin + step, positions))
            gradient = _add_losses(
                total, loss, project(inputs[:, part], columns), part, (part.stop - begin) / positions
            )
            grad_normed[:, part] = torch.bmm(gradient, columns)
            factors = gradient.transpose(1, 2), inputs[:, part]
            if begin == 0:
                grad_columns = cast(torch.bmm(*factors), gain.dtype)  # (members, vocabulary, width)
            elif grad_columns.dtype is dtype:
                grad_columns.baddbmm_(*factors)
            else:
                grad_columns.add_(torch.bmm(*factors))
            del gradient, factors  # before the logits of the next part
        ctx.save_for_backward(normed, scale, gain, weight, grad_normed, grad_columns)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        normed, scale, gain, weight, grad_normed, grad_columns = ctx.saved_tensors
        factor = gradients[0][:, None, None].to(normed.dtype)
        grad_columns.mul_(factor)
        grad_gain = (grad_columns * weight).sum(dim=1)
        grad_stream = norm_backward(grad_normed.mul_(factor), normed).mul_(scale)
        return grad_stream, grad_gain, cast(grad_columns.mul_(gain.unsqueeze(1)), weight.dtype), None, None


def _add_losses(total: Tensor, loss: PartLoss, logits: Tensor, part: slice, share: float) -> Tensor:
    """Add ``share`` times the loss of each member to ``total``; return the gradient with respect to the logits."""
    with torch.enable_grad(), torch.autocast(logits.device.type, enabled=False):
        losses = loss(logits.requires_grad_(), part)
        (gradient,) = torch.autograd.grad(losses, logits, torch.full_like(losses, share))
    total += losses.detach() * share
    return gradient
