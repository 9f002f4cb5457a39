"""The model of `trials.training.model` and its layers in plain tensor operations, whose gradients autograd derives.

The tests compare `trials.training.kernels` with this module, values and gradients; `benchmarks/training/kernels.py`
measures the kernels against it, and against it under `torch.compile`. Trials do not run it. No argument is overwritten.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from sweeplaw.trials.accounting import Shape
from sweeplaw.trials.training.kernels import NORM_EPS


def rms_norm(inputs: Tensor, gain: Tensor) -> Tensor:
    """As `kernels.rms_norm`."""
    return F.rms_norm(inputs, inputs.shape[-1:], eps=NORM_EPS) * gain


def project(inputs: Tensor, weight: Tensor) -> Tensor:
    """As `kernels.project`."""
    return inputs @ weight.transpose(1, 2)


def norm_project(inputs: Tensor, gain: Tensor, weight: Tensor) -> Tensor:
    """As `kernels.norm_project`."""
    return project(rms_norm(inputs, gain.unsqueeze(1)), weight)


def add_projected(stream: Tensor, inputs: Tensor, weight: Tensor) -> Tensor:
    """As `kernels.add_projected`, into a new tensor."""
    return stream + project(inputs, weight)


def feed_forward(stream: Tensor, gain: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """As `kernels.feed_forward`, into a new tensor."""
    gate, up = norm_project(stream, gain, gate_up).chunk(2, dim=-1)
    return add_projected(stream, F.silu(gate) * up, down)


def mean_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """As `kernels.mean_losses`."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(wide.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape).mean(dim=1)


def split_rotated(qkv: Tensor, rotation: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """As `kernels.split_rotated`, into new tensors."""
    context, width = rotation.shape
    query_key, value = qkv.split([2 * width, width], dim=-1)
    cosine, sine = torch.view_as_real(rotation).unbind(dim=-1)
    left, right = query_key.to(cosine.dtype).reshape(-1, context, width, 2).unbind(dim=-1)
    rotated = torch.stack((left * cosine - right * sine, left * sine + right * cosine), dim=-1).to(qkv.dtype)
    query, key = rotated.view(-1, context, 2, heads, width // heads).permute(2, 0, 3, 1, 4).unbind()
    return query, key, value.reshape(-1, context, heads, width // heads).transpose(1, 2)


def losses(parameters: Mapping[str, Tensor], shape: Shape, rotation: Tensor, windows: Tensor) -> Tensor:
    """Return what `Transformer.losses` returns for ``windows``, (members, batch, context + 1), in nats: (members,).

    ``parameters`` are the weights by name, (members, *size) each, as `weights.layout` names them.
    """
    tokens, targets = windows[..., :-1], windows[..., 1:]
    members, _, context = tokens.shape
    rows = torch.arange(members, device=tokens.device)[:, None]
    stream = parameters["embedding"][rows, tokens.flatten(1)]  # (members, batch * context, width)
    for block in range(shape.depth):
        stream = _block(parameters, f"{block}.", shape, rotation[:context], stream)
    head = parameters["embedding" if shape.tied_embeddings else "head"]
    return mean_losses(norm_project(stream, parameters["final_norm"], head), targets.flatten(1))


def _block(parameters: Mapping[str, Tensor], prefix: str, shape: Shape, rotation: Tensor, stream: Tensor) -> Tensor:
    qkv = norm_project(stream, parameters[prefix + "attention_norm"], parameters[prefix + "qkv"])
    query, key, value = split_rotated(_head_norms(parameters, prefix, shape, qkv), rotation, shape.heads)
    mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2).reshape(stream.shape)
    stream = add_projected(stream, mixed, parameters[prefix + "attention_out"])
    return feed_forward(
        stream, parameters[prefix + "ffn_norm"], parameters[prefix + "gate_up"], parameters[prefix + "down"]
    )


def _head_norms(parameters: Mapping[str, Tensor], prefix: str, shape: Shape, qkv: Tensor) -> Tensor:
    """Normalize each head of the queries and keys if the shape has QK-norm."""
    if not shape.qk_norm:
        return qkv
    query, key, value = qkv.chunk(3, dim=-1)
    gains = parameters[prefix + "query_norm"], parameters[prefix + "key_norm"]
    normed = [
        rms_norm(part.float().unflatten(-1, (shape.heads, -1)), gain[:, None, None, :]).flatten(-2).to(qkv.dtype)
        for part, gain in zip((query, key), gains, strict=True)
    ]
    return torch.cat([*normed, value], dim=-1)
