"""Models from kept weights, one member at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sweeplaw.trials.accounting import Shape
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.store_format.kept_weights import KeptWeights
from sweeplaw.trials.training.model import Forward
from sweeplaw.trials.training.weights import Layer, layout

LANGUAGE_MODEL = "language_model"


def knobs_of(weights: KeptWeights) -> dict[str, Any]:
    """Return the knobs of the trial whose weights these are. Raise InputError if it was no language model."""
    content = json.loads(weights.spec)
    if content.get("workload") != LANGUAGE_MODEL:
        raise InputError(f"trial {weights.kept} is a {content.get('workload')!r} (accepted: {LANGUAGE_MODEL!r})")
    return dict(content["knobs"])


def member_of(weights: KeptWeights, number: int) -> tuple[dict[str, Any], Shape, dict[str, Tensor]]:
    """Return the knobs of the trial, the shape, and the tensors of one member by name.

    Raise InputError if there is no such member, or the file is damaged, or is not that of its spec.
    """
    knobs = knobs_of(weights)
    if not 0 <= number < weights.members:
        raise InputError(f"trial {weights.kept} has no member {number} (accepted: 0 to {weights.members - 1})")
    tensors = weights.member(number)
    try:
        shape = _shape_of(knobs, tensors)
        if shape.depth > len(tensors):
            raise ValueError(f"{shape.depth} layers, but {len(tensors)} tensors")
        faults = [slot.name for slot in layout(shape) if tuple(tensors[slot.name].shape) != slot.size]
    except KeyError as error:
        raise InputError(f"the kept weights of trial {weights.kept} have no {error}") from None
    except (TypeError, ValueError, ArithmeticError) as error:
        raise InputError(f"the kept weights of trial {weights.kept} have a spec of no model: {error}") from None
    if faults:
        raise InputError(f"the kept weights of trial {weights.kept} have other shapes: {', '.join(faults)}")
    return knobs, shape, tensors


def _shape_of(knobs: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Shape:
    """Return the shape of a model: the knobs of its trial, and the vocabulary of its own embedding."""
    names = ("depth", "width", "heads", "ffn", "tied_embeddings", "qk_norm")
    return Shape(vocabulary=len(tensors["embedding"]), **{name: knobs[name] for name in names})


class KeptModel(Forward):
    """One member of a trial, as it was at the end of its training. It cannot be trained."""

    def __init__(self, weights: KeptWeights, member: int, device: str = "cpu", context: int | None = None) -> None:
        """``context`` is the longest input; None is that of the training.

        Raise InputError if the file is damaged, or is not that of its spec.
        """
        self.knobs, shape, tensors = member_of(weights, member)
        self.tensors = {name: tensor.to(device).unsqueeze(0) for name, tensor in tensors.items()}
        autocast = torch.bfloat16 if self.knobs["precision"] == "bfloat16" else None
        longest = context or int(self.knobs["context"])
        super().__init__(shape, longest, device, self.knobs["rope_base"], autocast, self._pass_to)

    def predict(self, tokens: Tensor) -> Tensor:
        """Return next-token logits, (batch, context, vocabulary), of tokens (batch, context)."""
        with torch.no_grad():
            return self.logits(tokens[None])[0]

    def _pass_to(self, part: str, layer: Layer, *inputs: Tensor) -> Tensor:
        return layer(self.tensors, *inputs)
