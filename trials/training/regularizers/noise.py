"""The random numbers of one training step: masks of dropout and stochastic depth for every member of a stack.

Each member draws from a generator of its own, seeded by its seed and the step, and always for the whole batch. So a
member has the same masks alone and in a stack, in one micro-batch and in several, on one process and on several, and
after it has resumed. Kept values are divided by the share that is kept, so that evaluation needs no correction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from sweeplaw.trials.training.regularizers.settings import Regularizers


class StepNoise:
    """Masks for the ``rows`` of a batch of ``sequences`` at one step, drawn in the order of the layers."""

    def __init__(
        self,
        members: Sequence[Regularizers],
        seeds: Sequence[int],
        step: int,
        rows: slice,
        sequences: int,
        device: str,
    ) -> None:
        self.members = members
        self._rows, self._sequences, self._device = rows, sequences, device
        self._generators = [torch.Generator(device).manual_seed(_seed(seed, step)) for seed in seeds]

    def residual(self, branch: Tensor, block: int, depth: int) -> Tensor:
        """Return what a layer of this block adds to the stream, (members, batch * context, width), after its masks."""
        by_sequence = branch.view(len(branch), self._rows.stop - self._rows.start, -1, branch.shape[-1])
        masks = self._masks([one.dropout for one in self.members], by_sequence.shape[2:], branch.dtype)
        if masks is not None:
            by_sequence = by_sequence * masks
        left_out = self._masks([one.layer_rate(block, depth) for one in self.members], (1, 1), branch.dtype)
        if left_out is not None:
            by_sequence = by_sequence * left_out
        return by_sequence.view(branch.shape)

    def attention(self, weights: Tensor) -> Tensor:
        """Return attention weights, (members * batch, heads, context, context), after dropout."""
        masks = self._masks([one.attention_dropout for one in self.members], weights.shape[1:], weights.dtype)
        return weights if masks is None else weights * masks.flatten(0, 1)

    def _masks(self, rates: Sequence[float], size: Sequence[int], dtype: torch.dtype) -> Tensor | None:
        """Return a mask of each member's rows, (members, batch, *size); None if no member has a rate."""
        if not any(rates):
            return None
        masks = []
        for rate, generator in zip(rates, self._generators, strict=True):
            shape = (self._sequences, *size)
            if rate:
                drawn = torch.rand(shape, generator=generator, device=self._device)[self._rows]
                masks.append((drawn >= rate).to(dtype).div_(1 - rate))
            else:
                masks.append(torch.ones(shape, dtype=dtype, device=self._device)[self._rows])
        return torch.stack(masks)


def _seed(seed: int, step: int) -> int:
    digest = hashlib.blake2b(f"regularizers of seed {seed} at step {step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
