"""When a trial has memorized and grokked, on curves whose events are plain to see."""

from __future__ import annotations

import pytest

from sweeplaw.trials.workloads.modular_arithmetic.milestones import Accuracies, milestones


def curve(*accuracies: tuple[float, float]) -> list[Accuracies]:
    return [Accuracies(10 * number, *pair) for number, pair in enumerate(accuracies, 1)]


@pytest.mark.parametrize(
    ("points", "memorized", "grokked"),
    [
        (curve((0.5, 0.1), (1.0, 0.2), (1.0, 0.995), (1.0, 1.0)), (20, None), (30, None)),
        (curve((0.5, 0.1), (1.0, 0.2)), (20, None), (None, 20)),
        (curve((0.5, 0.1), (0.99, 0.99)), (None, 20), (None, 20)),  # at the threshold, not above it
        (curve((1.0, 1.0), (0.9, 0.8), (1.0, 1.0)), (10, None), (30, None)),  # what was lost again does not count
        (curve((1.0, 1.0), (1.0, 0.5)), (10, None), (None, 20)),
        (curve((1.0, 1.0)), (10, None), (10, None)),
        (curve((float("nan"), float("nan"))), (None, 10), (None, 10)),
    ],
)
def test_each_event_has_its_step_or_the_last_one_without_it(points, memorized, grokked):
    found = milestones(points)
    assert (found["memorized_step"], found["memorized_censored_step"]) == memorized
    assert (found["grok_step"], found["grok_censored_step"]) == grokked


def test_nothing_is_known_without_an_evaluation() -> None:
    assert set(milestones([]).values()) == {None}
