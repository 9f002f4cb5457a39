"""Losses of ensembles at every token, for many subsets of members at once.

An ensemble predicts by the mean of its members' logits, normalized: the normalized geometric mean of their
distributions. By Hoelder's inequality the geometric mean before normalization sums to at most 1, so at every token
the ensemble's loss is at most the mean loss of its members. Or it predicts by the mean of their probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sweeplaw.trials.training.evaluation.normalizers import LEAST, log_normalizers, membership
from sweeplaw.trials.training.evaluation.subsets import indices
from sweeplaw.trials.training.model import token_losses


@torch.no_grad()
def subset_losses(logits: Tensor, targets: Tensor, subsets: Sequence[int], combine: str = "logits") -> Tensor:
    """Return the loss of each target in nats for every subset, (subsets, batch * context).

    ``logits`` are (members, batch, context, vocabulary), ``targets`` (batch, context). ``combine`` is one of
    `subsets.COMBINATIONS`. The loss of a single member is what `token_losses` gives for it, to the bit.
    """
    single = token_losses(logits, targets.expand(logits.shape[0], -1, -1))  # (members, tokens)
    alone = [i for i, subset in enumerate(subsets) if subset.bit_count() == 1]
    several = [i for i, subset in enumerate(subsets) if subset.bit_count() > 1]
    ensembles = [subsets[i] for i in several]
    if combine == "probabilities":
        combined = _of_mean_probabilities(single, ensembles)
    else:
        combined = _of_mean_logits(logits.flatten(1, 2), targets.flatten(), ensembles)
    losses = combined.new_empty(len(subsets), single.shape[1])
    losses[alone] = single[[subsets[i].bit_length() - 1 for i in alone]].to(losses)
    losses[several] = combined
    return losses


def _of_mean_logits(logits: Tensor, targets: Tensor, subsets: Sequence[int]) -> Tensor:
    """Return the losses of mean logits, (subsets, tokens); ``logits`` are (members, tokens, vocabulary)."""
    normalizers, highest = log_normalizers(logits, subsets)
    own = logits.gather(-1, targets.expand(len(logits), -1)[..., None])[..., 0].to(highest) - highest
    return normalizers.sub_(membership(subsets, own) @ own)


def _of_mean_probabilities(single: Tensor, subsets: Sequence[int]) -> Tensor:
    """Return the losses of mean probabilities, (subsets, tokens), from those of the members, (members, tokens)."""
    least = single.amin(dim=0)
    means = membership(subsets, single) @ (least - single).exp_()
    losses = least - means.log()
    for i in (means < LEAST).any(dim=1).nonzero().flatten().tolist():
        own = single[indices(subsets[i])]
        losses[i] = math.log(len(own)) - (-own).logsumexp(dim=0)
    return losses
