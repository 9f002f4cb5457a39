"""Layers of the model with hand-written gradients, which make fewer passes over memory than the composed operations.

Measured on a million-parameter model and one CPU thread, against the composed steps: RMSNorm takes 40 % of the time
when its gain is folded into the projection that follows, SwiGLU 60 % when its halves lie apart and its slope is kept,
turning queries and keys in place 40 %, and the mean loss half.

Forward and backward pass of that model take 79 % of the time of `trials.training.reference`, the same model in plain
operations, in float32, and 83 % in bfloat16 (`benchmarks/training/kernels.py`). `torch.compile` of the reference takes
98 % and 92 % of the hand-written time, but 35 s to compile each shape, in each process: in float32 that pays only for
trials of more than 13,000 steps, in bfloat16 4,400, so trials do not compile.

Some layers overwrite an argument that nothing else reads: the residual stream that they add to, and the queries and
keys that they rotate.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

NORM_EPS = 1e-6


def rms_norm(inputs: Tensor, gain: Tensor) -> Tensor:
    """Divide ``inputs`` by their root mean square along the last axis and multiply by ``gain``, which broadcasts."""
    normed: Tensor = _RmsNorm.apply(inputs)
    return normed * gain


def norm_project(inputs: Tensor, gain: Tensor, weight: Tensor) -> Tensor:
    """RMSNorm of (members, positions, inputs) with gain (members, inputs), projected by (members, outputs, inputs).

    The gain multiplies the columns of the weight instead of the positions: the same product, with one pass over the
    smaller tensor. Computed in autocast's number type if autocast is enabled.
    """
    outputs: Tensor = _NormProject.apply(inputs, gain, weight)
    return outputs


def project(inputs: Tensor, weight: Tensor) -> Tensor:
    """Project (members, positions, inputs) by (members, outputs, inputs): (members, positions, outputs)."""
    return torch.bmm(inputs, weight.transpose(1, 2))


def add_projected(stream: Tensor, inputs: Tensor, weight: Tensor) -> Tensor:
    """Add the projection of ``inputs`` to ``stream`` in place, within the matrix product."""
    added: Tensor = _AddProjected.apply(stream, inputs, weight)
    return added


def feed_forward(stream: Tensor, gain: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """Add the SwiGLU layer (Shazeer 2020) of the RMSNorm of ``stream``, (members, positions, width), to it in place.

    ``gate_up`` is (members, 2 ffn, width), the gate's rows before the rows that it gates; ``down`` is
    (members, width, ffn).
    """
    added: Tensor = _FeedForward.apply(stream, gain, gate_up, down)
    return added


def mean_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of each member in nats, (members,), of logits (members, positions, vocabulary)."""
    losses: Tensor = _MeanLosses.apply(logits, targets)
    return losses


def split_rotated(qkv: Tensor, rotation: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Split (members, batch * context, 3 width) into rotated queries, rotated keys and values.

    Each is (members * batch, heads, context, head width). ``rotation`` is complex, (context, width): the factors of
    neighbouring pairs of the queries, then of the keys. ``qkv`` is overwritten.
    """
    query, key, value = _SplitRotated.apply(qkv, rotation, heads)
    return query, key, value


def inverse_rms(inputs: Tensor) -> Tensor:
    """Return 1 / rms of each position, (members, positions, 1)."""
    return inputs.square().mean(dim=-1, keepdim=True).add_(NORM_EPS).rsqrt_()


def product_type(inputs: Tensor) -> torch.dtype:
    """Return the number type of matrix products: autocast's if it is enabled."""
    device = inputs.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else inputs.dtype


def cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """`Tensor.to` without the microseconds it takes if there is nothing to convert."""
    return tensor if tensor.dtype is dtype else tensor.to(dtype)


def scale_columns(weight: Tensor, gain: Tensor, dtype: torch.dtype) -> Tensor:
    """Multiply (members, outputs, inputs) by the gain of each input, (members, inputs), and cast."""
    return cast(weight * gain.unsqueeze(1), dtype)


def norm_backward(gradient: Tensor, normed: Tensor) -> Tensor:
    """With r = 1 / rms(x) and h = x r, return dx / r = dh - h mean(dh h) in place of ``gradient``, dh."""
    negative_mean = (gradient * normed).sum(dim=-1, keepdim=True).mul_(-1 / normed.shape[-1])
    return gradient.addcmul_(normed, negative_mean)


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        scale = inverse_rms(inputs)
        normed = inputs * scale
        ctx.save_for_backward(normed, scale)
        return normed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        normed, scale = ctx.saved_tensors
        return norm_backward(gradients[0].clone(), normed).mul_(scale)


class _NormProject(torch.autograd.Function):
    """With h = x / rms(x) and V = W g: y = h V', dV = dy' h, dW = dV g, dg = sum(dV W), dh = dy V."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, gain: Tensor, weight: Tensor) -> Tensor:
        scale = inverse_rms(inputs)
        normed = inputs * scale
        ctx.save_for_backward(normed, scale, gain, weight)
        dtype = product_type(inputs)
        return project(cast(normed, dtype), scale_columns(weight, gain, dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (gradient,) = gradients
        normed, scale, gain, weight = ctx.saved_tensors
        grad_scaled = cast(torch.bmm(gradient.transpose(1, 2), cast(normed, gradient.dtype)), gain.dtype)
        grad_gain = (grad_scaled * weight).sum(dim=1)
        grad_normed = cast(torch.bmm(gradient, scale_columns(weight, gain, gradient.dtype)), normed.dtype)
        grad_inputs = norm_backward(grad_normed, normed).mul_(scale)
        return grad_inputs, grad_gain, cast(grad_scaled.mul_(gain.unsqueeze(1)), weight.dtype)


def _add_projection_(stream: Tensor, inputs: Tensor, weight: Tensor) -> Tensor:
    """Add the projection of ``inputs`` to ``stream`` in place; return ``stream``."""
    if torch.is_autocast_enabled(stream.device.type):  # baddbmm_ would round the stream to autocast's number type
        return stream.add_(project(inputs, weight))
    return stream.baddbmm_(inputs, weight.transpose(1, 2))


class _AddProjected(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, stream: Tensor, inputs: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.mark_dirty(stream)
        return _add_projection_(stream, inputs, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        inputs, weight = ctx.saved_tensors
        gradient = cast(gradients[0], inputs.dtype)
        grad_inputs = torch.bmm(gradient, cast(weight, inputs.dtype))
        return gradients[0], grad_inputs, cast(torch.bmm(gradient.transpose(1, 2), inputs), weight.dtype)


class _FeedForward(torch.autograd.Function):
    """As `_NormProject`, then with s = sigmoid(gate), o = gate s and p = o up, of which y = x + p D' is made:
    dp = dy D, dD = dy' p, d(up) = dp o, d(gate) = dp up c with the slope of o, c = s + o (1 - s).

    Gate and up are two products: as halves of one they would lie in rows with gaps, where every pass is slower. The
    backward pass overwrites what the forward pass saved; autograd refuses a second backward pass.
    """

    @staticmethod
    def forward(ctx: Any, stream: Tensor, gain: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
        dtype, scale = product_type(stream), inverse_rms(stream)
        normed = stream * scale
        inputs = cast(normed, dtype)
        gate, up = (project(inputs, half) for half in scale_columns(gate_up, gain, dtype).chunk(2, dim=1))
        sigmoid = gate.sigmoid()
        gated = gate.mul_(sigmoid)
        slope = sigmoid.lerp_(gated.new_ones(()), gated)
        product = gated * up
        ctx.save_for_backward(normed, scale, gain, gate_up, gated, slope, up, product, down)
        ctx.mark_dirty(stream)
        return _add_projection_(stream, product, down)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        normed, scale, gain, gate_up, gated, slope, up, product, down = ctx.saved_tensors
        gradient = cast(gradients[0], product.dtype)
        grad_down = cast(torch.bmm(gradient.transpose(1, 2), product), down.dtype)
        grad_product = torch.bmm(gradient, cast(down, product.dtype))
        grad_up = gated.mul_(grad_product)
        grad_gate = grad_product.mul_(up).mul_(slope)
        inputs, grad_scaled = cast(normed, product.dtype), torch.empty_like(gate_up, dtype=product.dtype)
        for half, out in zip((grad_gate, grad_up), grad_scaled.chunk(2, dim=1), strict=True):
            torch.bmm(half.transpose(1, 2), inputs, out=out)
        grad_scaled = cast(grad_scaled, gain.dtype)
        gate_weight, up_weight = scale_columns(gate_up, gain, product.dtype).chunk(2, dim=1)
        grad_normed = cast(torch.bmm(grad_gate, gate_weight).baddbmm_(grad_up, up_weight), normed.dtype)
        grad_inputs = norm_backward(grad_normed, normed)
        grad_stream = torch.addcmul(gradients[0], grad_inputs, scale, out=grad_inputs)
        grad_gain = (grad_scaled * gate_up).sum(dim=1)
        return grad_stream, grad_gain, cast(grad_scaled.mul_(gain.unsqueeze(1)), gate_up.dtype), grad_down


class _MeanLosses(torch.autograd.Function):
    """With p = softmax(logits) and n positions: d(logits) = (p - [target]) / n.

    The largest p is 1 / sum(exp(logits - max)), so each logit's exponential, which takes the most time, is taken once.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        shares = torch.softmax(logits, dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))
        ctx.save_for_backward(shares, targets)
        ctx.dtype = logits.dtype
        above = logits.amax(dim=-1).sub_(logits.gather(-1, targets[..., None]).squeeze(-1))
        return shares.amax(dim=-1).log_().neg_().add_(above).mean(dim=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        shares, targets = ctx.saved_tensors
        factor = (gradients[0] / targets.shape[1])[:, None, None]
        grad_logits = shares * factor
        return grad_logits.scatter_add_(-1, targets[..., None], -factor.expand(*targets.shape, 1)).to(ctx.dtype), None


class _SplitRotated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, rotation: Tensor, heads: int) -> tuple[Tensor, ...]:
        ctx.rotation, ctx.size = rotation, qkv.shape
        _rotate_(qkv.narrow(-1, 0, 2 * rotation.shape[1]), rotation)
        by_head = qkv.view(-1, rotation.shape[0], 3, heads, qkv.shape[-1] // (3 * heads))
        return by_head.permute(2, 0, 3, 1, 4).unbind()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        by_head = torch.stack([gradient.transpose(1, 2) for gradient in gradients], dim=2)
        gradient = by_head.view(ctx.size)
        _rotate_(gradient.narrow(-1, 0, 2 * ctx.rotation.shape[1]), ctx.rotation.conj().resolve_conj())
        return gradient, None, None


def _rotate_(vectors: Tensor, rotation: Tensor) -> None:
    """Multiply (members, batch * context, 2 w) in place by each position's rotation, at the rotation's precision."""
    if vectors.dtype == rotation.real.dtype:
        _by_position(vectors, rotation).mul_(rotation)
    else:
        rotated = _by_position(vectors.to(rotation.real.dtype), rotation) * rotation
        vectors.copy_(torch.view_as_real(rotated).view_as(vectors))


def _by_position(vectors: Tensor, rotation: Tensor) -> Tensor:
    """View (members, batch * context, 2 w) as complex pairs (members, batch, context, w)."""
    return torch.view_as_complex(vectors.view(len(vectors), -1, *rotation.shape, 2))
