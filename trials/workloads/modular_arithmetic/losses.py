"""Losses of logits, and the gradient without its part along the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def softmax_losses(logits: Tensor, answers: Tensor) -> Tensor:
    """Return the cross-entropy of each answer in nats, (members, pairs), of logits (members, pairs, modulus)."""
    return F.cross_entropy(logits.flatten(0, 1), answers.flatten(), reduction="none").view(answers.shape)


def stablemax_losses(logits: Tensor, answers: Tensor) -> Tensor:
    """Return the same by StableMax, s(x_i) / sum_j s(x_j) with s(x) = x + 1 for x >= 0 and 1 / (1 - x) below.

    Source: Prieto et al. 2025, arXiv:2501.04697, section 4. Probabilities grow with the logits as a power, not
    exponentially, so that the sum does not absorb the smaller terms.
    """
    scores = torch.where(logits >= 0, logits + 1, 1 / (1 - logits.clamp(max=0)))
    own = scores.gather(-1, answers[..., None]).squeeze(-1)
    return scores.sum(-1).log() - own.log()


LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"softmax": softmax_losses, "stablemax": stablemax_losses}


def remove_parallel(gradients: Sequence[Tensor], weights: Sequence[Tensor]) -> None:
    """Subtract from each gradient, (members, n), its projection on the weights, of the same shape, in place.

    Source: Prieto et al. 2025, section 5: g - (w·g / w·w) w, for each weight tensor. To first order the update changes
    no norm, so the loss cannot fall by scaling the logits alone. Weights that are zero have no direction.
    """
    for gradient, own in zip(gradients, weights, strict=True):
        square = own.square().sum(1, keepdim=True)
        gradient -= (own * gradient).sum(1, keepdim=True) / square.where(square > 0, 1.0) * own
