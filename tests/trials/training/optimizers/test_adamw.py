"""AdamW against torch's, per member."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from sweeplaw.trials.training.optimizers.adamw import AdamW
from sweeplaw.trials.training.optimizers.optimizer import Coefficients
from sweeplaw.trials.training.parametrization.groups import ParameterGroup


def ours(values: Sequence[torch.Tensor], clip: Sequence[float]) -> AdamW:
    """Return our AdamW, of whose groups the first decays."""
    groups = [ParameterGroup(part.shape[1], decays=part is values[0]) for part in values]
    return AdamW(values, groups, [Coefficients(grad_clip=one) for one in clip])


@pytest.mark.heavy
def test_every_member_takes_the_steps_of_torchs_adamw() -> None:
    torch.manual_seed(0)
    members, width, decayed, lrs, decays, clips = 3, 1001, 500, [1e-2, 3e-3, 0.1], [0.0, 0.1, 3.2], [1.0, 0.0, 0.01]
    flat = torch.randn(members, width, dtype=torch.float64)
    sizes = [decayed, width - decayed]
    optimizer = ours(flat.split(sizes, dim=1), clips)
    alone = [(row[:decayed].clone().requires_grad_(), row[decayed:].clone().requires_grad_()) for row in flat]
    peers = [
        torch.optim.AdamW(
            [{"params": [pair[0]], "weight_decay": decay}, {"params": [pair[1]], "weight_decay": 0.0}],
            lr=lr,
            betas=(0.9, 0.95),
            eps=1e-8,
        )
        for pair, lr, decay in zip(alone, lrs, decays, strict=True)
    ]
    for step in range(6):
        scale = 1.0 if step % 2 else 0.5  # learning rates change from step to step, as a schedule's do
        fresh = torch.randn(members, width, dtype=torch.float64)
        gradients = fresh.clone().split(sizes, dim=1)
        optimizer.step([lr * scale for lr in lrs], decays, gradients, fresh.norm(dim=1))
        for pair, peer, row, lr, clip in zip(alone, peers, fresh, lrs, clips, strict=True):
            pair[0].grad, pair[1].grad = row[:decayed].clone(), row[decayed:].clone()
            if clip:
                torch.nn.utils.clip_grad_norm_(pair, clip)
            for group in peer.param_groups:
                group["lr"] = lr * scale
            peer.step()
    expected = torch.stack([torch.cat(pair) for pair in alone]).detach()
    # The fused kernel takes the clipping factor in float32; members that are not clipped agree to the last digits.
    assert torch.allclose(flat, expected, rtol=1e-8, atol=1e-8)
    assert torch.allclose(flat[1], expected[1], rtol=1e-12, atol=1e-12)


def test_members_that_share_settings_take_the_steps_they_take_alone_bit_for_bit() -> None:
    torch.manual_seed(2)
    lrs, decays, clips = [1e-2, 3e-3, 1e-2, 1e-2], [0.1, 0.1, 0.1, 0.0], [1.0, 0.0, 0.01, 0.3]
    together = torch.randn(4, 1001)
    alone = [row.clone().unsqueeze(0) for row in together]
    sizes = [500, 501]  # of which no vector unit divides the second
    optimizer = ours(together.split(sizes, dim=1), clips)
    optimizers = [ours(row.split(sizes, dim=1), [clip]) for row, clip in zip(alone, clips, strict=True)]
    for _ in range(4):
        fresh = torch.randn(4, 1001)
        norms = fresh.norm(dim=1)
        rows = zip(optimizers, lrs, decays, fresh.clone().split(1), norms.split(1), strict=True)
        for single, lr, decay, row, norm in rows:
            single.step([lr], [decay], row.split(sizes, dim=1), norm)
        optimizer.step(lrs, decays, fresh.split(sizes, dim=1), norms)
    assert torch.equal(together, torch.cat(alone))


def test_a_member_whose_gradient_is_not_a_number_does_not_affect_the_others() -> None:
    torch.manual_seed(1)
    start, fresh = torch.randn(2, 9), torch.randn(2, 9)
    results = []
    for broken in (False, True):
        flat, gradient = start.clone(), fresh.clone()
        if broken:
            gradient[0, 3] = float("nan")
        parts = gradient.split([4, 5], dim=1)
        optimizer = ours(flat.split([4, 5], dim=1), [1.0, 1.0])
        optimizer.step([1e-2, 1e-2], [0.1, 0.1], parts, gradient.norm(dim=1))
        results.append(flat[1])
    assert torch.equal(*results)
