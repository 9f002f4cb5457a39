"""A launch in memory, on a clock of its own: its rate, its best loss, and what each pack has left."""

from __future__ import annotations

import datetime as dt

import pytest

from sweeplaw.orchestrator.launch.state import LaunchState
from tests.conftest import EPOCH, make_record


class HandClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> dt.datetime:
        return EPOCH + dt.timedelta(seconds=self.seconds)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def state(clock: HandClock) -> LaunchState:
    begun = LaunchState(clock)
    begun.begin(todo=1000, slots=2)
    return begun


@pytest.mark.parametrize(
    ("gap", "until", "rate"), [(1.0, 30, 31 / 30), (1.0, 100, 61 / 60), (0.25, 90, 4.0), (7.0, 140, 9 / 60)]
)
def test_the_rate_is_that_of_the_last_minute(
    state: LaunchState, clock: HandClock, gap: float, until: int, rate: float
) -> None:
    for number in range(int(until / gap) + 1):
        clock.seconds = gap * number
        state.recorded([make_record(number)])
    clock.seconds = until
    assert state.snapshot().rate == pytest.approx(rate, rel=0.02)
    clock.seconds = until + 61
    assert state.snapshot().rate == 0


def test_the_rate_of_the_first_second_is_no_more_than_what_ended(state: LaunchState, clock: HandClock) -> None:
    clock.seconds = 0.01
    state.recorded([make_record(seed) for seed in range(3)])
    assert state.snapshot().rate == 3


def test_the_best_loss_is_the_lowest_of_completed_trials(state: LaunchState) -> None:
    assert state.snapshot().best_loss is None
    state.recorded([make_record(1, state="failed", loss=0.1), make_record(2, loss=None)])
    assert state.snapshot().best_loss is None
    state.recorded([make_record(3, loss=2.5), make_record(4, loss=2.0), make_record(5, loss=3.0)])
    found = state.snapshot()
    assert (found.best_loss, dict(found.states)) == (2.0, {"failed": 1, "completed": 4})


def test_seconds_count_from_when_the_cluster_was_ready(clock: HandClock) -> None:
    state = LaunchState(clock)
    clock.seconds = 5
    assert (state.seconds, state.begun) == (0, False)
    state.begin(todo=3, slots=2)
    clock.seconds = 12
    assert (state.seconds, state.begun, state.snapshot().seconds) == (7, True, 7)
    assert (state.snapshot().todo, state.snapshot().slots) == (3, 2)


def test_only_the_first_reason_to_end_counts_and_a_retry_is_counted(state: LaunchState) -> None:
    from sweeplaw.orchestrator.launch.state import EarlyEnd

    for reason in ("first", "second"):
        state.drain(EarlyEnd("preempted", reason))
    assert state.end is not None
    assert (state.draining, state.end.reason) == (True, "first")
    state.retried()
    assert (state.retries, state.snapshot().retries) == (1, 1)
