"""The language model: a decoder-only transformer whose every parameter has a leading axis of members.

Pre-RMSNorm, rotary positions, SwiGLU, no biases, optional QK-norm, tied or untied embeddings. Members are independent
models of one shape that run as one: seeds of an ensemble, or settings of a packed sweep. One member is the ordinary
case and takes the ordinary kernels (`_project` uses a plain matrix product for it), so the axis costs it nothing.

All parameters lie in one flat buffer, (members, parameters); what the layers see are views of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from trials.accounting import Shape
from trials.kernels import rms_norm, swiglu

HEAD_SCALE = 0.1  # logits start with this deviation, so that the loss starts within 0.01 nats of ln(vocabulary)


@dataclass(frozen=True, slots=True)
class Slot:
    """One parameter tensor of one member: its name, shape, whether it decays, and the deviation it starts with.

    ``std`` None is a gain, which starts at 1.
    """

    name: str
    size: tuple[int, ...]
    decays: bool
    std: float | None


def layout(shape: Shape) -> tuple[Slot, ...]:
    """All parameter tensors of a shape, those that decay first.

    Initialization: matrices normal with deviation 1/sqrt(inputs), those that write into the residual stream divided
    by sqrt(2 depth) (Radford et al. 2019, section 2.3); token embedding 1/sqrt(width); output head 0.1/sqrt(width);
    gains 1.
    """
    width, ffn, table = shape.width, shape.ffn, (shape.vocabulary, shape.width)
    inward, residual = width**-0.5, (2 * shape.depth) ** -0.5
    slots = [Slot("embedding", table, False, inward), Slot("final_norm", (width,), False, None)]
    if not shape.tied_embeddings:
        slots.append(Slot("head", table, True, HEAD_SCALE * inward))
    for block in range(shape.depth):
        slots += [
            Slot(f"{block}.attention_norm", (width,), False, None),
            Slot(f"{block}.qkv", (3 * width, width), True, inward),
            Slot(f"{block}.attention_out", (width, width), True, inward * residual),
            Slot(f"{block}.ffn_norm", (width,), False, None),
            Slot(f"{block}.gate_up", (2 * ffn, width), True, inward),
            Slot(f"{block}.down", (width, ffn), True, ffn**-0.5 * residual),
        ]
        if shape.qk_norm:
            gain = (width // shape.heads,)
            slots += [Slot(f"{block}.{part}_norm", gain, False, None) for part in ("query", "key")]
    return tuple(sorted(slots, key=lambda slot: not slot.decays))


class Transformer:
    """``len(seeds)`` models of one shape, each initialized from its own seed as it would be alone."""

    def __init__(self, shape: Shape, context: int, seeds: Sequence[int], device: str, rope_base: float = 1e4) -> None:
        self.shape, self.members = shape, len(seeds)
        slots = layout(shape)
        self.decayed = sum(math.prod(slot.size) for slot in slots if slot.decays)
        start = torch.stack([_initial(slots, seed) for seed in seeds])
        self.flat = start.to(device)
        self.gradient = torch.empty_like(self.flat)
        self.parameters = _views(self.flat, slots)
        self.rotation = rotations(context, shape.heads, shape.width // shape.heads, rope_base).to(device)

    def logits(self, tokens: Tensor) -> Tensor:
        """Next-token logits, (members, batch, context, vocabulary), of tokens (members, batch, context)."""
        members, batch, context = tokens.shape
        weights = self.parameters
        stream = _embed(tokens.reshape(members, -1), weights["embedding"])  # (members, batch * context, width)
        for block in range(self.shape.depth):
            stream = stream + self._attention(block, stream, batch, context)
            stream = stream + self._feed_forward(block, stream)
        head = weights["embedding" if self.shape.tied_embeddings else "head"]
        logits = _project(_norm(stream, weights["final_norm"]), head)
        return logits.view(members, batch, context, -1)

    def losses(self, windows: Tensor) -> Tensor:
        """Mean loss of each member, (members,) in nats a token, on windows (members, batch, context + 1)."""
        return token_losses(self.logits(windows[..., :-1]), windows[..., 1:]).mean(dim=1)

    def backward(self, losses: Tensor) -> None:
        """Fill ``gradient``, (members, parameters), with the gradient of each member's own loss."""
        parts = torch.autograd.grad(losses.sum(), list(self.parameters.values()))
        torch.cat([part.flatten(1) for part in parts], dim=1, out=self.gradient)

    def _attention(self, block: int, stream: Tensor, batch: int, context: int) -> Tensor:
        weights, heads = self.parameters, self.shape.heads
        members, positions, width = stream.shape
        rotation = self.rotation[:context]
        normed = _norm(stream, weights[f"{block}.attention_norm"])
        query, key, value = _project(normed, weights[f"{block}.qkv"]).view(members, positions, 3, width).unbind(dim=2)
        if self.shape.qk_norm:
            query = _head_norm(query, weights[f"{block}.query_norm"])
            key = _head_norm(key, weights[f"{block}.key_norm"])
        query, key, value = (
            part.view(members * batch, context, heads, width // heads).transpose(1, 2)
            for part in (rotate(query, rotation), rotate(key, rotation), value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        mixed = mixed.transpose(1, 2).reshape(members, positions, width)
        return _project(mixed, weights[f"{block}.attention_out"])

    def _feed_forward(self, block: int, stream: Tensor) -> Tensor:
        weights = self.parameters
        normed = _norm(stream, weights[f"{block}.ffn_norm"])
        return _project(swiglu(_project(normed, weights[f"{block}.gate_up"])), weights[f"{block}.down"])


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each target in nats: (members, batch * context) of logits (members, batch, context,
    vocabulary).
    """
    flat = logits.float().view(-1, logits.shape[-1])
    return F.cross_entropy(flat, targets.reshape(-1), reduction="none").view(logits.shape[0], -1)


def rotations(context: int, heads: int, head_width: int, base: float) -> Tensor:
    """Unit complex numbers that turn pair j of each head at position t by t * base^(-2j / head_width).

    (context, heads * head_width / 2): the same for every head, written out so that a product runs over whole rows.
    Source: Su et al. 2021 (RoFormer), equation 34, with neighbouring dimensions as the pairs.
    """
    frequencies = base ** -(torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angles = torch.outer(torch.arange(context, dtype=torch.float64), frequencies)
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64).repeat(1, heads)


def rotate(vectors: Tensor, rotation: Tensor) -> Tensor:
    """``vectors`` (members, batch * context, width) turned by their positions. A complex product is one pass."""
    pairs = torch.view_as_complex(vectors.float().unflatten(-1, (-1, 2)))
    by_position = pairs.unflatten(1, (-1, rotation.shape[0]))
    return torch.view_as_real(by_position * rotation).view(vectors.shape).to(vectors.dtype)


def _initial(slots: Sequence[Slot], seed: int) -> Tensor:
    """Starting values of one member, drawn on the CPU in the order of the slots, so that every device agrees."""
    generator = torch.Generator().manual_seed(seed)
    parts = [
        torch.ones(slot.size) if slot.std is None else torch.randn(slot.size, generator=generator) * slot.std
        for slot in slots
    ]
    return torch.cat([part.flatten() for part in parts])


def _views(flat: Tensor, slots: Sequence[Slot]) -> dict[str, Tensor]:
    """Leaf tensors (members, *size) over the flat buffer."""
    views, start = {}, 0
    for slot in slots:
        part = slice(start, start + math.prod(slot.size))
        views[slot.name], start = flat[:, part].unflatten(1, slot.size).requires_grad_(), part.stop
    return views


def _embed(tokens: Tensor, table: Tensor) -> Tensor:
    """Rows of each member's own table: (members, positions, width)."""
    members, vocabulary, _ = table.shape
    offsets = vocabulary * torch.arange(members, device=tokens.device)[:, None]
    return F.embedding(tokens + offsets, table.flatten(0, 1))


def _project(inputs: Tensor, weight: Tensor) -> Tensor:
    """(members, positions, inputs) by (members, outputs, inputs): (members, positions, outputs)."""
    if weight.shape[0] == 1:
        return F.linear(inputs, weight.squeeze(0))
    return torch.bmm(inputs, weight.transpose(1, 2))


def _norm(stream: Tensor, gain: Tensor) -> Tensor:
    """RMSNorm (Zhang and Sennrich 2019, equation 4) of (members, positions, width), gain (members, width)."""
    return rms_norm(stream, gain[:, None, :])


def _head_norm(vectors: Tensor, gain: Tensor) -> Tensor:
    """RMSNorm of each head of (members, positions, width), gain (members, head_width)."""
    heads = vectors.float().unflatten(-1, (-1, gain.shape[-1]))
    return rms_norm(heads, gain[:, None, None, :]).view(vectors.shape)
