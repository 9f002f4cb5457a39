"""The layers of a block with dropout and stochastic depth, and the loss with label smoothing, in plain operations.

Members without these regularizers are trained by `trials.training.kernels`, which has no place for a mask.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from sweeplaw.trials.training.kernels import norm_project, project
from sweeplaw.trials.training.regularizers.noise import StepNoise


def attend(query: Tensor, key: Tensor, value: Tensor, noise: StepNoise) -> Tensor:
    """Return causal attention of (members * batch, heads, context, head width) with dropout of its weights."""
    if not any(one.attention_dropout for one in noise.members):
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)
    context = query.shape[-2]
    scores = (query @ key.transpose(-1, -2)).float() / math.sqrt(query.shape[-1])
    later = torch.ones(context, context, dtype=torch.bool, device=query.device).triu(1)
    weights = scores.masked_fill(later, -torch.inf).softmax(dim=-1)
    return noise.attention(weights).to(value.dtype) @ value


def add_projected(stream: Tensor, inputs: Tensor, weight: Tensor, noise: StepNoise, block: int, depth: int) -> Tensor:
    """As `kernels.add_projected`, with the masks of a layer of this block, into a new tensor."""
    return stream + noise.residual(project(inputs, weight), block, depth)


def feed_forward(
    stream: Tensor, gain: Tensor, gate_up: Tensor, down: Tensor, noise: StepNoise, block: int, depth: int
) -> Tensor:
    """As `kernels.feed_forward`, with the masks of a layer of this block, into a new tensor."""
    gate, up = norm_project(stream, gain, gate_up).chunk(2, dim=-1)
    return add_projected(stream, F.silu(gate) * up, down, noise, block, depth)


def smoothed_losses(logits: Tensor, targets: Tensor, smoothing: Tensor) -> Tensor:
    """Return the mean cross-entropy of each member, (members,) in nats, against smoothed targets.

    ``smoothing`` (members,) is the share of a target that is spread equally over the vocabulary. ``logits`` are
    (members, positions, vocabulary), ``targets`` (members, positions).
    """
    logs = torch.log_softmax(logits, dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    aimed = -logs.gather(-1, targets[..., None])[..., 0].mean(dim=1)
    spread = -logs.mean(dim=(1, 2))
    return aimed + smoothing * (spread - aimed)
