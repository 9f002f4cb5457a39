"""Quantized operands and their products are those of loops over exact numbers, and each member has its own scales."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from sweeplaw.trials.training.precision.formats import E4M3, E5M2, NumberFormat
from sweeplaw.trials.training.precision.noise import RoundingNoise
from sweeplaw.trials.training.precision.quantize import (
    LOW_PRECISIONS,
    NVFP4,
    OperandFormat,
    product,
    quantize,
    quantize_both,
)
from tests.trials.training.precision import slow_rounding
from tests.trials.training.precision.slow_rounding import nearest

BLOCK = 16
FORMS = {"e4m3": OperandFormat(E4M3), "e5m2": OperandFormat(E5M2), "nvfp4": NVFP4}
by_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
f32 = np.float32
Rows = list[list[Fraction]]


def draw(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def even_sized(*size: int, seed: int) -> Tensor:
    """Numbers of magnitudes from a half to one: sums of a few products of their roundings are exact in float32."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy((rng.choice([-1, 1], size) * rng.uniform(0.5, 1, size)).astype(f32))


def slow_tensor_scaled(rows: np.ndarray, form: NumberFormat, numbers: list[Fraction]) -> tuple[Rows, np.float32]:
    """Elements of one member with one scale a tensor, and that scale."""
    factor = f32(form.largest) / f32(max(abs(value) for row in rows for value in row))
    return [[nearest(float(value * factor), numbers) for value in row] for row in rows], f32(1) / factor


def slow_block_scaled(rows: np.ndarray) -> tuple[Rows, np.float32]:
    """Elements of one member in NVFP4, multiplied by their block scales, and the scale of the tensor."""
    factor = f32(6 * 448) / f32(max(abs(value) for row in rows for value in row))
    found = []
    for row in rows:
        values: list[Fraction] = []
        for start in range(0, len(row), BLOCK):
            block = row[start : start + BLOCK]
            largest = max(abs(value) for value in block)
            scale = nearest(float(largest * (factor / f32(6))), slow_rounding.E4M3)
            for value in block:
                ratio = float(value * (factor / f32(float(scale)))) if scale else 0.0
                values.append(nearest(ratio, slow_rounding.E2M1) * scale)
        found.append(values)
    return found, f32(1) / factor


def slow(rows: np.ndarray, form: OperandFormat) -> tuple[Rows, np.float32]:
    if form.blocks:
        return slow_block_scaled(rows)
    return slow_tensor_scaled(rows, form.elements, {E4M3: slow_rounding.E4M3, E5M2: slow_rounding.E5M2}[form.elements])


@by_form
@pytest.mark.parametrize("contraction", [1, 16, 37])
def test_operands_are_those_of_a_loop_over_their_elements(form: OperandFormat, contraction: int):
    operand = draw(2, 5, contraction, seed=contraction) * torch.tensor([1e-4, 30.0])[:, None, None]
    operand[0, 1] = 0.0
    operand[1, 2] *= 1e-5  # whose blocks have scales below the least of E4M3
    operand[1, 3] *= 1e-2
    found = quantize(operand, form)
    for member, rows in enumerate(operand.numpy()):
        values, scale = slow(rows, form)
        assert found.values[member, :, :contraction].tolist() == [[float(value) for value in row] for row in values]
        assert not found.values[member, :, contraction:].any()
        assert found.scale[member].item() == scale


@pytest.mark.parametrize("name", LOW_PRECISIONS)
def test_a_product_is_that_of_loops_in_exact_arithmetic(name: str):
    """Left operand gradients, right operand weights: every sum is a number of float32, whatever its order."""
    precision = LOW_PRECISIONS[name]
    left, right = even_sized(2, 4, 24, seed=1), even_sized(2, 3, 24, seed=2)
    right *= torch.tensor([1.0, 8.0])[:, None, None]
    found = product(quantize(left, precision.gradients), quantize(right, precision.operands))
    for member in range(2):
        rows, row_scale = slow(left[member].numpy(), precision.gradients)
        columns, column_scale = slow(right[member].numpy(), precision.operands)
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                exact = sum(one * other for one, other in zip(row, column, strict=True))
                assert Fraction(float(f32(exact))) == exact  # the premise of comparing without a tolerance
                assert found[member, i, j].item() == f32(exact) * (row_scale * column_scale)


@by_form
def test_both_ways_is_each_way_alone(form: OperandFormat):
    operand = draw(2, 20, 33)
    over_columns, over_rows = quantize_both(operand, form)
    for found, alone in ((over_columns, quantize(operand, form)), (over_rows, quantize(operand.transpose(1, 2), form))):
        assert torch.equal(found.values, alone.values)
        assert torch.equal(found.scale, alone.scale)


@by_form
def test_a_member_is_quantized_as_it_is_alone(form: OperandFormat):
    operand = draw(3, 8, 40) * torch.tensor([1.0, 1e-6, 1e6])[:, None, None]
    noise = RoundingNoise([5, 6, 7], 3, 0, "cpu")
    for drawn in (False, True):
        together = quantize(operand, form, noise if drawn else None)
        for member, seed in enumerate((5, 6, 7)):
            own = RoundingNoise([seed], 3, 0, "cpu") if drawn else None
            alone = quantize(operand[member : member + 1], form, own)
            assert torch.equal(together.values[member : member + 1], alone.values)
            assert torch.equal(together.scale[member : member + 1], alone.scale)


@by_form
@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan])
def test_a_member_that_has_diverged_is_nan_and_the_others_are_as_before(form: OperandFormat, bad: float):
    operand, weight = draw(2, 4, 20), draw(2, 6, 20, seed=1)
    expected = product(quantize(operand, form), quantize(weight, form))
    operand[0, 1, 2] = bad
    found = product(quantize(operand, form), quantize(weight, form))
    assert found[0].isnan().all()
    assert torch.equal(found[1], expected[1])


@by_form
def test_zeros_are_zeros_and_tiny_numbers_do_not_overflow(form: OperandFormat):
    operand = torch.stack([torch.zeros(3, 20), torch.full((3, 20), 1e-38)])
    found = product(quantize(operand, form), quantize(draw(2, 4, 20), form))
    assert not found[0].any()
    assert found.isfinite().all()


@by_form
def test_the_error_of_an_element_is_at_most_half_a_spacing_of_its_format(form: OperandFormat):
    operand = draw(1, 64, 64)
    found = quantize(operand, form)
    error = (found.values * found.scale - operand).abs()
    half = 2.0 ** -(form.elements.mantissa + 1)
    if form.blocks is None:
        floor = form.elements.least_normal * half * found.scale
        assert bool((error <= (operand.abs() * half).maximum(floor) * (1 + 1e-6)).all())
    else:  # a sixth of the block's largest is the spacing of E2M1 below 2; its scale may be a sixteenth too small
        largest = operand.unflatten(-1, (-1, BLOCK)).abs().amax(-1, keepdim=True).expand(1, 64, 4, BLOCK).flatten(2)
        assert bool((error <= largest / 6 * (1 + 1 / 16)).all())


def test_noise_is_that_of_seed_step_and_place_and_of_no_other():
    shape = torch.empty(1, 1000)
    first = RoundingNoise([1], 2, 0, "cpu").like(shape)
    assert torch.equal(first, RoundingNoise([1], 2, 0, "cpu").like(shape))
    for other in (RoundingNoise([2], 2, 0, "cpu"), RoundingNoise([1], 3, 0, "cpu"), RoundingNoise([1], 2, 4, "cpu")):
        assert abs(torch.corrcoef(torch.cat([first, other.like(shape)]))[0, 1]) < 0.2  # 6 standard errors
    noise = RoundingNoise([1], 2, 0, "cpu")
    assert torch.equal(noise.like(shape), first)
    assert not torch.equal(noise.like(shape), first)


def test_stochastic_gradients_of_4_bits_have_the_mean_of_the_gradient():
    gradient, draws = draw(1, 4, 32), 2000
    drawn = quantize(gradient.expand(draws, -1, -1), NVFP4, RoundingNoise(range(draws), 0, 0, "cpu"))
    rounded = quantize(gradient, NVFP4)
    mean = (drawn.values * drawn.scale).mean(dim=0)
    biased = (rounded.values * rounded.scale - gradient).abs().mean()
    assert (mean - gradient).abs().mean() < 0.15 * biased  # what is left: noise, and blocks whose largest saturates
