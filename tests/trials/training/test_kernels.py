"""The hand-written gradients are those of the composed forms, and the products take autocast's number type."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from sweeplaw.trials.training.kernels import (
    add_projected,
    feed_forward,
    mean_losses,
    norm_project,
    rms_norm,
    split_rotated,
)
from sweeplaw.trials.training.model import rotations


def draw(*size: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*size, dtype=torch.float64, generator=generator, requires_grad=True)


def test_rms_norm_is_torchs() -> None:
    inputs, gain = draw(2, 5, 6), draw(2, 1, 6, seed=1)
    assert torch.autograd.gradcheck(rms_norm, (inputs, gain))
    assert torch.allclose(rms_norm(inputs, gain), F.rms_norm(inputs, (6,), eps=1e-6) * gain)


@pytest.mark.parametrize("members", [1, 3])
def test_the_feed_forward_layer_is_its_norm_its_two_projections_and_silu_composed(members: int) -> None:
    leaves = draw(members, 5, 4), draw(members, 4, seed=1), draw(members, 6, 4, seed=2), draw(members, 4, 3, seed=3)

    def composed(stream: torch.Tensor, gain: torch.Tensor, gate_up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
        gate, up = (F.rms_norm(stream, (4,), eps=1e-6) * gain[:, None] @ gate_up.transpose(1, 2)).chunk(2, dim=-1)
        return stream + F.silu(gate) * up @ down.transpose(1, 2)

    own, expected = feed_forward(leaves[0].clone(), *leaves[1:]), composed(*leaves)
    assert torch.allclose(own, expected, rtol=1e-12)
    weights = torch.randn(own.shape, dtype=own.dtype, generator=torch.Generator().manual_seed(4))
    gradients = [torch.autograd.grad(output, leaves, weights, retain_graph=True) for output in (own, expected)]
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-13)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):  # saved tensors are overwritten
        torch.autograd.grad(own, leaves, weights)


def test_mean_losses_are_torchs_cross_entropies_also_of_unlikely_targets() -> None:
    logits = draw(3, 5, 4)
    with torch.no_grad():
        logits[0, 0] = torch.tensor([0.0, 500.0, -500.0, 0.0])
    targets = torch.randint(4, (3, 5), generator=torch.Generator().manual_seed(0))
    targets[0, 0] = 2
    expected = torch.stack([F.cross_entropy(*member) for member in zip(logits, targets, strict=True)])
    own, weights = mean_losses(logits, targets), torch.tensor([1.0, 0.5, -2.0])
    assert torch.allclose(own, expected)
    gradients = [torch.autograd.grad(losses, logits, weights, retain_graph=True)[0] for losses in (own, expected)]
    assert torch.allclose(gradients[0], gradients[1])
    assert gradients[0][0, 0, 2] == -0.2  # a probability of exp(-1000) is zero, and the gradient is complete
    assert mean_losses(logits.bfloat16(), targets).dtype == torch.float32


@pytest.mark.parametrize("members", [1, 3])
def test_folding_the_gain_into_the_weight_is_the_norm_before_the_product(members: int) -> None:
    inputs, gain, weight = draw(members, 5, 6), draw(members, 6, seed=1), draw(members, 4, 6, seed=2)
    assert torch.autograd.gradcheck(norm_project, (inputs, gain, weight))
    composed = F.rms_norm(inputs, (6,), eps=1e-6) * gain[:, None] @ weight.transpose(1, 2)
    assert torch.allclose(norm_project(inputs, gain, weight), composed)


@pytest.mark.parametrize("members", [1, 3])
def test_a_projection_is_added_to_the_stream(members: int) -> None:
    stream, inputs, weight = draw(members, 5, 4), draw(members, 5, 6, seed=1), draw(members, 4, 6, seed=2)
    leaves = stream, inputs, weight
    assert torch.autograd.gradcheck(lambda stream, *others: add_projected(stream.clone(), *others), leaves)
    assert torch.allclose(add_projected(stream.clone(), inputs, weight), stream + inputs @ weight.transpose(1, 2))


def test_under_autocast_products_are_rounded_and_the_stream_is_not() -> None:
    stream, inputs, weight = (part.detach().float() for part in (draw(1, 5, 4), draw(1, 5, 6), draw(1, 4, 6)))
    gain = torch.ones(1, 6)
    stream += 1e-4 * torch.arange(20).view(1, 5, 4)  # more digits than bfloat16 has
    with torch.autocast("cpu", torch.bfloat16):
        projected = norm_project(inputs, gain, weight)
        assert projected.dtype == torch.bfloat16
        kept = add_projected(stream.clone(), torch.zeros_like(inputs), weight)
    assert torch.equal(kept, stream)
    assert torch.allclose(projected.float(), norm_project(inputs, gain, weight), rtol=0.03, atol=0.03)


def test_gradients_under_autocast_are_near_those_without() -> None:
    sizes = (2, 8, 12), (2, 12), (2, 36, 12), (2, 20, 12), (2, 12, 10)
    leaves = [draw(*size, seed=seed).detach().float().requires_grad_() for seed, size in enumerate(sizes)]
    rotation = rotations(4, 2, 6, 1e4)

    def gradients() -> tuple[torch.Tensor, ...]:
        stream, gain, qkv, gate_up, down = leaves
        added = feed_forward(stream.clone(), gain, gate_up, down)
        parts = split_rotated(norm_project(added, gain, qkv), rotation, heads=2)
        return torch.autograd.grad(torch.stack([part.float().square().mean() for part in parts]).sum(), leaves)

    exact = gradients()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = gradients()
    for one, other in zip(exact, rounded, strict=True):
        assert other.dtype == torch.float32
        assert torch.linalg.vector_norm(other - one) < 0.02 * torch.linalg.vector_norm(one)


@pytest.mark.heavy
def test_splitting_and_rotating_have_the_gradient_of_the_composed_form() -> None:
    rotation = rotations(4, 2, 6, 1e4).to(torch.complex128)
    qkv = draw(2, 8, 36)

    def composed(qkv: torch.Tensor) -> tuple[torch.Tensor, ...]:
        query, key, value = qkv.chunk(3, dim=-1)
        return *(turn(part, rotation[:, :6]) for part in (query, key)), value

    for own, expected in zip(split_rotated(qkv.clone(), rotation, heads=2), composed(qkv), strict=True):
        assert torch.allclose(joined(own, members=2), expected)
    assert torch.autograd.gradcheck(lambda qkv: split_rotated(qkv.clone(), rotation, 2), (qkv,))


def joined(by_head: torch.Tensor, members: int) -> torch.Tensor:
    """Return (members * batch, heads, context, head width) as (members, batch * context, width)."""
    return by_head.transpose(1, 2).reshape(members, -1, by_head.shape[1] * by_head.shape[3])


def turn(vectors: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    """Rotate each pair of (members, batch * context, width) by its position's angle, in cosines and sines."""
    pairs = vectors.unflatten(1, (-1, len(rotation))).unflatten(-1, (-1, 2))
    cos, sin = rotation.real, rotation.imag
    turned = torch.stack((pairs[..., 0] * cos - pairs[..., 1] * sin, pairs[..., 0] * sin + pairs[..., 1] * cos), dim=-1)
    return turned.flatten(-2).flatten(1, 2)


def test_rotation_preserves_lengths_and_scores_depend_only_on_distances() -> None:
    heads, width = 2, 16
    rotation = rotations(32, heads, width // heads, 1e4)
    query, key = torch.randn(2, width, generator=torch.Generator().manual_seed(0))
    qkv = torch.cat([query, key, key]).expand(1, 32, 3 * width).clone()
    turned_queries, turned_keys, values = (joined(part, members=1)[0] for part in split_rotated(qkv, rotation, heads))
    assert torch.equal(values[7], key)
    assert torch.allclose(turned_queries.norm(dim=-1), query.norm().expand(32))
    assert torch.allclose(turned_queries[0], query)
    scores = (turned_queries[:, None] * turned_keys).unflatten(-1, (heads, -1)).sum(-1)  # (32, 32, heads)
    for distance in (-5, 0, 11):
        along = torch.diagonal(scores, offset=distance)
        assert torch.allclose(along, along[:, :1].expand_as(along), atol=1e-5)


def test_each_pair_rotates_at_its_own_rate() -> None:
    turned = rotations(100, 1, 8, 1e4)[99]
    expected = [complex(math.cos(angle), math.sin(angle)) for angle in (99, 9.9, 0.99, 0.099)]
    assert torch.allclose(turned, torch.tensor(expected * 2, dtype=torch.complex64), atol=1e-5)
