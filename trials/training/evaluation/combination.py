"""Losses of ensembles at every token, for many subsets of members at once.

An ensemble predicts by the mean of its members' logits, normalized: the normalized geometric mean of their
distributions. By Hoelder's inequality the geometric mean before normalization sums to at most 1, so at every token
the ensemble's loss is at most the mean loss of its members. Or it predicts by the mean of their probabilities.

For k members, exp of the mean logits is the product of their exp(logits / k). So the normalizers of all subsets of
size k are inner products between products over the first and over the second half of the members: with 8 members 16
and 16 products and one matrix product, in place of 70 exponentials of the whole vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sweeplaw.trials.training.evaluation.subsets import indices
from sweeplaw.trials.training.model import token_losses

HALVED = 12  # members up to which halves are multiplied: 64 products each
FEW = 4  # subsets of one size that are computed one by one
LEAST = 1e-30  # a normalizer below is computed one by one, as it may have lost digits
HALF_VALUES = {"cpu": 2**20, "cuda": 2**28}  # products held at once: 4 MiB, which a cache holds, or 1 GiB


def subset_losses(logits: Tensor, targets: Tensor, subsets: Sequence[int], combine: str = "logits") -> Tensor:
    """Return the loss of each target in nats for every subset, (subsets, batch * context).

    ``logits`` are (members, batch, context, vocabulary), ``targets`` (batch, context). ``combine`` is one of
    `subsets.COMBINATIONS`. The loss of a single member is what `token_losses` gives for it, to the bit.
    """
    single = token_losses(logits, targets.expand(logits.shape[0], -1, -1))  # (members, tokens)
    if combine == "probabilities":
        return torch.stack([_of_mean_probability(single[indices(subset)]) for subset in subsets])
    values = logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(1, 2)
    values = values - values.amax(dim=-1, keepdim=True)
    aims = values.gather(-1, targets.flatten().expand(len(logits), -1)[..., None])[..., 0]  # (members, tokens)
    losses = log_normalizers(values, subsets)
    for i, subset in enumerate(subsets):
        own = indices(subset)
        losses[i] = single[own[0]] if len(own) == 1 else losses[i] - aims[own].mean(dim=0)
    return losses


def _of_mean_probability(losses: Tensor) -> Tensor:
    """Return the loss of the mean of the probabilities that have these losses, (members, tokens)."""
    return losses[0] if len(losses) == 1 else math.log(len(losses)) - (-losses).logsumexp(dim=0)


def log_normalizers(logits: Tensor, subsets: Sequence[int]) -> Tensor:
    """Return the log of the sum over the vocabulary of exp(mean logits) for every subset, (subsets, tokens).

    ``logits`` are (members, tokens, vocabulary), at most 0.
    """
    found = torch.empty(len(subsets), logits.shape[1], dtype=logits.dtype, device=logits.device)
    places: dict[int, list[int]] = {}
    for i, subset in enumerate(subsets):
        places.setdefault(subset.bit_count(), []).append(i)
    for size, rows in places.items():
        own = [subsets[i] for i in rows]
        if len(rows) <= FEW or len(logits) > HALVED or size == 1:
            for i, subset in zip(rows, own, strict=True):
                found[i] = _directly(logits, subset)
        else:
            found[rows] = _by_halves(logits, size, own)
    return found


def _directly(logits: Tensor, subset: int) -> Tensor:
    return logits[indices(subset)].mean(dim=0).logsumexp(dim=-1)


def _by_halves(logits: Tensor, size: int, subsets: Sequence[int]) -> Tensor:
    """Return `log_normalizers` of subsets of one size, by products over halves of the members."""
    members, _, vocabulary = logits.shape
    first = members // 2
    low = torch.tensor([subset & ((1 << first) - 1) for subset in subsets], device=logits.device)
    high = torch.tensor([subset >> first for subset in subsets], device=logits.device)
    tokens = max(1, HALF_VALUES[logits.device.type] // (2 * vocabulary << (members - first)))
    parts = []
    for values in logits.split(tokens, dim=1):
        factors = values.div(size).exp_()
        sums = torch.bmm(_products(factors[:first]), _products(factors[first:]).transpose(1, 2))
        found = sums[:, low, high].T
        logs = found.log()
        for i in (found < LEAST).any(dim=1).nonzero().flatten().tolist():
            logs[i] = _directly(values, subsets[i])
        parts.append(logs)
    return torch.cat(parts, dim=1)


def _products(factors: Tensor) -> Tensor:
    """Return the product over each subset of (members, tokens, vocabulary), (tokens, 2^members, vocabulary)."""
    members, tokens, vocabulary = factors.shape
    found = factors.new_ones(tokens, 1 << members, vocabulary)
    for i, factor in enumerate(factors):
        torch.mul(found[:, : 1 << i], factor[:, None], out=found[:, 1 << i : 2 << i])
    return found
