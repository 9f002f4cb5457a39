"""The hand-written layers and the model have the values and gradients of the plain reference, at every number type."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from sweeplaw.trials.accounting import Shape
from sweeplaw.trials.training import kernels, reference
from sweeplaw.trials.training.model import Transformer, rotations
from sweeplaw.trials.training.weights import UnshardedWeights

MEMBERS, BATCH, CONTEXT, WIDTH, HEADS, FFN, VOCABULARY = 2, 3, 8, 12, 2, 20, 17
POSITIONS = BATCH * CONTEXT

# Norm of the difference over the norm of the value or gradient. Measured at most 5e-16, 2e-7 and 8e-3 for a layer and
# 2e-6 and 2.2e-2 for a model of two blocks. In bfloat16 (eps 8e-3) the kernels round the weight times the gain, the
# reference the inputs times the gain.
LAYER = {torch.float64: 1e-14, torch.float32: 1e-6, torch.bfloat16: 2e-2}
MODEL = {torch.float32: 1e-5, torch.bfloat16: 5e-2}


@dataclass(frozen=True)
class Case:
    """A layer: its two implementations, and the sizes of its differentiable arguments.

    ``products`` is whether the first argument is the result of a matrix product, in bfloat16 under autocast.
    """

    own: Callable[..., Tensor | tuple[Tensor, ...]]
    plain: Callable[..., Tensor | tuple[Tensor, ...]]
    sizes: Sequence[tuple[int, ...]]
    rest: Callable[[torch.dtype], tuple[object, ...]] = lambda dtype: ()
    products: bool = False


def rotation(dtype: torch.dtype) -> tuple[Tensor, int]:
    complex_type = torch.complex128 if dtype == torch.float64 else torch.complex64
    return rotations(CONTEXT, HEADS, WIDTH // HEADS, 1e4).to(complex_type), HEADS


def targets(dtype: torch.dtype) -> tuple[Tensor]:
    return (torch.randint(VOCABULARY, (MEMBERS, POSITIONS), generator=torch.Generator().manual_seed(9)),)


STREAM, GAIN = (MEMBERS, POSITIONS, WIDTH), (MEMBERS, WIDTH)
CASES: Mapping[str, Case] = {
    "rms_norm": Case(kernels.rms_norm, reference.rms_norm, [STREAM, (MEMBERS, 1, WIDTH)]),
    "norm_project": Case(kernels.norm_project, reference.norm_project, [STREAM, GAIN, (MEMBERS, FFN, WIDTH)]),
    "project": Case(kernels.project, reference.project, [STREAM, (MEMBERS, FFN, WIDTH)]),
    "add_projected": Case(
        kernels.add_projected, reference.add_projected, [STREAM, (MEMBERS, POSITIONS, FFN), (MEMBERS, WIDTH, FFN)]
    ),
    "feed_forward": Case(
        kernels.feed_forward, reference.feed_forward, [STREAM, GAIN, (MEMBERS, 2 * FFN, WIDTH), (MEMBERS, WIDTH, FFN)]
    ),
    "mean_losses": Case(
        kernels.mean_losses, reference.mean_losses, [(MEMBERS, POSITIONS, VOCABULARY)], targets, products=True
    ),
    "split_rotated": Case(
        kernels.split_rotated, reference.split_rotated, [(MEMBERS, POSITIONS, 3 * WIDTH)], rotation, products=True
    ),
}


def draw(size: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def values_and_gradients(
    layer: Callable[..., Tensor | tuple[Tensor, ...]], leaves: Sequence[Tensor], *rest: object
) -> list[Tensor]:
    """Return the outputs of a layer, and the gradients of a random weighting of them."""
    copies = [leaf.clone() for leaf in leaves]  # some layers overwrite their arguments
    outputs = layer(*copies, *rest)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    values = [output.detach().clone() for output in outputs]
    weights = [draw(tuple(output.shape), seed).to(output.dtype) for seed, output in enumerate(outputs, start=20)]
    return [*values, *torch.autograd.grad(outputs, leaves, weights)]


def autocast(dtype: torch.dtype) -> contextlib.AbstractContextManager[object]:
    return torch.autocast("cpu", dtype) if dtype == torch.bfloat16 else contextlib.nullcontext()


def difference(found: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference over the norm of ``expected``; both have the same type."""
    assert found.dtype == expected.dtype
    return float(torch.linalg.vector_norm((found - expected).double()) / torch.linalg.vector_norm(expected.double()))


@pytest.mark.parametrize("dtype", LAYER, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_a_layer_has_the_values_and_gradients_of_the_reference(name: str, dtype: torch.dtype) -> None:
    """In bfloat16 under autocast: weights and stream are float32, and the results of products bfloat16."""
    case = CASES[name]
    leaf_type = torch.float32 if dtype == torch.bfloat16 and not case.products else dtype
    leaves = [draw(size, seed).to(leaf_type).requires_grad_() for seed, size in enumerate(case.sizes)]
    with autocast(dtype):
        own, plain = (values_and_gradients(layer, leaves, *case.rest(dtype)) for layer in (case.own, case.plain))
    for found, expected in zip(own, plain, strict=True):
        assert difference(found, expected) < LAYER[dtype]


@pytest.mark.parametrize("dtype", MODEL, ids=str)
@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.heavy
def test_the_model_has_the_losses_and_gradients_of_the_reference(tied: bool, qk_norm: bool, dtype: torch.dtype) -> None:
    shape = Shape(2, WIDTH, HEADS, FFN, VOCABULARY, tied_embeddings=tied, qk_norm=qk_norm)
    model = Transformer(shape, CONTEXT, [5, 6], "cpu", autocast=dtype if dtype == torch.bfloat16 else None)
    assert isinstance(model.weights, UnshardedWeights)
    parameters = model.weights.parameters
    for seed, (name, leaf) in enumerate(parameters.items()):  # gains other than 1, so that a misplaced one is detected
        if name.endswith("norm"):
            leaf.data.add_(0.3 * draw(tuple(leaf.shape), seed).float())
    size = (MEMBERS, BATCH, CONTEXT + 1)
    windows = torch.randint(VOCABULARY, size, generator=torch.Generator().manual_seed(0))
    with autocast(dtype):
        expected = reference.losses(parameters, shape, model.rotation, windows)
    gradients = torch.autograd.grad(expected, list(parameters.values()), torch.ones(MEMBERS))
    found = model.losses(windows)
    model.weights.backward(found)
    assert difference(found.detach(), expected.detach()) < MODEL[dtype]
    flat = torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)
    assert difference(model.weights.gradient, flat) < MODEL[dtype]
