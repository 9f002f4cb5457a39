"""Calls that would end the process of a trial end the trial alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

from sweeplaw.trials.workloads.user_code.function_thread import reported_points


def error_of(body: Callable[[], object]) -> BaseException | None:
    """Return what the body of a trial has raised."""

    def run(put: object) -> None:
        body()

    points = reported_points(run, "0" * 20)
    with pytest.raises(StopIteration) as ended:
        next(points)
    return ended.value.value


@pytest.mark.process  # a failure ends the process of the tests
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: os._exit(0), "_exit"),
        (lambda: os.execv("/bin/true", ["true"]), "execv"),
        (lambda: os.execl("/bin/true", "true"), "execv"),
        (lambda: os.execvp("true", ["true"]), "execv"),
        (lambda: os.execlpe("true", "true", {}), "execve"),
    ],
)
def test_a_call_that_ends_the_process_ends_the_trial_alone(call, name):
    before = os._exit, os.execv, os.execve
    error = error_of(call)
    assert isinstance(error, SystemExit)
    assert f"os.{name} would have ended the process of the trial" in str(error)
    assert (os._exit, os.execv, os.execve) == before


@pytest.mark.process
@pytest.mark.parametrize("call", [lambda: os._exit(7), lambda: os.execv("/bin/sh", ["sh", "-c", "exit 7"])])
def test_a_process_that_a_trial_forks_ends_as_it_asks(call):
    seen = []

    def body() -> None:
        if (child := os.fork()) == 0:
            call()
        seen.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    assert error_of(body) is None
    assert seen == [7]


def test_other_threads_call_the_real_ones(monkeypatch):
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)

    def body() -> None:
        other = threading.Thread(target=lambda: os._exit(3))
        other.start()
        other.join()

    assert error_of(body) is None
    assert codes == [3]
