"""Floating-point formats of 8 and 4 bits, and the rounding of float32 to them.

Values stay float32, each a number of the format: what is emulated is the rounding, not the storage.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_EXPONENT_BITS = 0x7F800000  # of float32


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """A binary format with a sign: its stored ``mantissa`` bits, its least normal number and its ``largest``.

    Below ``least_normal`` numbers are subnormal, with the spacing of the lowest binade. Infinities are not used.
    """

    mantissa: int
    least_normal: float
    largest: float


# Micikevicius et al. 2022 (FP8 formats for deep learning), table 1; OCP Microscaling Formats specification 1.0 (E2M1)
E4M3 = NumberFormat(3, 2.0**-6, 448.0)
E5M2 = NumberFormat(2, 2.0**-14, 57344.0)
E2M1 = NumberFormat(1, 1.0, 6.0)


def round_to(values: Tensor, form: NumberFormat, noise: Tensor | None = None) -> Tensor:
    """Return float32 ``values`` rounded to ``form``, to nearest with ties to even; NaN stays NaN.

    Saturating: what lies beyond the largest number, infinities included, becomes the largest of its sign. ``noise``,
    independent uniform numbers in [0, 1) of the same shape, rounds stochastically instead: away from zero with the
    probability of the distance to the neighbour towards zero over the spacing, exact to the 2^-24 that `torch.rand`
    draws in, so that the mean over the noise is the value itself.
    """
    bounded = values.clamp(-form.largest, form.largest)
    spacing = _spacing(bounded, form)
    counts = bounded.div_(spacing)  # exact: the spacing is a power of two
    if noise is None:
        return counts.round_().mul_(spacing)
    below = counts.trunc()
    up = (noise < counts.sub(below).abs_()).to(counts.dtype).copysign_(counts)
    return below.add_(up).mul_(spacing)


def _spacing(values: Tensor, form: NumberFormat) -> Tensor:
    """Return the distance between neighbouring numbers of ``form`` in the binade of each value."""
    binade = (values.view(torch.int32) & _EXPONENT_BITS).view(torch.float32)
    return binade.clamp_(min=form.least_normal).mul_(2.0**-form.mantissa)
