"""Standard parametrization, µP for the width and CompleteP for the depth, as factors of initial values and rates.

µP (Yang et al. 2022, arXiv:2203.03466, table 3 for Adam), relative to a base width, with m = width / base_width:

    embedding          initial deviation that of the base width             learning rate lr
    hidden matrices    deviation 1 / sqrt(inputs), as in standard           lr / m
    output head        deviation times 1 / sqrt(m)                          lr / m
    attention          scores times 1 / head width instead of 1 / sqrt(head width), equal at the base head width

CompleteP (Dey et al. 2025, arXiv:2505.01618, table 1 with alpha = 1), relative to a base depth, with l = depth /
base_depth: what a block adds to the residual stream is divided by l, and matrices that write into it start as they do
at the base depth.

A multiplier of a tensor W in the forward pass is the same model as a tensor c W without one, if its initial values and
the steps of an optimizer that is invariant to the scale of gradients (Adam, Lion) are multiplied by c as well (Yang and
Hu 2021, arXiv:2011.14522, section 3, symmetry of abc-parametrizations). So all multipliers are folded into the
tensors: a model in µP is computed, sampled and exported as any other. Adam's epsilon, 1e-8, is left unscaled.

Every decaying tensor decays by lr * weight_decay a step, whatever its rate, so that the best weight decay does not move
with the width either (Wang and Aitchison 2024, arXiv:2405.13698, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sweeplaw.trials.accounting import Shape
from sweeplaw.trials.training.parametrization.layout import EMBEDDING, FINAL_NORM, HEAD, WeightSlot

QUERY_NORM = "query_norm"


@dataclass(frozen=True, slots=True)
class Parametrization:
    """``base_width`` and ``base_head_width`` of µP, ``base_depth`` of CompleteP; None is standard in each."""

    base_width: int | None = None
    base_head_width: int | None = None
    base_depth: int | None = None


STANDARD = Parametrization()


@dataclass(frozen=True, slots=True)
class ScaledValues:
    """Neighbouring values of a slot: ``size`` of them whose initial values and learning rate have factors."""

    slot: WeightSlot
    size: int
    init: float = 1.0
    lr: float = 1.0


def scaled(slots: Sequence[WeightSlot], shape: Shape, chosen: Parametrization) -> list[ScaledValues]:
    """Return the values of all slots in order, with their factors under this parametrization."""
    return [values for slot in slots for values in _scaled(slot, shape, chosen)]


def _scaled(slot: WeightSlot, shape: Shape, chosen: Parametrization) -> Iterator[ScaledValues]:
    wide = 1.0 if chosen.base_width is None else shape.width / chosen.base_width
    init, lr = 1.0, 1.0
    if slot.name == EMBEDDING:
        init = math.sqrt(wide)  # its deviation is 1 / sqrt(width) in standard
    elif slot.name == HEAD:
        init, lr = 1 / math.sqrt(wide), 1 / wide
    elif slot.name == FINAL_NORM and shape.tied_embeddings:
        init, lr = 1 / wide, 1 / wide  # the multiplier of the head, whose table is the embedding's
    elif slot.is_hidden:
        lr = 1 / wide
    if chosen.base_depth is not None and slot.name.endswith(("attention_out", "down")):
        deep = shape.depth / chosen.base_depth
        init, lr = init * math.sqrt(deep) / deep, lr / deep  # from 1 / sqrt(2 depth), of standard, to that of the base
    sharp = _score_factor(shape, chosen)
    if slot.name.endswith(QUERY_NORM):
        yield ScaledValues(slot, slot.numel, init * sharp, lr * sharp)
    elif slot.name.endswith("qkv") and not shape.qk_norm and sharp != 1:
        yield ScaledValues(slot, slot.numel // 3, init * sharp, lr * sharp)  # the rows of the queries
        yield ScaledValues(slot, slot.numel - slot.numel // 3, init, lr)
    else:
        yield ScaledValues(slot, slot.numel, init, lr)


def _score_factor(shape: Shape, chosen: Parametrization) -> float:
    """Return the factor of attention scores beside 1 / sqrt(head width)."""
    if chosen.base_head_width is None:
        return 1.0
    return math.sqrt(chosen.base_head_width / (shape.width // shape.heads))
