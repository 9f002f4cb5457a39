"""The random numbers of stochastic rounding in one training step, from each member's seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


class RoundingNoise:
    """Uniform numbers for the gradients of one micro-batch, whose first sequence in the batch is ``row``.

    Each member draws from a generator of its own, seeded by its seed, the step and ``row``, in the order in which the
    backward pass comes to the products. So a member has the same numbers alone and in a stack, and after it has
    resumed. Another division into micro-batches rounds differently, as its scales differ too.
    """

    def __init__(self, seeds: Sequence[int], step: int, row: int, device: str) -> None:
        self._generators = [torch.Generator(device).manual_seed(_seed(seed, step, row)) for seed in seeds]

    def like(self, values: Tensor) -> Tensor:
        """Return independent uniform numbers in [0, 1) of the shape of ``values``, (members, …)."""
        drawn = torch.empty(values.shape, device=values.device)
        for own, generator in zip(drawn, self._generators, strict=True):
            torch.rand(own.shape, generator=generator, out=own)
        return drawn


def _seed(seed: int, step: int, row: int) -> int:
    text = f"rounding of seed {seed} at step {step} from sequence {row}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
