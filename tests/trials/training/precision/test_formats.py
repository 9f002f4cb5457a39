"""Rounding to a format of few bits is that of its definition: exact at every number and every midpoint."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from sweeplaw.trials.training.precision.formats import E2M1, E4M3, E5M2, NumberFormat, round_to
from tests.trials.training.precision import slow_rounding
from tests.trials.training.precision.slow_rounding import nearest

FORMATS = {"e4m3": (E4M3, slow_rounding.E4M3), "e5m2": (E5M2, slow_rounding.E5M2), "e2m1": (E2M1, slow_rounding.E2M1)}
by_format = pytest.mark.parametrize(("form", "numbers"), FORMATS.values(), ids=FORMATS)


def tensor(values: list[Fraction]) -> Tensor:
    found = torch.tensor([float(value) for value in values])
    assert [Fraction(value) for value in found.tolist()] == values  # they are numbers of float32
    return found


def test_the_formats_have_the_numbers_that_are_published():
    assert [float(value) for value in slow_rounding.E2M1] == [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    for form, numbers, smallest in ((E4M3, slow_rounding.E4M3, 2.0**-9), (E5M2, slow_rounding.E5M2, 2.0**-16)):
        assert (float(numbers[1]), float(numbers[-1])) == (smallest, form.largest)


@by_format
def test_every_number_of_a_format_is_itself(form: NumberFormat, numbers: list[Fraction]):
    values = torch.cat([tensor(numbers), -tensor(numbers)])
    assert torch.equal(round_to(values, form), values)
    assert torch.equal(round_to(values, form, torch.full_like(values, 0.5)), values)


@by_format
def test_between_neighbours_the_nearer_wins_and_at_the_middle_the_even_one(form: NumberFormat, numbers: list[Fraction]):
    lower, upper = tensor(numbers[:-1]), tensor(numbers[1:])
    middle = tensor([(one + other) / 2 for one, other in pairwise(numbers)])
    even = torch.where(torch.arange(len(lower)) % 2 == 0, lower, upper)
    for sign in (1, -1):
        assert torch.equal(round_to(sign * middle, form), sign * even)
        assert torch.equal(round_to(sign * torch.nextafter(middle, lower), form), sign * lower)
        assert torch.equal(round_to(sign * torch.nextafter(middle, upper), form), sign * upper)


@by_format
def test_any_number_is_rounded_as_by_comparison_with_all(form: NumberFormat, numbers: list[Fraction]):
    rng = np.random.default_rng(0)
    values = (rng.choice([-1, 1], 1000) * 2.0 ** rng.uniform(-25, 20, 1000)).astype(np.float32)
    found = round_to(torch.from_numpy(values), form).tolist()
    assert found == [float(nearest(float(value), numbers)) for value in values]


@pytest.mark.parametrize(("form", "cast"), [(E4M3, torch.float8_e4m3fn), (E5M2, torch.float8_e5m2)], ids=str)
def test_rounding_to_8_bits_is_the_cast_of_torch(form: NumberFormat, cast: torch.dtype):
    patterns = torch.arange(2**16, dtype=torch.int32).to(torch.int16)
    coarse = patterns.view(torch.bfloat16).float()  # every sign and exponent
    more = torch.randint(2**16, coarse.shape, dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    fine = (coarse.view(torch.int32) + more).view(torch.float32)
    values = torch.cat([coarse, fine])
    values = values[values.abs() <= form.largest]
    assert torch.equal(round_to(values, form), values.to(cast).float())


@by_format
def test_what_is_too_large_becomes_the_largest_and_nan_stays(form: NumberFormat, numbers: list[Fraction]):
    beyond = torch.tensor([form.largest * 1.001, 1e30, torch.inf])
    assert round_to(torch.cat([beyond, -beyond]), form).tolist() == [form.largest] * 3 + [-form.largest] * 3
    assert round_to(torch.cat([beyond, -beyond]), form, torch.zeros(6)).abs().tolist() == [form.largest] * 6
    assert round_to(torch.tensor([torch.nan]), form).isnan().all()
    assert round_to(torch.tensor([torch.nan]), form, torch.zeros(1)).isnan().all()


@by_format
def test_stochastic_rounding_goes_up_with_exactly_the_share_that_lies_below(
    form: NumberFormat, numbers: list[Fraction]
):
    parts = 64
    noise = torch.arange(parts) / parts  # what uniform numbers of so many values are, each once
    shares = np.random.default_rng(0).integers(1, parts, len(numbers) - 1)
    for (lower, upper), share in zip(pairwise(numbers), shares, strict=True):
        value = float(lower + (upper - lower) * Fraction(int(share), parts))
        for sign in (1, -1):
            found = round_to(torch.full((parts,), sign * value), form, noise).mul_(sign)
            assert (found == float(upper)).sum().item() == share
            assert (found == float(lower)).sum().item() == parts - share


def test_the_mean_of_stochastic_rounding_is_the_value():
    generator = torch.Generator().manual_seed(0)
    value = torch.full((40_000,), 2.3)
    drawn = round_to(value, E2M1, torch.rand(value.shape, generator=generator))
    assert drawn.unique().tolist() == [2, 3]
    assert drawn.mean().item() == pytest.approx(2.3, abs=5 * 0.3**0.5 * 0.7**0.5 / 200)  # 5 standard errors
