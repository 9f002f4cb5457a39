"""Operands of matrix products in few bits: scaled by their largest magnitude, rounded, multiplied, scaled back.

An operand is (members, rows, contraction): the dimension that a product sums over is the last one, and every member has
scales of its own. Products accumulate in float32, where products of two elements of these formats are exact.

fp8: Micikevicius et al. 2022 (FP8 formats for deep learning): E4M3 for weights and activations, E5M2 for gradients.
    One float32 scale a tensor takes its largest magnitude to that of the format, without a margin and without rounding
    the scale to a power of two, from the tensor itself (Transformer Engine's current scaling). Round to nearest.
fp4: NVFP4 (NVIDIA 2025, Pretraining large language models with NVFP4, arXiv 2509.25149): E2M1 elements in blocks of 16
    along the contraction, a block scale in E4M3, and one float32 scale a tensor that takes the largest block scale to
    448. Gradients are rounded stochastically, weights and activations to nearest (also Chmiel et al. 2025, arXiv
    2505.19115). Of that recipe left out: Hadamard transforms, blocks of 16 x 16 for weights, and the layers at the end
    that stay in 16 bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional as F

from sweeplaw.trials.training.precision.formats import E2M1, E4M3, E5M2, NumberFormat, round_to
from sweeplaw.trials.training.precision.noise import RoundingNoise

_LARGEST = torch.finfo(torch.float32).max


@dataclass(frozen=True, slots=True)
class BlockScales:
    """A scale of format ``form`` for every ``size`` neighbouring elements along the contraction."""

    size: int
    form: NumberFormat


@dataclass(frozen=True, slots=True)
class OperandFormat:
    """The format of an operand's ``elements`` and of the scales of its blocks; None scales the tensor as one."""

    elements: NumberFormat
    blocks: BlockScales | None = None


@dataclass(frozen=True, slots=True)
class LowPrecision:
    """The formats of products in ``bits``: of weights and activations (``operands``), and of ``gradients``.

    ``stochastic`` is whether gradients are rounded stochastically.
    """

    bits: int
    operands: OperandFormat
    gradients: OperandFormat
    stochastic: bool


NVFP4 = OperandFormat(E2M1, BlockScales(16, E4M3))
LOW_PRECISIONS: Mapping[str, LowPrecision] = MappingProxyType(
    {
        "fp8": LowPrecision(8, OperandFormat(E4M3), OperandFormat(E5M2), stochastic=False),
        "fp4": LowPrecision(4, NVFP4, NVFP4, stochastic=True),
    }
)


@dataclass(frozen=True, slots=True)
class QuantizedOperand:
    """Elements times their block scales, exact in float32, (members, rows, contraction), and the scale of each member's
    tensor, (members, 1, 1). Their product is what the operand stands for.

    A contraction that is no multiple of the block size is filled up with zeros.
    """

    values: Tensor
    scale: Tensor


def quantize(operand: Tensor, form: OperandFormat, noise: RoundingNoise | None = None) -> QuantizedOperand:
    """Return ``operand``, (members, rows, contraction), in ``form``, rounded stochastically if there is ``noise``.

    A member with an infinity or NaN becomes NaN as a whole, so that its loss says that it has diverged.
    """
    if form.blocks is not None:
        return _in_blocks(operand, form.elements, form.blocks, noise)
    factor = _factor(operand.abs().amax(dim=(1, 2), keepdim=True), form.elements.largest)
    scaled = operand * factor
    rounded = round_to(scaled, form.elements, None if noise is None else noise.like(scaled))
    return QuantizedOperand(rounded, factor.reciprocal())


def quantize_both(
    operand: Tensor, form: OperandFormat, noise: RoundingNoise | None = None
) -> tuple[QuantizedOperand, QuantizedOperand]:
    """Return ``operand``, (members, rows, columns), for products that sum over its columns, and over its rows.

    The second is transposed. Scaled as one tensor, both have the same elements.
    """
    over_columns = quantize(operand, form, noise)
    if form.blocks is None:
        return over_columns, QuantizedOperand(over_columns.values.transpose(1, 2), over_columns.scale)
    return over_columns, quantize(operand.transpose(1, 2), form, noise)


def product(left: QuantizedOperand, right: QuantizedOperand) -> Tensor:
    """Return the product over the last dimension of both, (members, left rows, right rows), summed in float32."""
    return torch.bmm(left.values, right.values.transpose(1, 2)).mul_(left.scale * right.scale)


def _in_blocks(
    operand: Tensor, elements: NumberFormat, blocks: BlockScales, noise: RoundingNoise | None
) -> QuantizedOperand:
    missing = -operand.shape[-1] % blocks.size
    split = F.pad(operand, (0, missing)).unflatten(-1, (-1, blocks.size))  # (members, rows, blocks, size)
    magnitudes = split.abs().amax(dim=-1, keepdim=True)
    factor = _factor(magnitudes.amax(dim=(1, 2), keepdim=True), elements.largest * blocks.form.largest)
    scales = round_to(magnitudes * (factor / elements.largest), blocks.form)
    scaled = split * (factor / scales).clamp_(max=_LARGEST)  # a block whose scale is 0 becomes 0
    rounded = round_to(scaled, elements, None if noise is None else noise.like(scaled))
    return QuantizedOperand(rounded.mul_(scales).flatten(2), factor.reciprocal().squeeze(-1))


def _factor(magnitude: Tensor, largest: float) -> Tensor:
    """Return the factor that takes the largest ``magnitude`` of each member to ``largest``."""
    return torch.full_like(magnitude, largest).div_(magnitude).clamp_(max=_LARGEST)
