"""Predictions of a model one position after another, without computing earlier positions again."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sweeplaw.trials.kept.model import KeptModel
from sweeplaw.trials.training.kernels import add_projected, feed_forward, norm_project, split_rotated
from sweeplaw.trials.training.model import embed, head_norms


class CachedModel:
    """A model that reads ``batch`` sequences of at most ``length`` positions from left to right.

    It holds 8 depth x batch x length x width bytes of keys and values. A model that was trained in fp8 or fp4 is read
    with float32 products, because the scales of those depend on positions that are yet to come.
    """

    def __init__(self, model: KeptModel, batch: int, length: int) -> None:
        shape = model.shape
        size = (shape.depth, batch, shape.heads, length, shape.width // shape.heads)
        self.model, self.read = model, 0
        device = model.tensors["embedding"].device
        self._keys, self._values = torch.empty(size, device=device), torch.empty(size, device=device)

    @torch.no_grad()
    def next_logits(self, tokens: Tensor) -> Tensor:
        """Read the next ``tokens``, (batch, positions), and return the logits after the last, (batch, vocabulary).

        Several positions may be read at once only at the beginning.
        """
        model, (batch, positions) = self.model, tokens.shape
        if self.read and positions > 1:
            raise ValueError(f"{positions} positions after {self.read}: one at a time is read after the first")
        weights, rotation = model.tensors, model.rotation[self.read : self.read + positions]
        with model.autocast():
            stream = embed(tokens.reshape(1, -1), weights["embedding"])
            for block in range(model.shape.depth):
                stream = self._block(block, rotation, stream)
            last = stream.view(1, batch, positions, -1)[:, :, -1]
            head = weights["embedding" if model.shape.tied_embeddings else "head"]
            logits = norm_project(last, weights["final_norm"], head)[0]
        self.read += positions
        return logits

    def _block(self, block: int, rotation: Tensor, stream: Tensor) -> Tensor:
        weights, shape, positions = self.model.tensors, self.model.shape, len(rotation)
        own = {name.removeprefix(f"{block}."): tensor for name, tensor in weights.items()}
        qkv = norm_project(stream, own["attention_norm"], own["qkv"])
        if shape.qk_norm:
            qkv = head_norms(qkv, own["query_norm"], own["key_norm"])
        query, key, value = split_rotated(qkv, rotation, shape.heads)
        end = self.read + positions
        self._keys[block, :, :, self.read : end], self._values[block, :, :, self.read : end] = key, value
        keys, values = (kept[block, :, :, :end].to(query.dtype) for kept in (self._keys, self._values))
        mixed = F.scaled_dot_product_attention(query, keys, values, is_causal=positions > 1)
        stream = add_projected(stream, mixed.transpose(1, 2).reshape(stream.shape), own["attention_out"])
        return feed_forward(stream, own["ffn_norm"], own["gate_up"], own["down"])
