"""How far the activations of a model move in its first steps: what the coordinate check of a parametrization compares.

Yang et al. 2022 (arXiv:2203.03466), appendix D.1: in µP the change of every activation after a few steps is of the
same size at every width; in the standard parametrization with Adam it grows with the width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from sweeplaw.trials.training.parametrization.layout import COMMON, HEAD
from sweeplaw.trials.training.stack import Stack
from sweeplaw.trials.training.weights import Layer

EMBEDDING, LOGITS = "embedding", "logits"


def coordinate_changes(stack: Stack, tokens: Tensor, steps: int) -> Iterator[Mapping[str, float]]:
    """Train a stack of one member for ``steps`` updates; yield after each how far its activations are from the start.

    By name of a layer (``embedding``, each block's number, ``logits``): the root mean square, over the positions of
    ``tokens`` (batch, context) and all coordinates, of the activation minus the initial one.
    """
    start = activations(stack, tokens)
    for _ in range(steps):
        stack.advance(stack.step + 1)
        now = activations(stack, tokens)
        yield {name: (now[name] - start[name]).square().mean().sqrt().item() for name in start}


@torch.no_grad()
def activations(stack: Stack, tokens: Tensor) -> dict[str, Tensor]:
    """Return what each layer adds up to on ``tokens``: the residual stream before and after each block, the logits."""
    model, run, found = stack.model, stack.model.run, dict[str, Tensor]()

    def recorded(part: str, layer: Layer, *inputs: Tensor) -> Tensor:
        if part == "0":
            found[EMBEDDING] = inputs[0].clone()
        output = run(part, layer, *inputs)
        if part not in (COMMON, HEAD):
            found[part] = output.clone()  # the next layer adds to it in place
        return output

    model.run = recorded
    try:
        found[LOGITS] = stack.logits(tokens)
    finally:
        model.run = run
    return found
