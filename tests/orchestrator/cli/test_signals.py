"""Signals end a launch at any moment, in bounded time, with the documented exit code; nothing is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sweeplaw.clusters.connect import cleanup
from sweeplaw.orchestrator.cli.shared import signals
from sweeplaw.orchestrator.cli.shared.signals import Signals, StoppedBySignal
from sweeplaw.orchestrator.launch.state import LaunchState
from tests.paths import ROOT
from tests.processes import is_alive

PATIENCE = 120.0  # seconds; a loaded machine is slow
SWEEP = """
name = "t"
workload = "surrogate"
seeds = 3
[scientific]
params = [1000, 2000]
tokens = [50, 70]
[fixed]
seconds = 0.1
"""


@pytest.fixture(autouse=True)
def as_in_a_terminal() -> Iterator[None]:
    """Take signals as in a terminal: below `nohup` some come ignored, and a launch leaves them so."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take signals that come at once for different requests."""
    monkeypatch.setattr(signals, "SAME_SECONDS", 0.0)


def running() -> LaunchState:
    state = LaunchState()
    state.begin(todo=1, slots=1)
    return state


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_before_trials_run_a_signal_ends_the_launch_at_once(number: signal.Signals, code: int) -> None:
    before = signal.getsignal(number)
    handling = Signals()
    with pytest.raises(StoppedBySignal) as stopped, handling.handled():  # noqa: PT012
        handling.launch_state = LaunchState()
        signal.raise_signal(number)
    assert stopped.value.exit_code == code
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_while_trials_run_the_first_signal_drains_and_the_second_ends(number: signal.Signals, no_pause: None) -> None:
    handling = Signals()
    with handling.handled():
        handling.launch_state = running()
        signal.raise_signal(number)
        assert handling.launch_state.end is not None
        assert handling.launch_state.end.reason == f"received {number.name}"
        with pytest.raises(StoppedBySignal, match=number.name):
            signal.raise_signal(number)


def seconds_left() -> float:
    """Return in how many seconds this process gets its alarm; 0 for none."""
    return signal.getitimer(signal.ITIMER_REAL)[0]


@pytest.mark.parametrize("grace", [0.0, 30.9])
def test_a_launch_that_drains_has_the_grace_of_its_workers_and_a_minute(grace: float) -> None:
    handling = Signals()
    with handling.handled():
        handling.launch_state, handling.grace_seconds = running(), grace
        signal.raise_signal(signal.SIGTERM)
        assert 60 + int(grace) - 5 < seconds_left() <= 60 + grace
    assert seconds_left() == 0, "an alarm after the launch would end whatever runs then"


def test_an_interrupted_launch_has_a_minute_to_end_and_no_time_is_work_from_then_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    interrupted: list[LaunchState] = []
    monkeypatch.setattr(LaunchState, "interrupt", lambda state: interrupted.append(state))
    handling = Signals()
    with handling.handled():
        handling.launch_state, handling.grace_seconds = running(), 3600.0
        with pytest.raises(StoppedBySignal):
            signal.raise_signal(signal.SIGINT)
        assert 55 < seconds_left() <= 60
    assert interrupted == [handling.launch_state]


def test_a_launch_that_has_not_drained_in_time_is_stopped_by_what_it_was_asked_for_first(
    no_pause: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "MARGIN_SECONDS", 1)
    handling = Signals()
    with handling.handled():
        handling.launch_state = running()
        signal.raise_signal(signal.SIGHUP)
        with pytest.raises(StoppedBySignal, match="received SIGHUP"):
            signal.raise_signal(signal.SIGALRM)


def test_while_it_drains_an_alarm_of_a_trial_is_no_deadline(no_pause: None) -> None:
    handling = Signals()
    with handling.handled():
        handling.launch_state = running()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGALRM)
    assert handling.stopped is None


@pytest.mark.parametrize("terminal", [True, False])
def test_what_ends_at_once_leaves_the_terminal_with_its_cursor(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, no_pause: None
) -> None:
    said: list[Any] = []
    monkeypatch.setattr(os, "isatty", lambda stream: terminal)
    monkeypatch.setattr(os, "write", lambda stream, text: said.append((stream, text)))
    monkeypatch.setattr(os, "_exit", said.append)
    handling = Signals()
    with handling.handled():
        for _ in range(2):
            with pytest.raises(StoppedBySignal):
                signal.raise_signal(signal.SIGINT)
    cursor = b"\x1b[?25h" if terminal else b""
    assert said == [(2, cursor + b"\nsweeplaw: ended at once\n"), 130]


def test_a_signal_sent_twice_at_once_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """`timeout` sends its signal to the process and then to its group, which has it twice."""
    monkeypatch.setattr(signals, "SAME_SECONDS", 60.0)
    handling = Signals()
    with handling.handled():
        handling.launch_state = running()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert handling.launch_state.draining


def test_an_interrupt_does_not_wait_for_checkpoints() -> None:
    handling = Signals()
    with pytest.raises(StoppedBySignal, match="interrupted"), handling.handled():  # noqa: PT012
        handling.launch_state = running()
        signal.raise_signal(signal.SIGINT)


FORKED = """
import os, signal, threading, time
from sweeplaw.orchestrator.cli.shared.signals import Signals
from sweeplaw.orchestrator.launch.state import LaunchState

def forked():
    child = os.fork()
    if not child:
        threading.Event().wait()  # as a worker of a pool waits for its next task
    time.sleep(0.1)
    os.kill(child, {number})
    ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

ended, handling = [], Signals()
with handling.handled():
    handling.launch_state = LaunchState()
    handling.launch_state.begin(todo=1, slots=1)
    thread = threading.Thread(target=forked)  # that of a trial
    thread.start()
    thread.join()
    before = handling.launch_state.end
    os.kill(os.getpid(), signal.SIGTERM)
    while handling.launch_state.end is None: time.sleep(0.01)
print(ended[0], before)
"""


@pytest.mark.process
@pytest.mark.heavy
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -15), (signal.SIGHUP, -1)])
def test_a_signal_ends_a_process_that_a_trial_has_forked_and_still_drains_the_launch(number: int, code: int) -> None:
    """As a pool of `multiprocessing` does with its processes, before it waits for their end."""
    command = [sys.executable, "-W", "ignore", "-c", FORKED.replace("{number}", str(int(number)))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout) == (0, f"{code} None\n"), done.stderr


def test_an_ignored_signal_stays_ignored() -> None:
    """As `nohup` and a shell's background jobs ask for."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals().handled():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


SWALLOWED = """
import signal, time
from sweeplaw.orchestrator.cli.shared import signals
signals.SAME_SECONDS, signals.MARGIN_SECONDS = 0.0, {margin}
handling = signals.Signals()
with handling.handled():
    while True:
        try:
            print("ready", flush=True)
            time.sleep(60)
        except BaseException:
            pass
"""


@pytest.mark.process
@pytest.mark.parametrize(("margin", "times"), [(60, 2), (1, 1)], ids=["asked twice", "in time"])
def test_a_launch_whose_code_swallows_the_interrupt_ends_all_the_same(margin: int, times: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SWALLOWED.format(margin=margin)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors.decode().strip()) == (130, "sweeplaw: ended at once")


def start(folder: Path, cluster: str) -> subprocess.Popen[str]:
    words = ["launch", folder / "t.toml", "--store", folder / "s", "--cluster", cluster, "--json"]
    return subprocess.Popen(
        [sys.executable, "-m", "sweeplaw", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=ROOT,
    )


@pytest.mark.process
@pytest.mark.slow
def test_at_any_moment_a_signal_to_the_process_group_gives_its_exit_code_and_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text(SWEEP)
    moments = random.Random(0)
    for number, code in [(signal.SIGTERM, 143), (signal.SIGHUP, 143), (signal.SIGINT, 130)]:
        launch = start(tmp_path, "inline")
        time.sleep(moments.uniform(0.0, 3.0))
        os.killpg(launch.pid, number)
        _, errors = launch.communicate(timeout=PATIENCE)
        assert launch.returncode in (code, -number, 0), errors  # -number: before the command had loaded
        assert "Traceback" not in errors or launch.returncode == -number
    last = start(tmp_path, "inline")
    out, errors = last.communicate(timeout=PATIENCE)
    assert last.returncode == 0, errors
    done = json.loads(out)
    assert (done["planned"], done["already"] + done["ran"], done["elsewhere"]) == (12, 12, 0)


STUBBORN = """
import re, time
def train(config):
    open(f"{config['folder']}/{config['seed']}", "w").close()
    if config["seed"] == 0:
        re.match(r"(a+)+$", "a" * 60 + "b")  # for years, without giving up the interpreter
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass
"""
STUBBORN_SWEEP = """
name = "stubborn"
seeds = 2
[workload]
kind = "python:stubborn:train"
knobs.params_embedding = 0
knobs.folder = {{ type = "str" }}
[scientific]
params = [4]
tokens = [100]
[fixed]
folder = "{folder}"
"""


def test_an_alarm_of_a_trial_in_this_process_is_no_signal_to_the_launch() -> None:
    handled = Signals()
    with handled.handled():
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        time.sleep(0.1)
    assert handled.stopped is None


@pytest.mark.ray
@pytest.mark.slow
def test_sigterm_to_the_group_ends_a_launch_whatever_its_trials_do(tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    (tmp_path / "t.toml").write_text(STUBBORN_SWEEP.format(folder=tmp_path))
    (tmp_path / "here.toml").write_text('kind = "local"\ncpus = 2\ngrace_seconds = 2\n')
    launch = start(tmp_path, str(tmp_path / "here.toml"))
    deadline = time.monotonic() + PATIENCE
    while not ((tmp_path / "0").exists() and (tmp_path / "1").exists()):
        assert launch.poll() is None, launch.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    below = psutil.Process(launch.pid).children(recursive=True)
    os.killpg(launch.pid, signal.SIGTERM)
    began = time.monotonic()
    out, errors = launch.communicate(timeout=PATIENCE)
    assert launch.returncode == 143, errors
    assert time.monotonic() - began < 2 + 30, "the grace period, and the time to end Ray on a loaded machine"
    assert json.loads(out)["states"] == {"preempted": 2}
    assert list(filter(is_alive, below)) == []
    assert not any(cleanup.MARK in line for line in errors.splitlines())
