"""Work on what changes takes at most its share of the time."""

from __future__ import annotations

import threading

import pytest

from sweeplaw.orchestrator.live.pacing import Paced
from sweeplaw.trials.errors import InputError


def test_a_tenth_of_the_time_is_spent_at_most() -> None:
    now = [0.0]
    paced: Paced[int] = Paced(0.1, clock=lambda: now[0], spent=lambda: now[0])

    def work() -> int:
        now[0] += 2.0
        return 1

    spent = 0.0
    while now[0] < 1000:
        if paced.due(key := now[0]):
            paced.do(key, work)
            spent += 2.0
        else:
            now[0] += 0.5
    assert 80 < spent <= 100


def test_without_a_new_key_nothing_is_done() -> None:
    paced: Paced[int] = Paced(1.0, clock=lambda: 5.0, spent=lambda: 5.0)
    assert paced.due("a")
    assert paced.do("a", lambda: 3) == paced.result == 3
    assert not paced.due("a")
    assert paced.due("b")


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (InputError("too few rows", where="s"), "too few rows"),
        (OSError("no disk"), "no disk"),
        (ZeroDivisionError("by zero"), "unexpected ZeroDivisionError: by zero"),
    ],
)
def test_whatever_ends_work_in_the_background_is_why_it_has_no_result(
    error: Exception, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda about: ended.append(about.exc_value))
    paced: Paced[int] = Paced(1.0)

    def work() -> int:
        raise error

    paced.start("a", work)
    paced.wait(60)
    assert problem in paced.problem
    assert ended == ([error] if isinstance(error, ZeroDivisionError) else [])
