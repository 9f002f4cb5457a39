"""Low-precision layers: the products of their definition, forward and backward, each member for itself; they train."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sweeplaw.trials.accounting import Shape
from sweeplaw.trials.corpus import open_corpus
from sweeplaw.trials.training import reference
from sweeplaw.trials.training.model import Transformer
from sweeplaw.trials.training.precision.formats import NumberFormat
from sweeplaw.trials.training.precision.layers import LowPrecisionLayers
from sweeplaw.trials.training.precision.noise import RoundingNoise
from sweeplaw.trials.training.precision.quantize import (
    LOW_PRECISIONS,
    BlockScales,
    LowPrecision,
    OperandFormat,
    QuantizedOperand,
    quantize,
)
from sweeplaw.trials.training.weights import UnshardedWeights

SHAPE, CONTEXT, SEQUENCES, STEPS = Shape(2, 16, 2, 40, 12), 16, 8, 50
Layers = LowPrecisionLayers | ModuleType
FINE = NumberFormat(22, 2.0**-90, 2.0**20)  # one bit less than float32
by_name = pytest.mark.parametrize("name", LOW_PRECISIONS)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def draw(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def noise(*seeds: int, step: int = 0) -> RoundingNoise:
    return RoundingNoise(seeds, step, 0, "cpu")


def plain(quantized: QuantizedOperand, contraction: int) -> Tensor:
    return (quantized.values * quantized.scale)[..., :contraction]


@by_name
def test_gradients_are_the_products_of_operands_quantized_along_their_own_contraction(name: str):
    precision = LOW_PRECISIONS[name]
    positions, inputs, outputs = 24, 20, 18
    x, weight = draw(2, positions, inputs), draw(2, outputs, inputs, seed=1)
    gradient = draw(2, positions, outputs, seed=2).detach()
    y = LowPrecisionLayers(precision, noise(3, 4)).project(x, weight)
    dx, dw = torch.autograd.grad(y, (x, weight), gradient)
    drawn = noise(3, 4) if precision.stochastic else None
    over_outputs = plain(quantize(gradient, precision.gradients, drawn), outputs)
    if precision.operands.blocks:
        over_positions = plain(quantize(gradient.mT, precision.gradients, drawn), positions)
    else:
        over_positions = over_outputs.mT
    forms = {"x": (x, inputs), "w": (weight, inputs), "w'": (weight.mT, outputs), "x'": (x.mT, positions)}
    q = {key: plain(quantize(value.detach(), precision.operands), size) for key, (value, size) in forms.items()}
    expected = q["x"] @ q["w"].mT, over_outputs @ q["w'"].mT, over_positions @ q["x'"].mT
    for found, other in zip((y.detach(), dx, dw), expected, strict=True):
        assert torch.allclose(found, other, rtol=1e-5, atol=1e-6 * float(other.abs().max()))  # summed in float32
    assert (y - reference.project(x, weight)).norm() > 1e-3 * y.norm()  # so that what is compared is not float32


@pytest.mark.parametrize("blocks", [None, BlockScales(16, FINE)], ids=["tensor", "blocks"])
def test_with_elements_of_nearly_all_bits_the_layers_are_those_of_the_reference(blocks: BlockScales | None):
    form = OperandFormat(FINE, blocks)
    layers = LowPrecisionLayers(LowPrecision(23, form, form, stochastic=True), noise(0, 1))
    stream, gain, mixed = draw(2, 24, 12), draw(2, 12, seed=1), draw(2, 24, 20, seed=2)
    gate_up, down = draw(2, 40, 12, seed=3), draw(2, 12, 20, seed=4)
    for found, expected, leaves in (
        (layers.norm_project(stream, gain, gate_up), reference.norm_project(stream, gain, gate_up), (stream, gain)),
        (layers.add_projected(stream, mixed, down), reference.add_projected(stream, mixed, down), (stream, down)),
        (
            layers.feed_forward(stream, gain, gate_up, down),
            reference.feed_forward(stream, gain, gate_up, down),
            (stream, gain, gate_up, down),
        ),
    ):
        pairs = [(found, expected)]
        gradients = (torch.autograd.grad(one.square().sum(), leaves) for one in (found, expected))
        pairs += zip(*gradients, strict=True)
        for one, other in pairs:
            assert (one - other).norm() < 1e-5 * other.norm()


@by_name
def test_a_member_of_a_stack_equals_it_alone_bit_for_bit(name: str):
    """Magnitudes from a half to one, of which sums are exact: no order of a sum can make a difference."""
    rng, layers = np.random.default_rng(0), LOW_PRECISIONS[name]

    def exact(*size: int) -> Tensor:
        return torch.from_numpy((rng.choice([-1, 1], size) * rng.uniform(0.5, 1, size)).astype(np.float32))

    x, weight, gradient = exact(3, 24, 20), exact(3, 18, 20), exact(3, 24, 18)
    weight *= torch.tensor([1.0, 0.01, 7.0])[:, None, None]

    def results(members: slice, *seeds: int) -> list[Tensor]:
        leaves = [x[members].clone().requires_grad_(), weight[members].clone().requires_grad_()]
        y = LowPrecisionLayers(layers, noise(*seeds)).project(*leaves)
        return [y.detach(), *torch.autograd.grad(y, leaves, gradient[members])]

    together = results(slice(0, 3), 7, 8, 9)
    for member, seed in enumerate((7, 8, 9)):
        alone = results(slice(member, member + 1), seed)
        for found, expected in zip(together, alone, strict=True):
            assert torch.equal(found[member : member + 1], expected)


def losses(parameters: dict[str, Tensor], rotation: Tensor, windows: Tensor, layers: Layers) -> Tensor:
    """`reference.losses` with the layers of a block given."""
    tokens, members = windows[..., :-1], len(windows)
    stream = parameters["embedding"][torch.arange(members)[:, None], tokens.flatten(1)]
    for block in range(SHAPE.depth):
        own = {name: parameters[f"{block}.{name}"] for name in ("attention_norm", "qkv", "attention_out", "ffn_norm")}
        qkv = layers.norm_project(stream, own["attention_norm"], own["qkv"])
        query, key, value = reference.split_rotated(qkv, rotation[:CONTEXT], SHAPE.heads)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2).reshape(stream.shape)
        stream = layers.add_projected(stream, mixed, own["attention_out"])
        rest = parameters[f"{block}.gate_up"], parameters[f"{block}.down"]
        stream = layers.feed_forward(stream, own["ffn_norm"], *rest)
    logits = reference.norm_project(stream, parameters["final_norm"], parameters["head"])
    return reference.mean_losses(logits, windows[..., 1:].flatten(1))


def trained(windows: Tensor, precision: str | None) -> float:
    """The loss of one member over the last ten of the steps."""
    model = Transformer(SHAPE, CONTEXT, [0], "cpu")
    assert isinstance(model.weights, UnshardedWeights)
    parameters, last = dict(model.weights.parameters), []
    optimizer = torch.optim.AdamW(list(parameters.values()), lr=1e-2)
    for step in range(STEPS):
        layers: Layers = reference
        if precision:
            layers = LowPrecisionLayers(LOW_PRECISIONS[precision], noise(0, step=step))
        loss = losses(parameters, model.rotation, windows[None, SEQUENCES * step : SEQUENCES * (step + 1)], layers)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        last.append(loss.item())
    return float(np.mean(last[-10:]))


@pytest.mark.heavy
def test_8_bits_train_nearly_as_float32_does_and_4_bits_worse():
    budget = open_corpus("markov:states=12,spread=1.5,tokens=65536", "none").budget(CONTEXT, CONTEXT * 500)
    windows = torch.from_numpy(budget.read(np.arange(SEQUENCES * STEPS)))
    exact, eight, four = (trained(windows, precision) for precision in (None, "fp8", "fp4"))
    assert exact < 2.3  # of 2.48 nats at equal probabilities
    assert abs(eight - exact) < 0.01
    assert abs(eight - exact) < four - exact < 0.1
