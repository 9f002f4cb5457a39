"""Elementwise steps of the model with hand-written gradients: fewer passes over memory than the composed ones.

On one CPU thread RMSNorm takes half the time of the composed one, and a SwiGLU that writes both halves of its gradient
where the fused projection reads them saves 2-3 % of a step (measured on a million-parameter model).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

NORM_EPS = 1e-6


def rms_norm(inputs: Tensor, gain: Tensor) -> Tensor:
    """``inputs`` over their root mean square along the last axis, times ``gain``, which broadcasts."""
    return _RmsNorm.apply(inputs, gain)


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) * up, where gate is the first half of the last axis (Shazeer 2020)."""
    return _SwiGlu.apply(gate_up)


class _RmsNorm(torch.autograd.Function):
    """With r = 1 / rms(x), h = x r and y = h g: dx = r (dy g - h mean(dy g h)) and dg = sum(dy h)."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, gain: Tensor) -> Tensor:
        squares = torch.linalg.vector_norm(inputs, dim=-1, keepdim=True).square_()
        scale = squares.mul_(1 / inputs.shape[-1]).add_(NORM_EPS).rsqrt_()
        normed = inputs * scale
        ctx.save_for_backward(normed, scale, gain)
        return normed * gain

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        normed, scale, gain = ctx.saved_tensors
        scaled = gradients[0] * gain
        shrink = (scaled * normed).sum(dim=-1, keepdim=True).mul_(-1 / normed.shape[-1])
        by_gain = (gradients[0] * normed).sum_to_size(gain.shape)
        return scaled.addcmul_(normed, shrink).mul_(scale), by_gain


class _SwiGlu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        opened = F.silu(gate)
        ctx.save_for_backward(gate_up, opened)
        return opened * up

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gate_up, opened = ctx.saved_tensors
        gate, up = gate_up.chunk(2, dim=-1)
        whole = torch.empty_like(gate_up)
        by_gate, by_up = whole.chunk(2, dim=-1)
        torch.mul(gradients[0], opened, out=by_up)
        torch.ops.aten.silu_backward.grad_input(gradients[0] * up, gate, grad_input=by_gate)
        return whole
