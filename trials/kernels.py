"""Steps of the model with hand-written gradients: fewer passes over memory than the composed ones.

Measured on a million-parameter model and one CPU thread, against the composed steps: RMSNorm takes 40 % of the time
when its gain is folded into the projection that follows, SwiGLU 70 % when its sigmoid is kept, and turning queries and
keys in one pass 60 %.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

NORM_EPS = 1e-6


def rms_norm(inputs: Tensor, gain: Tensor) -> Tensor:
    """``inputs`` over their root mean square along the last axis, times ``gain``, which broadcasts."""
    return _RmsNorm.apply(inputs) * gain


def norm_project(inputs: Tensor, gain: Tensor, weight: Tensor) -> Tensor:
    """RMSNorm of (members, positions, inputs) with gain (members, inputs), projected by (members, outputs, inputs).

    The gain multiplies the weight's columns instead of the positions: the same product, one pass over the smaller
    tensor. Computed in autocast's number type, where there is one.
    """
    return _NormProject.apply(inputs, gain, weight)


def project(inputs: Tensor, weight: Tensor) -> Tensor:
    """(members, positions, inputs) by (members, outputs, inputs): (members, positions, outputs)."""
    return torch.bmm(inputs, weight.transpose(1, 2))


def add_projected(stream: Tensor, inputs: Tensor, weight: Tensor) -> Tensor:
    """``stream`` plus the projection of ``inputs``, added up by the matrix product itself."""
    if torch.is_autocast_enabled(stream.device.type):  # where it would round the stream to the products' number type
        return stream + project(inputs, weight)
    return torch.baddbmm(stream, inputs, weight.transpose(1, 2))


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) * up, where gate is the first half of the last axis (Shazeer 2020)."""
    return _SwiGlu.apply(gate_up)


def split_rotated(qkv: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys turned by their positions, and values: (members, batch * context, width) each, of their
    concatenation along the last axis.

    ``rotation``: complex (context, width), the factors of neighbouring pairs of queries, then of keys.
    """
    return _SplitRotated.apply(qkv, rotation)


def _inverse_rms(inputs: Tensor) -> Tensor:
    squares = torch.linalg.vector_norm(inputs, dim=-1, keepdim=True).square_()
    return squares.mul_(1 / inputs.shape[-1]).add_(NORM_EPS).rsqrt_()


def _norm_gradient(gradient: Tensor, normed: Tensor, scale: Tensor) -> Tensor:
    """With r = 1 / rms(x) and h = x r: dx = r (dh - h mean(dh h)). ``gradient`` is used up."""
    shrink = (gradient * normed).sum(dim=-1, keepdim=True).mul_(-1 / normed.shape[-1])
    return gradient.addcmul_(normed, shrink).mul_(scale)


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        scale = _inverse_rms(inputs)
        normed = inputs * scale
        ctx.save_for_backward(normed, scale)
        return normed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        normed, scale = ctx.saved_tensors
        return _norm_gradient(gradients[0].clone(), normed, scale)


class _NormProject(torch.autograd.Function):
    """With h = x / rms(x) and V = W g: y = h V', dV = dy' h, dW = dV g, dg = sum(dV W), dh = dy V."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, gain: Tensor, weight: Tensor) -> Tensor:
        scale = _inverse_rms(inputs)
        normed = inputs * scale
        ctx.save_for_backward(normed, scale, gain, weight)
        device = inputs.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else inputs.dtype
        return project(normed.to(dtype), (weight * gain[:, None]).to(dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (gradient,) = gradients
        normed, scale, gain, weight = ctx.saved_tensors
        by_product = torch.bmm(gradient.transpose(1, 2), normed.to(gradient.dtype)).to(gain.dtype)
        by_gain = (by_product * weight).sum(dim=1)
        by_normed = torch.bmm(gradient, (weight * gain[:, None]).to(gradient.dtype)).to(normed.dtype)
        return _norm_gradient(by_normed, normed, scale), by_gain, by_product.mul_(gain[:, None]).to(weight.dtype)


class _SwiGlu(torch.autograd.Function):
    """With s = sigmoid(gate) and o = gate s: d(gate) = dy up (o + s (1 - o)), d(up) = dy o."""

    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        sigmoid = gate.sigmoid()
        ctx.save_for_backward(gate_up, sigmoid)
        return (gate * sigmoid).mul_(up)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gate_up, sigmoid = ctx.saved_tensors
        gate, up = gate_up.chunk(2, dim=-1)
        opened = gate * sigmoid
        whole = torch.empty_like(gate_up)
        by_gate, by_up = whole.chunk(2, dim=-1)
        torch.mul(gradients[0], opened, out=by_up)
        torch.mul(gradients[0], up, out=by_gate)
        by_gate.mul_(opened.lerp_(torch.ones_like(opened[..., :1]), sigmoid))
        return whole


class _SplitRotated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.rotation = rotation
        queries_keys, values = qkv.tensor_split([2 * rotation.shape[1]], dim=-1)
        turned = torch.view_as_real(_by_position(queries_keys.to(rotation.real.dtype), rotation) * rotation)
        query, key = turned.view(queries_keys.shape).to(qkv.dtype).chunk(2, dim=-1)
        return query, key, values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient = torch.cat(gradients, dim=-1)
        turned = gradient[..., : 2 * ctx.rotation.shape[1]]
        back = ctx.rotation.conj().resolve_conj()
        if turned.dtype == back.real.dtype:
            _by_position(turned, back).mul_(back)
        else:
            turned.copy_(torch.view_as_real(_by_position(turned.to(back.real.dtype), back) * back).view(turned.shape))
        return gradient, None


def _by_position(vectors: Tensor, rotation: Tensor) -> Tensor:
    """(members, batch * context, 2 w) as complex pairs (members, batch, context, w)."""
    return torch.view_as_complex(vectors.unflatten(-1, (-1, 2))).unflatten(1, (-1, rotation.shape[0]))
