"""Batches of real and synthetic windows: exact shares, the real text in the order that it has without the other."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from sweeplaw.analysis.recipes.study.distillation import student_steps
from sweeplaw.trials.accounting import length
from sweeplaw.trials.corpus.order import Mixture, batches, positions, read
from sweeplaw.trials.corpus.shuffle import Shuffle
from sweeplaw.trials.corpus.streams import DataBudget, TokenStream

REAL, OTHER = 10, 7  # windows
CONTEXT = 4


def budget(first: int, windows: int) -> DataBudget:
    """A budget whose tokens are consecutive numbers from ``first`` on."""
    stream = TokenStream.whole(np.arange(first, first + windows * CONTEXT + 1))
    return DataBudget(stream, CONTEXT, windows, Shuffle(windows, "windows"))


def mixture(weight: float) -> Mixture:
    return Mixture(budget(0, REAL), budget(1000, OTHER), weight)


@pytest.mark.parametrize("weight", [0.0, 0.1, 0.25, 0.5, 0.7, 0.75, 0.9, 0.95])
def test_of_the_first_n_windows_the_share_is_real_and_in_its_own_order(weight):
    windows = read(mixture(weight), 3, 0, 400)
    is_real = windows[:, 0] < 1000
    share = 1 - Fraction(str(weight))
    assert np.cumsum(is_real).tolist() == [math.ceil(n * share) for n in range(1, 401)]
    count = int(is_real.sum())
    assert np.array_equal(windows[is_real], budget(0, REAL).read(positions(REAL, 3, 0, count)))
    assert np.array_equal(windows[~is_real], budget(1000, OTHER).read(positions(OTHER, 3, 0, 400 - count)))


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.9])
def test_a_run_can_begin_anywhere(weight):
    whole = read(mixture(weight), 1, 0, 120)
    for begin, end in ((0, 1), (5, 77), (119, 120), (40, 40)):
        assert np.array_equal(read(mixture(weight), 1, begin, end), whole[begin:end])
    resumed = list(batches(mixture(weight), 1, 8, 15, begin=6))
    assert np.array_equal(np.concatenate(resumed), whole[48:])


def test_without_synthetic_text_the_batches_are_those_of_the_real_text_alone():
    alone, mixed = (list(batches(data, 5, 3, 20)) for data in (budget(0, REAL), mixture(0.0)))
    assert np.array_equal(alone, mixed)


@pytest.mark.parametrize("weight", [0.5, 0.75, 0.9])
def test_a_run_sees_every_real_window_as_often_as_its_epochs_say(weight):
    run = length(REAL * CONTEXT, 6, 2, CONTEXT, weight)
    windows = np.concatenate(list(batches(mixture(weight), 2, 2, run.steps)))
    real = windows[windows[:, 0] < 1000, 0]
    assert np.unique(real, return_counts=True)[1].tolist() == [6] * REAL


def test_steps_are_those_of_the_published_student():
    # Kim et al. 2025: 800 steps an epoch of 64 x 4,096 tokens, 16 epochs, weight 0.9
    run = length(209_715_200, 16, 64, 4096, 0.9)
    assert run.steps == student_steps(800, 16, 0.9) == 128_000
    assert run.tokens == 128_000 * 262_144
    assert length(209_715_200, 16, 64, 4096) == length(209_715_200, 16, 64, 4096, 0.0)
