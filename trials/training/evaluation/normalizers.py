"""Normalizers of the mean logits of many subsets of members at once.

For k members, exp of the mean logits is the product of their exp(logits / k). So the normalizers of all subsets of
size k are inner products between products over the first and over the second half of the members: with 8 members 16
and 16 products and one matrix product, in place of 70 exponentials of the whole vocabulary; and exp(logits / k) is
the square of exp(logits / 2k). Beyond `ALL_OF` members, of which only a sample of subsets is asked for, the mean logits
of each subset take less time. This is done for a few tokens at a time, in buffers that a cache holds: fresh memory
for every step takes longer than the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from sweeplaw.trials.training.evaluation.subsets import ALL_OF, indices

FEW = 4  # subsets of one size whose mean logits are taken
LEAST = 1e-30  # a sum of exponentials below is computed anew, as it may have lost digits
HELD_VALUES = {"cpu": 2**20, "cuda": 2**28}  # numbers held at once: 4 MiB, which a cache holds, or 1 GiB


def membership(subsets: Sequence[int], like: Tensor) -> Tensor:
    """Return the weight of every member of ``like`` in the mean of every subset, (subsets, members)."""
    rows = [[(subset >> i & 1) / subset.bit_count() for i in range(len(like))] for subset in subsets]
    return torch.tensor(rows, dtype=like.dtype, device=like.device).view(len(subsets), len(like))


def log_normalizers(logits: Tensor, subsets: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the log of the sum over the vocabulary of exp(mean logits) for every subset, (subsets, tokens), where the
    ``logits``, (members, tokens, vocabulary), are less their highest; and these highest, (members, tokens).
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    highest = logits.amax(dim=-1).to(dtype)
    sums = _SubsetSums(subsets, highest, logits.shape[-1])
    found = highest.new_empty(len(subsets), logits.shape[1])
    for begin in range(0, logits.shape[1], sums.tokens):
        part = slice(begin, begin + sums.tokens)
        sums.write_logs(logits[:, part], highest[:, part], found[:, part])
    return found, highest


class _SubsetSums:
    """Buffers in which the sums of all subsets are computed for ``tokens`` at a time."""

    def __init__(self, subsets: Sequence[int], like: Tensor, vocabulary: int) -> None:
        """``like`` is (members, positions), of the type and device of the buffers."""
        members, positions = like.shape
        self.half = (members + 1) // 2
        self.weights = membership(subsets, like)
        rows: dict[int, list[int]] = {}
        for i, subset in enumerate(subsets):
            rows.setdefault(subset.bit_count(), []).append(i)
        self.halved = {size: own for size, own in rows.items() if len(own) > FEW and members <= ALL_OF}
        self.direct = [i for size, own in rows.items() if size not in self.halved for i in own]
        products = 1 << self.half if self.halved else 0
        held = vocabulary * (2 * products + 4 * self.half + 2 * len(self.direct))
        self.tokens = _even(positions, max(1, HELD_VALUES[like.device.type] // held))
        self.values = like.new_zeros(2 * self.half, self.tokens, vocabulary)  # with a member of zeros beside an odd one
        self.factors = torch.empty_like(self.values)
        self.products = like.new_ones(2, self.tokens, products, vocabulary)
        self.places = {
            size: torch.tensor([self._place(subsets[i]) for i in own], device=like.device)
            for size, own in self.halved.items()
        }

    def _place(self, subset: int) -> int:
        """Return where the sum of a subset is among those of all pairs of members or of products."""
        if subset.bit_count() == 2:
            return indices(subset)[0] * 2 * self.half + indices(subset)[1]
        return (subset & ((1 << self.half) - 1)) * (1 << self.half) + (subset >> self.half)

    def write_logs(self, logits: Tensor, highest: Tensor, found: Tensor) -> None:
        """Write the logs of the sums at some positions to ``found``, (subsets, positions)."""
        values = torch.sub(logits, highest[..., None], out=self.values[: len(logits), : logits.shape[1]])
        if self.direct:
            found[self.direct] = self._directly(values, self.direct)
        for size, factors in self._factors(values):
            rows = self.halved[size]
            sums = (self._of_pairs(factors) if size == 2 else self._of_halves(factors)).flatten(1)
            sums = sums.T[self.places[size]]
            logs = sums.log()
            if sums.amin() < LEAST:
                for i in (sums < LEAST).any(dim=1).nonzero().flatten().tolist():
                    logs[i] = self._directly(values, [rows[i]])[0]
            found[rows] = logs

    def _directly(self, values: Tensor, rows: Sequence[int]) -> Tensor:
        means = self.weights[rows] @ values.flatten(1)
        return means.view(len(rows), *values.shape[1:]).logsumexp(dim=-1)

    def _factors(self, values: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield each size and exp(values / size), which the next overwrites."""
        for largest in self.halved:
            if 2 * largest in self.halved:
                continue  # made of the larger one
            size, tokens = largest, values.shape[1]
            factors = torch.div(self.values[:, :tokens], size, out=self.factors[:, :tokens]).exp_()
            yield size, factors
            while size % 2 == 0 and size // 2 in self.halved:
                size //= 2
                yield size, torch.mul(factors, factors, out=factors)

    def _of_pairs(self, factors: Tensor) -> Tensor:
        """Return the sum over the vocabulary for every pair of members, (positions, 2 half, 2 half)."""
        return torch.bmm(factors.transpose(0, 1), factors.permute(1, 2, 0))

    def _of_halves(self, factors: Tensor) -> Tensor:
        """Return the sum over the vocabulary for every pair of subsets of the halves, (positions, 2^half, 2^half)."""
        products = self.products[:, : factors.shape[1]]
        by_half = factors.view(2, self.half, *factors.shape[1:])
        for i in range(self.half):
            own = by_half[:, i, :, None]
            torch.mul(products[:, :, : 1 << i], own, out=products[:, :, 1 << i : 2 << i])
        return torch.bmm(products[0], products[1].transpose(1, 2))


def _even(positions: int, most: int) -> int:
    """Return the size of parts of the positions that are of nearly one size, at most ``most``."""
    return math.ceil(positions / math.ceil(positions / most))
