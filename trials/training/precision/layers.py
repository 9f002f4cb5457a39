"""The layers of a block with matrix products of low precision, forward and backward.

Only the projections of attention and feed-forward have operands in few bits. Token embedding, output head, norms,
rotations, attention products, the residual stream, master weights and optimizer stay in float32, as recipes of fp8 and
fp4 keep them in 16 or 32 bits (Micikevicius et al. 2022; NVIDIA 2025, arXiv 2509.25149).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sweeplaw.trials.training.kernels import rms_norm
from sweeplaw.trials.training.precision.noise import RoundingNoise
from sweeplaw.trials.training.precision.quantize import LowPrecision, product, quantize, quantize_both


@dataclass(frozen=True, slots=True)
class LowPrecisionLayers:
    """The functions of `trials.training.kernels` that a block is made of, in low precision; no argument is overwritten.

    ``noise`` rounds gradients stochastically, if the precision asks for that; without it they are rounded to nearest.
    The gain of a norm multiplies the activations, which are quantized after it, and not the weight.
    """

    precision: LowPrecision
    noise: RoundingNoise | None = None

    def project(self, inputs: Tensor, weight: Tensor) -> Tensor:
        """As `kernels.project`."""
        noise = self.noise if self.precision.stochastic else None
        outputs: Tensor = _LowPrecisionProduct.apply(inputs, weight, self.precision, noise)
        return outputs

    def norm_project(self, inputs: Tensor, gain: Tensor, weight: Tensor) -> Tensor:
        """As `kernels.norm_project`."""
        return self.project(rms_norm(inputs, gain.unsqueeze(1)), weight)

    def add_projected(self, stream: Tensor, inputs: Tensor, weight: Tensor) -> Tensor:
        """As `kernels.add_projected`, into a new tensor."""
        return stream + self.project(inputs, weight)

    def feed_forward(self, stream: Tensor, gain: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
        """As `kernels.feed_forward`, into a new tensor."""
        gate, up = self.norm_project(stream, gain, gate_up).chunk(2, dim=-1)
        return self.add_projected(stream, F.silu(gate) * up, down)


class _LowPrecisionProduct(torch.autograd.Function):
    """With Q quantizing along the dimension that is summed over: y = Q(x) Q(W)', dx = Q(dy) Q(W), dW = Q(dy)' Q(x).

    Quantization counts as the identity in the backward pass (straight-through, Bengio et al. 2013).
    """

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, precision: LowPrecision, noise: RoundingNoise | None
    ) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.precision, ctx.noise = precision, noise
        return product(quantize(inputs, precision.operands), quantize(weight, precision.operands))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        turned = [quantize(saved.transpose(1, 2), ctx.precision.operands) for saved in ctx.saved_tensors]
        over_outputs, over_positions = quantize_both(gradients[0], ctx.precision.gradients, ctx.noise)
        return product(over_outputs, turned[1]), product(over_positions, turned[0]), None, None
