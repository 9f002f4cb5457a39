"""Models from kept weights, one member at a time.

Anyone may have written such a file, so the knobs in its spec are checked before anything is computed from them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from sweeplaw.trials.accounting import Shape
from sweeplaw.trials.errors import DamagedDataError, InputError, shown
from sweeplaw.trials.spec import Knob
from sweeplaw.trials.store_format.kept_weights import KeptWeights
from sweeplaw.trials.training.model import Forward
from sweeplaw.trials.training.parametrization.layout import layout
from sweeplaw.trials.training.precision.quantize import LOW_PRECISIONS
from sweeplaw.trials.training.weights import Layer

LANGUAGE_MODEL = "language_model"
SHAPE = ("depth", "width", "heads", "ffn", "tied_embeddings", "qk_norm")  # the knobs of a model's shape
# What is read of the knobs of a kept model: every language model has these, whatever its version.
KNOBS = (
    *(Knob(name, "int", None, "", "", low=1) for name in ("depth", "width", "heads", "ffn", "context")),
    Knob("unique_tokens", "int", None, "", "", low=1),
    *(Knob(name, "bool", None, "", "") for name in ("tied_embeddings", "qk_norm")),
    *(Knob(name, "str", None, "", "") for name in ("corpus", "tokenizer")),
    Knob("rope_base", "float", None, "", "", low=1),
    Knob("precision", "str", None, "", "", choices=("float32", "bfloat16", "fp8", "fp4")),
)


def knobs_of(weights: KeptWeights) -> dict[str, Any]:
    """Return the knobs of the trial whose weights these are.

    Raise InputError if it is not a language model, or if one of `KNOBS` is missing or its value is not valid.
    """
    content = json.loads(weights.spec)
    if content.get("workload") != LANGUAGE_MODEL:
        raise InputError(f"trial {weights.kept} is a {shown(content.get('workload'))} (accepted: {LANGUAGE_MODEL!r})")
    check_knobs(weights, content["knobs"], KNOBS)
    return dict(content["knobs"])


def check_knobs(weights: KeptWeights, values: Any, knobs: Iterable[Knob]) -> None:
    """Raise InputError with every fault if ``values`` is not a mapping with a valid value for the type of each knob.

    A knob that was added in a later version may be missing.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{_no_model(weights)}: its knobs are {shown(values)}")
    faults = []
    for knob in knobs:
        try:
            if knob.name in values:
                knob.coerce(values[knob.name])
            elif knob.since is None:
                faults.append(f"{knob.name} has no value")
        except ValueError as error:
            faults.append(f"{knob.name}: {error}")
    if faults:
        raise InputError(f"{_no_model(weights)}: {'; '.join(faults)}")


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
        if shape.width % (2 * shape.heads):
            raise ValueError(f"heads = {shape.heads}, of which width = {shape.width} is no even multiple")
        faults = [slot.name for slot in layout(shape) if tuple(tensors[slot.name].shape) != slot.size]
    except KeyError as error:
        raise DamagedDataError(f"the kept weights of trial {weights.kept} have no {error}") from None
    except (TypeError, ValueError, ArithmeticError) as error:
        raise InputError(f"{_no_model(weights)}: {error}") from None
    if faults:
        raise DamagedDataError(f"the kept weights of trial {weights.kept} have other shapes: {', '.join(faults)}")
    return knobs, shape, tensors


def _no_model(weights: KeptWeights) -> str:
    return f"the kept weights of trial {weights.kept} have a spec of no model"


def _shape_of(knobs: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Shape:
    """Return the shape of a model: the knobs of its trial, and the vocabulary of its own embedding."""
    return Shape(vocabulary=len(tensors["embedding"]), **{name: knobs[name] for name in SHAPE})


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
        low_precision = LOW_PRECISIONS.get(self.knobs["precision"])
        super().__init__(shape, longest, device, self.knobs["rope_base"], autocast, self._pass_to, low_precision)

    def predict(self, tokens: Tensor) -> Tensor:
        """Return next-token logits, (batch, context, vocabulary), of tokens (batch, context)."""
        with torch.no_grad():
            return self.logits(tokens[None])[0]

    def _pass_to(self, part: str, layer: Layer, *inputs: Tensor) -> Tensor:
        return layer(self.tensors, *inputs)
