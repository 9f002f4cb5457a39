"""The forward pass of the two models. Every tensor has a leading axis of members, which are independent models.

In the transformer no block comes before the attention, so keys and values belong to a token and its position: they are
computed once for each and looked up for a pair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Tensors = Mapping[str, Tensor]
Network = Callable[[Tensors, Tensor, Tensor], Tensor]  # (weights, first, second operands) to logits

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "square": torch.square}


def network(knobs: Mapping[str, Any]) -> Network:
    """Return the model: logits (members, pairs, modulus) of operands (members, pairs)."""
    activation = ACTIVATIONS[knobs["activation"]]
    if knobs["model"] == "mlp":
        layers = [f"hidden{layer}" for layer in range(1, knobs["hidden_layers"])]
        return lambda weights, first, second: _mlp(weights, first, second, layers, activation)
    heads = knobs["heads"]
    return lambda weights, first, second: _transformer(weights, first, second, heads, activation)


def looked_up(table: Tensor, rows: Tensor) -> Tensor:
    """Return rows (members, pairs) of each member's own table (members, rows, ...): (members, pairs, ...)."""
    members, count = table.shape[:2]
    offsets = count * torch.arange(members, device=rows.device)[:, None]
    return F.embedding(rows + offsets, table.flatten(0, 1).flatten(1)).view(*rows.shape, *table.shape[2:])


def _mlp(
    weights: Tensors, first: Tensor, second: Tensor, layers: list[str], activation: Callable[[Tensor], Tensor]
) -> Tensor:
    hidden = activation(looked_up(weights["first"], first) + looked_up(weights["second"], second))
    for layer in layers:
        hidden = activation(hidden @ weights[layer].mT)
    return hidden @ weights["output"].mT


def _transformer(
    weights: Tensors, first: Tensor, second: Tensor, heads: int, activation: Callable[[Tensor], Tensor]
) -> Tensor:
    tokens, positions = weights["tokens"], weights["positions"]
    operands, equals = tokens[:, :-1], tokens[:, -1:] + positions[:, 2:]
    rows = torch.cat([operands + positions[:, 0:1], operands + positions[:, 1:2], equals], dim=1)
    numbers = (first, second + operands.shape[1], torch.full_like(first, 2 * operands.shape[1]))  # rows of a pair
    stream = equals + _attention(weights, rows, numbers, heads) @ weights["attention_out"].mT
    stream = stream + activation(stream @ weights["up"].mT) @ weights["down"].mT
    return stream @ weights["output"].mT


def _attention(weights: Tensors, rows: Tensor, numbers: tuple[Tensor, ...], heads: int) -> Tensor:
    """Return what "=", the last of ``rows``, attends to among the rows of each pair, (members, pairs, width)."""
    query, key, value = (
        (part @ weights[name].mT).view(*part.shape[:2], heads, -1)
        for name, part in (("query", rows[:, -1:]), ("key", rows), ("value", rows))
    )
    scores = (query * key).sum(-1) * query.shape[-1] ** -0.5  # (members, rows, heads)
    shares = torch.stack([looked_up(scores, one) for one in numbers]).softmax(0)  # (3, members, pairs, heads)
    mixed = sum(share[..., None] * looked_up(value, one) for share, one in zip(shares, numbers, strict=True))
    return torch.as_tensor(mixed).flatten(-2)
