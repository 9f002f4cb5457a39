"""Learning-rate schedules against their closed forms."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeplaw.trials.training.schedules.lr_schedule import SHAPES, Schedule
from sweeplaw.trials.training.schedules.points import parse, write


@pytest.mark.heavy
def test_cosine_without_warmup_is_torchs_cosine_annealing() -> None:
    import torch

    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    peer = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50, eta_min=0.1)
    ours = Schedule("cosine", 50, final_fraction=0.1)
    for step in range(50):
        assert ours(step) == pytest.approx(peer.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        peer.step()


def test_linear_falls_by_equal_steps_towards_its_end() -> None:
    schedule = Schedule("linear", 100, warmup_fraction=0.2, final_fraction=0.5)
    assert schedule(20) == 1.0
    assert schedule(60) == pytest.approx(0.75)
    assert schedule(99) == pytest.approx(0.5 + 0.5 / 80)


def test_wsd_is_flat_and_falls_over_its_last_part() -> None:
    schedule = Schedule("wsd", 100, warmup_fraction=0.1, decay_fraction=0.2)
    assert {schedule(step) for step in range(10, 81)} == {1.0}
    assert schedule(90) == pytest.approx(0.5)
    assert schedule(99) == pytest.approx(1 / 20)


def test_constant_is_constant_after_warmup() -> None:
    assert {Schedule("constant", 40, warmup_fraction=0.25)(step) for step in range(10, 40)} == {1.0}


@pytest.mark.heavy
@given(
    shape=st.sampled_from(sorted(SHAPES)),
    steps=st.integers(1, 500),
    warmup=st.floats(0, 1),
    final=st.floats(0, 1),
    decay=st.floats(0, 1),
)
def test_every_schedule_rises_to_its_peak_and_stays_within_its_bounds(
    shape: str, steps: int, warmup: float, final: float, decay: float
) -> None:
    schedule = Schedule(shape, steps, warmup, final, decay, points=((0.0, 1.0), (0.3, 0.9), (1.0, 0.1)))
    values = [schedule(step) for step in range(steps)]
    assert all(0 < value <= 1 or math.isclose(value, 0, abs_tol=1e-12) for value in values)
    peak = schedule.warmup_steps
    assert values[peak] == 1.0
    assert values[:peak] == sorted(values[:peak])
    assert all(earlier >= later - 1e-12 for earlier, later in zip(values[peak:], values[peak + 1 :], strict=False))
    if shape not in ("inverse_sqrt", "points"):
        assert all(value >= final - 1e-12 for value in values[peak:])


def test_inverse_sqrt_falls_with_the_root_of_the_steps_from_the_end_of_warmup() -> None:
    schedule = Schedule("inverse_sqrt", 400, warmup_fraction=0.1)
    assert schedule(40) == 1.0
    assert schedule(4 * 41 - 1) == pytest.approx(0.5)
    assert schedule(9 * 41 - 1) == pytest.approx(1 / 3)


def test_points_are_connected_by_lines_after_warmup() -> None:
    schedule = Schedule("points", 110, 1 / 11, points=parse("0: 1, 0.5: 0.8, 1: 0"))
    assert [schedule(step) for step in (10, 35, 60, 85)] == pytest.approx([1.0, 0.9, 0.8, 0.4])
    assert parse(write(schedule.points)) == schedule.points


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("0: 1, 1", "'1' is no point"),
        ("0: 1, x: 2", "'x: 2' is no point"),
        ("0: 1", "the shares of the run are [0.0]"),
        ("0: 1, 0.5: 1, 0.4: 1, 1: 0", "increasing, from 0 to 1"),
        ("0: 1, 1: 1.5", "a share of lr is outside [0, 1]"),
        ("0: nan, 1: 0", "a share of lr is outside [0, 1]"),
    ],
)
def test_points_that_are_none_are_refused(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=re.escape(fault)):
        parse(text)
