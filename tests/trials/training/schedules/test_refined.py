"""Schedules refined from gradient norms, against the formula and its closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from sweeplaw.trials.training.schedules.refined import refined


def test_constant_norms_give_the_linear_decay_to_zero() -> None:
    points = refined(range(10, 1001, 10), [0.7] * 100, 1000, power=1)
    assert [place for place, _ in points] == pytest.approx(np.linspace(0, 1, len(points)))
    assert [height for _, height in points] == pytest.approx([1 - place for place, _ in points], abs=2e-3)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_norms_that_grow_as_a_power_of_time_give_the_formula(power: float) -> None:
    """With w = t^-p q, the continuous form of w(t) times the integral of w from t to 1, over its largest value."""
    steps = np.arange(1, 2001)
    exponent = 0.3
    points = refined(steps.tolist(), ((steps / 2000) ** exponent).tolist(), 2000, power)
    place = np.array([one for one, _ in points])[3:]
    rate = exponent * power
    expected = place**-rate * (1 - place ** (1 - rate)) / (1 - rate)
    found = np.array([height for _, height in points])[3:]
    assert found / found[0] == pytest.approx(expected / expected[0], abs=0.02)


def test_one_spike_of_the_norm_does_not_change_the_schedule() -> None:
    calm = [1.0] * 100
    spiked = [*calm[:50], 100.0, *calm[51:]]
    steps = range(10, 1001, 10)
    assert refined(steps, spiked, 1000, 1) == refined(steps, calm, 1000, 1)


def test_the_median_is_over_a_tenth_of_the_run() -> None:
    steps, calm = range(10, 1001, 10), [0.7] * 100

    def spiked(count: int) -> list[float]:
        return [*calm[:40], *[50.0] * count, *calm[40 + count :]]

    assert refined(steps, spiked(5), 1000, 1) == refined(steps, calm, 1000, 1)  # five of the eleven within
    assert refined(steps, spiked(6), 1000, 1) != refined(steps, calm, 1000, 1)


@pytest.mark.parametrize("norms", [[1.0, 1.0], [1.0, 0.0, 1.0], [1.0, float("nan"), 1.0]])
def test_too_few_norms_and_norms_of_zero_are_refused(norms: list[float]) -> None:
    with pytest.raises(ValueError, match="gradient norms"):
        refined(range(1, len(norms) + 1), norms, 10, 1)
