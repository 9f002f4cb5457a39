"""A launch says why trials failed, stops when nothing works, and ends with an exit code of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.cli.shared.streams import OutputLost
from sweeplaw.orchestrator.launch import metric_names
from sweeplaw.orchestrator.launch.failures import FailureWatch, failures
from sweeplaw.orchestrator.launch.launch import Launched, launch
from sweeplaw.orchestrator.launch.recorder import PREEMPTIONS
from sweeplaw.orchestrator.plan.limits import StopPolicy
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError

SWEEP = 'name = "t"\nworkload = "surrogate"\nseeds = 15\n[scientific]\nparams = [1000]\ntokens = [50]\n'


def outcomes(*messages: str | None, state: str = "failed") -> pl.DataFrame:
    rows = [(f"{number:020x}", state, message) for number, message in enumerate(messages)]
    return pl.DataFrame(rows, ["trial_id", "state", "message"], orient="row")


def test_messages_that_differ_in_numbers_addresses_and_temporary_names_are_one_cause() -> None:
    found = failures(
        outcomes(
            "ValueError: loss 2.5e-3 of <Model at 0x7f00a1> in /tmp/sweeplaw-ab1/x (f.py:12 in f)",
            "ValueError: loss -17 of <Model at 0x7f33> in /tmp/sweeplaw-zz9/y (f.py:12 in f)",
            "exit code 1\nlong\nstory of 3 pages\nKeyError: 'lr'",
            "exit code 1\nanother\nstory\nKeyError: 'lr'",
            "exit code 1\nKeyError: 'lr'",
            None,
        )
    )
    assert [(cause.count, cause.trial_id[-1]) for cause in found] == [(3, "2"), (2, "0"), (1, "5")]
    assert found[0].reason == "exit code 1: KeyError: 'lr'"


def test_only_trials_that_failed_or_ran_out_of_memory_have_a_cause() -> None:
    assert failures(outcomes("val_loss is nan", state="diverged")) == ()
    assert [cause.count for cause in failures(outcomes("big", "big", state="out_of_memory"))] == [2]


def test_the_notes_on_its_reports_are_not_why_a_trial_failed() -> None:
    noted = "exit code 1\nTraceback\nRuntimeError: shape\nnote: 4 reports left out\nnote: 2 steps are no numbers"
    (found,) = failures(outcomes(noted, "exit code 1\nTraceback\nRuntimeError: shape"))
    assert (found.reason, found.count) == ("exit code 1: RuntimeError: shape", 2)


@pytest.mark.parametrize(
    ("rule", "states", "stops"),
    [
        ("first 3", "fff", 3),
        ("first 3", "ffcfffffff", None),
        ("first 3", "ffoff", None),
        ("2 in a row", "fcfcff", 6),
        ("2 in a row", "fdfdf", None),
        (0.5, "f" * 12, 10),
        (0.5, "cccccccc" + "f" * 12, 16),
        (0.5, "f" * 9, None),
        ("never", "f" * 100, None),
        ("first 10", "f" * 12, 10),
    ],
)
def test_the_rule_to_stop(rule: Any, states: str, stops: int | None) -> None:
    watch = FailureWatch(StopPolicy(failures=rule))
    names = {"f": "failed", "c": "completed", "d": "diverged", "o": "out_of_memory"}
    reasons = [watch.ended(names[state]) for state in states]
    assert next((number for number, reason in enumerate(reasons, 1) if reason), None) == stops


@pytest.mark.parametrize("rule", ["0", "1.5", "-0.5", '"first 0"', '"ten in a row"', "true", '"first 3 in a row"'])
def test_another_rule_is_refused_with_those_that_are_accepted(rule: str) -> None:
    with pytest.raises(InputError, match=r"stop\.failures"):
        parse(f"{SWEEP}[stop]\nfailures = {rule}\n")


def inline(text: str, path: Path) -> Launched:
    return launch(plan(parse(text)), Store.open(path, create=True), profile.load("inline"))


@pytest.mark.heavy
def test_a_sweep_that_only_fails_stops_soon_and_a_relaunch_continues(tmp_path: Path) -> None:
    broken = SWEEP + '[fixed]\nbehaviour = "failed"\n'
    done = inline(broken + '[stop]\nfailures = "first 4"\n', tmp_path / "s")
    assert done.end is not None
    assert done.end.failing
    assert "have all failed (stop.failures = 'first 4')" in done.end.reason
    assert done.states["failed"] >= 4
    assert [cause.count for cause in done.failures] == [done.states["failed"]]
    again = inline(broken + '[stop]\nfailures = "never"\n', tmp_path / "s")
    assert (again.already + again.states["failed"], again.end) == (15, None)


@pytest.mark.heavy
def test_a_relaunch_counts_the_trials_that_failed_earlier_and_says_how_to_run_them_again(tmp_path: Path) -> None:
    text = SWEEP.replace("seeds = 15", "seeds = 2") + '[nuisance]\nbehaviour = ["normal", "failed"]\n'
    (tmp_path / "t.toml").write_text(text)
    words = ["launch", str(tmp_path / "t.toml"), "--store", str(tmp_path / "s"), "--cluster", "inline"]
    CliRunner().invoke(app, words)
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 5
    assert f"2 trials failed in earlier launches; to run them again: sweeplaw retry {tmp_path / 's'}" in again.stdout
    assert json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)["failed_earlier"] == 2


@pytest.mark.process
def test_a_trial_that_always_asks_to_run_again_waits_for_the_next_launch(tmp_path: Path) -> None:
    workload = '{ kind = "command", argv = ["{python}", "-c", "exit(75)"], retry_exit_codes = [75] }'
    text = f'name = "t"\nworkload = {workload}\n[scientific]\nparams = [1000]\n'
    for attempts in (PREEMPTIONS, 2 * PREEMPTIONS):
        done = inline(text, tmp_path)
        assert (done.states, done.retries) == ({"preempted": 1}, PREEMPTIONS - 1)
        assert "exit code 75" in done.failures[0].reason
        shown = CliRunner().invoke(app, ["status", str(tmp_path)]).stdout
        assert "why trials failed or were preempted:\n        1  exit code 75" in shown
        assert load(tmp_path, states=None).trials.collect()["attempt"].to_list() == [attempts]


@pytest.mark.heavy
@pytest.mark.parametrize(("behaviour", "code"), [("failed", 5), ("out_of_memory", 5), ("diverged", 0), ("normal", 0)])
def test_the_exit_code_says_that_trials_failed_and_so_does_the_json(tmp_path: Path, behaviour: str, code: int) -> None:
    (tmp_path / "t.toml").write_text(SWEEP.replace("15", "3") + f'[fixed]\nbehaviour = "{behaviour}"\n')
    command = ["launch", str(tmp_path / "t.toml"), "--store", str(tmp_path / "s"), "--cluster", "inline"]
    done = CliRunner().invoke(app, [*command, "--json"])
    values = json.loads(done.stdout)
    assert done.exit_code == values["exit_code"] == code
    assert sum(cause["count"] for cause in values["failures"]) == (3 if code else 0)
    shown = CliRunner().invoke(app, ["status", str(tmp_path / "s")])
    assert ("why trials failed:" in shown.stdout) == bool(code)
    assert (f"sweeplaw show {tmp_path / 's'} " in shown.stdout) == bool(code)


def test_metric_names_beyond_those_of_a_launch_are_left_out_and_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric_names, "NAME_LIMIT", 5)  # and val_loss, which every store has
    monkeypatch.setattr(sys, "path", [*sys.path])
    code = "def f(c):\n  yield {f'm{c[\"seed\"]}': 1.0, 'val_loss': 2.0}\n"
    (tmp_path / "naming_function.py").write_text(code)
    text = 'name = "t"\nworkload = "python:naming_function:f"\nseeds = 9\n[scientific]\nlr = [0.1]\n'
    made = plan(parse(text, folder=tmp_path))
    done = launch(made, Store.open(tmp_path / "s", create=True), profile.load("inline"))
    trials = load(tmp_path / "s").trials.collect()
    assert len([name for name in trials.columns if name.startswith("m") and name != "message"]) == 5
    assert set(trials["val_loss"]) == {2.0}
    assert [problem[:8] for problem in done.problems] == ["8 rows h"]


NOISY = """
import atexit, os, threading, time
print("imported"); os.system("echo child of the import"); atexit.register(print, "at exit")
def f(config):
    print("printed"); os.write(1, b"written\\n"); os.system("echo child")
    threading.Thread(target=lambda: (time.sleep(30), print("late"))).start()
    os.close(1)
    return 1.0
"""


@pytest.mark.process
def test_stdout_has_the_json_alone_whatever_the_code_prints_and_leaves_behind(tmp_path: Path) -> None:
    (tmp_path / "noisy_function.py").write_text(NOISY)
    (tmp_path / "t.toml").write_text(
        'name = "t"\nworkload = "python:noisy_function:f"\n[scientific]\nlr = [0.1, 0.2]\n'
    )
    began = time.monotonic()
    done = _launched(tmp_path, "--json")
    assert json.loads(done.stdout)["states"] == {"completed": 2}
    assert "imported" in done.stderr
    assert "child of the import" in done.stderr
    assert time.monotonic() - began < 25, "a thread that was left behind is not waited for"
    logged = b"".join(file.read_bytes() for file in (tmp_path / "s" / "logs").iterdir())
    assert logged.count(b"printed\n") == 2


@pytest.mark.process
def test_an_interrupt_ends_an_inline_launch_and_is_no_failure_of_its_trial(tmp_path: Path) -> None:
    code = "import time\ndef f(c):\n  while True:\n    print('runs', flush=True); yield 1.0; time.sleep(0.05)\n"
    (tmp_path / "endless_function.py").write_text(code)
    (tmp_path / "t.toml").write_text('name = "t"\nworkload = "python:endless_function:f"\n[scientific]\nlr = [0.1]\n')
    driver = subprocess.Popen(_command(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while not list(tmp_path.glob("s/logs/*.log")) and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(driver.pid, signal.SIGINT)
    driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "failed" not in set(Store.open(tmp_path / "s").outcomes()["state"])


ENDING = """
import ctypes, threading, time
def f(config):
    main = ctypes.c_ulong(threading.main_thread().ident)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(main, ctypes.py_object(SystemExit))
    time.sleep(1)
    return 1.0
"""


@pytest.mark.process
def test_a_trial_that_ends_the_main_thread_does_not_end_the_launch_as_if_it_were_done(tmp_path: Path) -> None:
    (tmp_path / "ending_function.py").write_text(ENDING)
    (tmp_path / "t.toml").write_text(
        'name = "t"\nworkload = "python:ending_function:f"\n[scientific]\nlr = [0.1, 0.2]\n'
    )
    done = _launched(tmp_path)
    assert done.returncode == 70
    assert done.stderr.splitlines()[-1] == (
        "sweeplaw: stopped: SystemExit was raised in the launch; recorded results are safe; relaunch to continue"
    )


@pytest.mark.heavy
@pytest.mark.parametrize("raised", [SystemExit(0), SystemExit(), typer.Exit(), OutputLost(OSError(32), optional=True)])
def test_whatever_ends_a_launch_that_did_not_end_by_itself_its_exit_code_is_not_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException
) -> None:
    def ends(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr("sweeplaw.orchestrator.launch.launch.launch", ends)
    (tmp_path / "t.toml").write_text(SWEEP)
    words = ["launch", str(tmp_path / "t.toml"), "--store", str(tmp_path / "s"), "--cluster", "inline"]
    assert CliRunner().invoke(app, words).exit_code == 70


def _command(folder: Path) -> list[str]:
    arguments = ["launch", str(folder / "t.toml"), "--store", str(folder / "s"), "--cluster", "inline"]
    return [sys.executable, "-m", "sweeplaw", *arguments]


def _launched(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*_command(folder), *more], capture_output=True, text=True, timeout=120, check=False)
