"""The language model: a decoder-only transformer whose every parameter has a leading axis of members.

Pre-RMSNorm, rotary positions, SwiGLU, no biases, optional QK-norm, tied or untied embeddings. Members are independent
models of one shape that run as one: seeds of an ensemble, or settings of a packed sweep. For a single member the axis
costs nothing: a batched product of one pair takes the time of a plain one (measured).

Each layer runs with its part of the weights, which `trials.training.weights` or `trials.training.sharding` holds.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from sweeplaw.trials.accounting import Shape
from sweeplaw.trials.training import kernels
from sweeplaw.trials.training.distillation import SoftLabels
from sweeplaw.trials.training.distributed import ALONE, ProcessGroup
from sweeplaw.trials.training.kernels import mean_losses, norm_project, rms_norm, split_rotated
from sweeplaw.trials.training.parametrization.groups import ParameterLayout
from sweeplaw.trials.training.parametrization.layout import COMMON, HEAD
from sweeplaw.trials.training.precision.layers import LowPrecisionLayers
from sweeplaw.trials.training.precision.noise import RoundingNoise
from sweeplaw.trials.training.precision.quantize import LowPrecision
from sweeplaw.trials.training.projected_loss import projected_losses
from sweeplaw.trials.training.regularizers import layers
from sweeplaw.trials.training.regularizers.layers import smoothed_losses
from sweeplaw.trials.training.regularizers.noise import StepNoise
from sweeplaw.trials.training.weights import UnshardedWeights, Weights

Tensors = Mapping[str, Tensor]


class Forward:
    """The computation of models of one shape from their weights, whose parts ``run`` passes to each layer."""

    def __init__(
        self,
        shape: Shape,
        context: int,
        device: str,
        rope_base: float,
        autocast: torch.dtype | None,
        run: Callable[..., Tensor],
        low_precision: LowPrecision | None = None,
    ) -> None:
        """``autocast`` is the number type of matrix products; None is that of the weights. With ``low_precision`` those
        of the blocks are emulated in fewer bits.
        """
        self.shape, self.run, self.low_precision = shape, run, low_precision
        self.rotation = rotations(context, shape.heads, shape.width // shape.heads, rope_base).to(device)
        self.autocast = functools.partial(torch.autocast, device, autocast) if autocast else contextlib.nullcontext

    def logits(self, tokens: Tensor, noise: StepNoise | None = None) -> Tensor:
        """Return next-token logits, (members, batch, context, vocabulary), of tokens (members, batch, context).

        ``noise`` has the masks of the regularizers of a training step.
        """
        members, batch, context = tokens.shape
        with self.autocast():
            logits = self.run(COMMON, functools.partial(self._layers, tokens, noise, norm_project))
        return logits.view(members, batch, context, -1)

    def losses(
        self,
        windows: Tensor,
        noise: StepNoise | None = None,
        smoothing: Tensor | None = None,
        soft_labels: SoftLabels | None = None,
        rounding: RoundingNoise | None = None,
    ) -> Tensor:
        """Return the mean loss of each member, (members,) in nats a token, on windows (members, batch, context + 1).

        ``smoothing`` is the label smoothing of each member, ``rounding`` the noise of stochastic rounding.
        """
        targets, context = windows[..., 1:].flatten(1), windows.shape[-1] - 1

        def loss(logits: Tensor, part: slice) -> Tensor:
            if soft_labels is not None:
                return soft_labels.losses(logits, windows[:, part.start // context : part.stop // context], smoothing)
            own = targets[:, part]
            return mean_losses(logits, own) if smoothing is None else smoothed_losses(logits, own, smoothing)

        head = functools.partial(projected_losses, loss=loss, multiple=1 if soft_labels is None else context)
        with self.autocast():
            return self.run(COMMON, functools.partial(self._layers, windows[..., :-1], noise, head, rounding=rounding))

    def _layers(
        self,
        tokens: Tensor,
        noise: StepNoise | None,
        head: Callable[..., Tensor],
        common: Tensors,
        rounding: RoundingNoise | None = None,
    ) -> Tensor:
        """Return what ``head`` makes of the last positions, (members, batch * context, width), a gain and a matrix."""
        stream = embed(tokens.flatten(1), common["embedding"])  # (members, batch * context, width)
        for block in range(self.shape.depth):
            layer = functools.partial(self._block, block, tokens.shape[-1], noise, rounding, common)
            stream = self.run(f"{block}", layer, stream)
        if self.shape.tied_embeddings:
            tied: Tensor = head(stream, common["final_norm"], common["embedding"])
            return tied
        return self.run(HEAD, lambda own, last: head(last, common["final_norm"], own[HEAD]), stream)

    def _block(
        self,
        block: int,
        context: int,
        noise: StepNoise | None,
        rounding: RoundingNoise | None,
        common: Tensors,
        own: Tensors,
        stream: Tensor,
    ) -> Tensor:
        plain = kernels if self.low_precision is None else LowPrecisionLayers(self.low_precision, rounding)
        qkv = plain.norm_project(stream, common[f"{block}.attention_norm"], own[f"{block}.qkv"])
        if self.shape.qk_norm:
            qkv = head_norms(qkv, common[f"{block}.query_norm"], common[f"{block}.key_norm"])
        query, key, value = split_rotated(qkv, self.rotation[:context], self.shape.heads)
        out, ffn = own[f"{block}.attention_out"], (common[f"{block}.ffn_norm"], own[f"{block}.gate_up"])
        if noise is not None:
            mixed = layers.attend(query, key, value, noise).transpose(1, 2).reshape(stream.shape)
            stream = layers.add_projected(stream, mixed, out, noise, block, self.shape.depth)
            return layers.feed_forward(stream, *ffn, own[f"{block}.down"], noise, block, self.shape.depth)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        stream = plain.add_projected(stream, mixed.transpose(1, 2).reshape(stream.shape), out)
        return plain.feed_forward(stream, *ffn, own[f"{block}.down"])


class Transformer(Forward):
    """``len(seeds)`` models of one shape in training, each initialized from its own seed as a single model would be."""

    def __init__(
        self,
        shape: Shape,
        context: int,
        seeds: Sequence[int],
        device: str,
        rope_base: float = 1e4,
        group: ProcessGroup = ALONE,
        autocast: torch.dtype | None = None,
        layout: ParameterLayout | None = None,
        low_precision: LowPrecision | None = None,
    ) -> None:
        """``layout`` is that of the standard parametrization by default."""
        self.weights = _weights(layout or ParameterLayout.of(shape), seeds, device, group, autocast)
        super().__init__(shape, context, device, rope_base, autocast, self.weights.run, low_precision)


def _weights(
    layout: ParameterLayout, seeds: Sequence[int], device: str, group: ProcessGroup, autocast: torch.dtype | None
) -> Weights:
    if group.size == 1:
        return UnshardedWeights(layout, seeds, device)
    from sweeplaw.trials.training.sharding import ShardedWeights  # a second of imports that few trials need

    return ShardedWeights(layout, seeds, device, group, autocast)


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of each target in nats, (members, batch * context).

    ``logits`` are (members, batch, context, vocabulary), ``targets`` (members, batch, context).
    """
    flat = logits.float().view(-1, logits.shape[-1])
    return F.cross_entropy(flat, targets.reshape(-1), reduction="none").view(logits.shape[0], -1)


def rotations(context: int, heads: int, head_width: int, base: float) -> Tensor:
    """Return unit complex numbers that rotate pair j of each head at position t by t * base^(-2j / head_width).

    The result is (context, heads * head_width): the factors are repeated for every head of the queries, then of the
    keys, so that one product runs over whole rows.
    Source: Su et al. 2021 (RoFormer), equation 34, with neighbouring dimensions as the pairs.
    """
    frequencies = base ** -(torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angles = torch.outer(torch.arange(context, dtype=torch.float64), frequencies)
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64).repeat(1, 2 * heads)


def embed(tokens: Tensor, table: Tensor) -> Tensor:
    """Look up the rows of each member's own table: (members, positions, width)."""
    members, vocabulary, _ = table.shape
    offsets = vocabulary * torch.arange(members, device=tokens.device)[:, None]
    return F.embedding(tokens + offsets, table.flatten(0, 1))


def head_norms(qkv: Tensor, query_gain: Tensor, key_gain: Tensor) -> Tensor:
    """Normalize each head of the queries and keys in (members, positions, 3 width); gains (members, head_width)."""
    query, key, value = qkv.chunk(3, dim=-1)
    normed = [
        rms_norm(part.float().unflatten(-1, (-1, gain.shape[-1])), gain[:, None, None, :]).flatten(-2)
        for part, gain in ((query, query_gain), (key, key_gain))
    ]
    return torch.cat([*(part.to(qkv.dtype) for part in normed), value], dim=-1)
