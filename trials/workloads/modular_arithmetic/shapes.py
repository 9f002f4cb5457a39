"""The weight tensors of the two models, and what follows from their sizes.

``mlp``: one-hot operands into ``hidden_layers`` layers of ``width`` units, then logits, without biases. One hidden
layer of squares is the network of Gromov 2023 (arXiv:2301.02679), two of rectifiers that of Prieto et al. 2025
(arXiv:2501.04697).

``transformer``: the tokens a, b and "=" at learned positions, one block of attention and a feed-forward network of four
times the width, logits read at "="; no biases, no normalization (Nanda et al. 2023, arXiv:2301.05217, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FEED_FORWARD = 4  # hidden units of the transformer's feed-forward network, in widths
POSITIONS = 3  # a, b and "="


@dataclass(frozen=True, slots=True)
class InitialTensor:
    """One weight tensor of one member: its size, the standard deviation of its initial values, and whether it is an
    embedding or the output head of a transformer.
    """

    size: tuple[int, ...]
    std: float
    embedding: bool = False

    @property
    def numel(self) -> int:
        """Number of values."""
        return math.prod(self.size)


def tensors(knobs: Mapping[str, Any]) -> dict[str, InitialTensor]:
    """Return the weight tensors by name. Standard deviations are 1/sqrt(inputs that are not zero)."""
    modulus, width = knobs["modulus"], knobs["width"]
    if knobs["model"] == "transformer":
        return _transformer(modulus, width)
    operand = InitialTensor((modulus, width), 2**-0.5)
    hidden = {
        f"hidden{layer}": InitialTensor((width, width), width**-0.5) for layer in range(1, knobs["hidden_layers"])
    }
    return {"first": operand, "second": operand, **hidden, "output": InitialTensor((modulus, width), width**-0.5)}


def _transformer(modulus: int, width: int) -> dict[str, InitialTensor]:
    ffn, std = FEED_FORWARD * width, width**-0.5
    return {
        "tokens": InitialTensor((modulus + 1, width), std, embedding=True),  # the last is "="
        "positions": InitialTensor((POSITIONS, width), std, embedding=True),
        "query": InitialTensor((width, width), std),
        "key": InitialTensor((width, width), std),
        "value": InitialTensor((width, width), std),
        "attention_out": InitialTensor((width, width), std),
        "up": InitialTensor((ffn, width), std),
        "down": InitialTensor((width, ffn), ffn**-0.5),
        "output": InitialTensor((modulus, width), std, embedding=True),
    }


def parameters(knobs: Mapping[str, Any]) -> tuple[int, int]:
    """Return the number of trained parameters, and of those in embeddings and output head; an mlp has no embeddings."""
    found = tensors(knobs).values()
    return sum(one.numel for one in found), sum(one.numel for one in found if one.embedding)


def activations(knobs: Mapping[str, Any]) -> int:
    """Return the values that a pair takes in the forward and backward pass, roughly."""
    units = 2 * knobs["hidden_layers"] if knobs["model"] == "mlp" else 8 + 2 * FEED_FORWARD
    values: int = 2 * units * knobs["width"] + 4 * knobs["modulus"]
    return values


def faults(knobs: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each setting that the model cannot have."""
    if knobs["model"] == "mlp":
        return []
    found = []
    if knobs["hidden_layers"] != 1:
        found.append(f"hidden_layers = {knobs['hidden_layers']} of a transformer (accepted: 1, its only layer)")
    if knobs["width"] % knobs["heads"]:
        found.append(f"width = {knobs['width']} is not a multiple of heads = {knobs['heads']} (accepted: a multiple)")
    return found
