"""The parameter tensors of a shape: their order in one flat buffer, and how they start.

Matrices that decay come first, block by block; what does not decay (embedding, gains) comes last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sweeplaw.trials.accounting import Shape

HEAD_SCALE = 0.1  # logits start with this deviation, so that the loss starts within 0.01 nats of ln(vocabulary)
COMMON, HEAD = "common", "head"  # parts of the weights; the others are the blocks, by number
EMBEDDING, FINAL_NORM = "embedding", "final_norm"


@dataclass(frozen=True, slots=True)
class WeightSlot:
    """One parameter tensor of one member: its name, shape, whether it decays, and its initial standard deviation.

    ``std`` None is a gain, which starts at 1.
    """

    name: str
    size: tuple[int, ...]
    decays: bool
    std: float | None

    @property
    def part(self) -> str:
        """Part of the weights it belongs to: the head's or a block's matrices, or what does not decay."""
        return self.name.partition(".")[0] if self.decays else COMMON

    @property
    def numel(self) -> int:
        """Number of values."""
        return math.prod(self.size)

    @property
    def is_hidden(self) -> bool:
        """Whether it is a matrix of a block: its inputs and outputs both grow with the width."""
        return self.decays and self.name != HEAD


def layout(shape: Shape) -> tuple[WeightSlot, ...]:
    """Return all parameter tensors of a shape, those that decay first.

    Initialization: matrices normal with deviation 1/sqrt(inputs), those that write into the residual stream divided
    by sqrt(2 depth) (Radford et al. 2019, section 2.3); token embedding 1/sqrt(width); output head 0.1/sqrt(width);
    gains 1.
    """
    width, ffn, table = shape.width, shape.ffn, (shape.vocabulary, shape.width)
    inward, residual = width**-0.5, (2 * shape.depth) ** -0.5
    slots = [WeightSlot(EMBEDDING, table, False, inward), WeightSlot(FINAL_NORM, (width,), False, None)]
    if not shape.tied_embeddings:
        slots.append(WeightSlot(HEAD, table, True, HEAD_SCALE * inward))
    for block in range(shape.depth):
        slots += [
            WeightSlot(f"{block}.attention_norm", (width,), False, None),
            WeightSlot(f"{block}.qkv", (3 * width, width), True, inward),
            WeightSlot(f"{block}.attention_out", (width, width), True, inward * residual),
            WeightSlot(f"{block}.ffn_norm", (width,), False, None),
            WeightSlot(f"{block}.gate_up", (2 * ffn, width), True, inward),
            WeightSlot(f"{block}.down", (width, ffn), True, ffn**-0.5 * residual),
        ]
        if shape.qk_norm:
            gain = (width // shape.heads,)
            slots += [WeightSlot(f"{block}.{part}_norm", gain, False, None) for part in ("query", "key")]
    return tuple(sorted(slots, key=lambda slot: not slot.decays))
