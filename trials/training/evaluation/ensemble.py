"""Validation losses of the trials of a pack: of single models and of ensembles."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sweeplaw.trials.training.evaluation.combination import subset_losses
from sweeplaw.trials.training.evaluation.subsets import by_size, chosen, nested
from sweeplaw.trials.training.model import token_losses
from sweeplaw.trials.training.stack import Stack

BATCH_LOGITS = {"cpu": 2**20, "cuda": 2**28}  # logits of one evaluation batch: 4 MiB, which a cache holds, or 1 GiB


@dataclass(frozen=True, slots=True)
class EnsembleEvaluation:
    """Mean validation loss in nats a token: of the ensemble, and of its members, averaged over them.

    ``by_size`` has the mean over all subsets of 1, 2, … members, ``nested`` the loss of the first 1, 2, … members; both
    are empty where they were not asked for, and for one member.
    """

    loss: float
    member_loss: float
    by_size: Sequence[float] = ()
    nested: Sequence[float] = ()


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


def batch_windows(device: str, members: int, vocabulary: int, context: int) -> int:
    """Return the number of windows that are evaluated at once."""
    return max(1, BATCH_LOGITS[device] // (members * vocabulary * context))


@torch.no_grad()
def evaluate(
    stacks: Sequence[Stack], windows: Tensor, members: int, *, subsets: bool = False
) -> list[EnsembleEvaluation]:
    """Evaluate the ensembles of ``members`` neighbours among all members of the stacks on ``windows``.

    ``windows`` is (windows, context + 1) on the CPU; with ``subsets``, smaller ensembles of the same members are
    evaluated too. If several processes train the stacks, each takes its share of every batch of windows.
    """
    device, shape = stacks[0].device, stacks[0].recipe.shape
    total_members, group = sum(len(stack.members) for stack in stacks), device.group
    masks = chosen(members) if subsets and members > 1 else []
    batch = batch_windows(device.type, total_members, shape.vocabulary, windows.shape[1] - 1) * group.size
    totals = torch.zeros(2 + len(masks), total_members // members, dtype=torch.float64, device=device.type)
    with contextlib.ExitStack() as evaluating:
        for stack in stacks:
            evaluating.enter_context(stack.evaluating())
        for part in windows.to(device.type).split(batch):
            own = part[group.rank :: group.size]
            # A process without a window of its own runs an uncounted one: the pass is collective.
            counted = len(own) > 0
            own = own if counted else part[:1]
            logits = torch.cat([stack.logits(own[:, :-1]) for stack in stacks])
            if not counted:
                continue
            for total, losses in zip(totals, ensemble_losses(logits, own[:, 1:], members), strict=False):
                total += losses.double().sum(dim=1)
            if masks:
                for ensemble, of_members in enumerate(logits.split(members)):
                    totals[2:, ensemble] += subset_losses(of_members, own[:, 1:], masks).double().sum(dim=1)
    means = group.sum(totals).cpu() / (windows.shape[0] * (windows.shape[1] - 1))
    return [_evaluation(column, masks, members) for column in means.T.tolist()]


def _evaluation(means: Sequence[float], masks: Sequence[int], members: int) -> EnsembleEvaluation:
    loss, member_loss, *others = means
    if not masks:
        return EnsembleEvaluation(loss, member_loss)
    found = dict(zip(masks, others, strict=True)) | {nested(members): loss}
    sizes = by_size(masks, [found[subset] for subset in masks], members)
    return EnsembleEvaluation(loss, member_loss, sizes, [found[nested(size + 1)] for size in range(len(sizes))])
