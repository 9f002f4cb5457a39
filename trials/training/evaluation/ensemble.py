"""Validation losses of single models and of ensembles.

An ensemble predicts by the mean of its members' logits, normalized: the normalized geometric mean of their
distributions. By Hoelder's inequality the geometric mean before normalization sums to at most 1, so at every token
the ensemble's loss is at most the mean loss of its members.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sweeplaw.trials.training.model import token_losses
from sweeplaw.trials.training.stack import Stack

BATCH_LOGITS = {"cpu": 2**20, "cuda": 2**28}  # logits of one evaluation batch: 4 MiB, which a cache holds, or 1 GiB


@dataclass(frozen=True, slots=True)
class EnsembleEvaluation:
    """Mean validation loss in nats a token: of the ensemble, and of its members, averaged over them."""

    loss: float
    member_loss: float


def ensemble_losses(logits: Tensor, targets: Tensor, members: int) -> tuple[Tensor, Tensor]:
    """Return the loss of each target for every ensemble of ``members`` neighbours, and its members' mean own loss.

    ``logits`` are (ensembles * members, batch, context, vocabulary), ``targets`` (batch, context); both results are
    (ensembles, batch * context) in nats.
    """
    single = token_losses(logits, targets.expand(logits.shape[0], -1, -1))
    if members == 1:
        return single, single
    combined = logits.float().unflatten(0, (-1, members)).mean(dim=1)
    alone = single.unflatten(0, (-1, members)).mean(dim=1)
    return token_losses(combined, targets.expand(combined.shape[0], -1, -1)), alone


@torch.no_grad()
def evaluate(stacks: Sequence[Stack], windows: Tensor, members: int) -> list[EnsembleEvaluation]:
    """Evaluate the ensembles of ``members`` neighbours among all members of the stacks on ``windows``.

    ``windows`` is (windows, context + 1) on the CPU. If several processes train the stacks, each takes its share of
    every batch of windows.
    """
    device, shape = stacks[0].device, stacks[0].recipe.shape
    total_members, group = sum(len(stack.members) for stack in stacks), device.group
    batch_logits, window_logits = BATCH_LOGITS[device.type], total_members * shape.vocabulary * (windows.shape[1] - 1)
    batch = max(1, batch_logits // window_logits) * group.size
    totals = torch.zeros(2, total_members // members, dtype=torch.float64, device=device.type)
    for part in windows.to(device.type).split(batch):
        own = part[group.rank :: group.size]
        counted = len(own) > 0  # a process without a window of its own runs an uncounted one: the pass is collective
        own = own if counted else part[:1]
        logits = torch.cat([stack.logits(own[:, :-1]) for stack in stacks])
        for total, losses in zip(totals, ensemble_losses(logits, own[:, 1:], members), strict=True):
            total += losses.double().sum(dim=1) if counted else 0
    means = group.sum(totals).cpu() / (windows.shape[0] * (windows.shape[1] - 1))
    return [EnsembleEvaluation(*pair) for pair in means.T.tolist()]
