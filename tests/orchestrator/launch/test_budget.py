"""A used-up budget ends a launch: running trials are recorded as cut short, and a larger budget continues."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.launch.launch import Launched, launch
from sweeplaw.orchestrator.monitor.status import progress
from sweeplaw.orchestrator.plan.estimate import check, estimate
from sweeplaw.orchestrator.plan.limits import Budget, used_up
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError

pytestmark = pytest.mark.ray

HEAD = 'name = "t"\nworkload = "surrogate"\n'
LONG = HEAD + "seeds = {seeds}\n[scientific]\nparams = [1000]\ntokens = [100000]\n[fixed]\nseconds = {seconds}\n"


def command(folder: Path, text: str, *more: str) -> list[str]:
    (folder / "t.toml").write_text(text)
    words = ["launch", str(folder / "t.toml"), "--store", str(folder / "s"), "--cluster", "inline", *more]
    return [sys.executable, "-m", "sweeplaw", *words]


def states(folder: Path) -> dict[str, int]:
    rows = load(folder / "s", states=None).trials.collect()
    return dict(rows["state"].value_counts().iter_rows())


def inline(folder: Path, text: str) -> Launched:
    return launch(plan(parse(text)), Store.open(folder / "s", create=True), profile.load("inline"))


@pytest.mark.parametrize("limit", ["wall_hours", "device_hours"])
def test_a_launch_ends_when_the_budget_is_used_up_and_a_larger_one_continues(tmp_path, limit):
    text = LONG.format(seeds=4, seconds=2.4) + "[budget]\n{limit} = {hours}\n"
    done = inline(tmp_path, text.format(limit=limit, hours=3.5 / 3600))
    assert done.end is not None
    assert re.search(rf"budget\.{limit} = 0\.000\d+ (is used up|has passed)", done.end.reason)
    assert states(tmp_path)["budget"] == 1
    assert "budget." in load(tmp_path / "s", states=["budget"]).trials.collect()["message"][0]
    standing = progress(Store.open(tmp_path / "s"))
    assert standing.relaunch["budget"] == 1
    assert standing.usage.wasted == {}  # its checkpoint holds the work
    more = inline(tmp_path, text.format(limit=limit, hours=1))
    assert more.end is None
    assert states(tmp_path) == {"completed": 4}


def test_the_command_has_an_exit_code_of_its_own_for_a_budget(tmp_path):
    text = LONG.format(seeds=3, seconds=0.6) + "[budget]\nwall_hours = 1e-9\n"
    before = signal.getsignal(signal.SIGTERM)
    try:
        done = CliRunner().invoke(app, command(tmp_path, text)[3:])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert done.exit_code == 4, done.output
    assert "relaunch with a larger budget to continue" in done.stderr


def test_used_up_device_hours_refuse_a_launch_before_anything_starts(tmp_path):
    text = LONG.format(seeds=3, seconds=0) + "[budget]\ndevice_hours = 1\n"
    made = plan(parse(text))
    cost = estimate(made, profile.load("inline"))
    check(made, cost, used_hours=0.5)
    with pytest.raises(InputError, match=r"device_hours = 1, but 1\.5 are used"):
        check(made, cost, used_hours=1.5)
    with pytest.raises(InputError, match=r"1\.5 are used and the cost of the remaining trials is not known$"):
        check(made, {**cost, "device_hours": None}, used_hours=1.5)


@pytest.mark.parametrize("there", [False, True])
def test_a_refused_launch_leaves_no_store(tmp_path, there):
    if there:
        (tmp_path / "s").mkdir()
    text = 'name = "t"\nworkload = "language_model"\n[scientific]\nparams_non_embedding = [1600]\n[fixed]\nlr = 0.01\n'
    before = signal.getsignal(signal.SIGTERM)
    try:
        refused = CliRunner().invoke(app, command(tmp_path, text + "validation_tokens = 1_000_000_000_000\n")[3:])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert isinstance(refused.exception, InputError), refused.output
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["s", "t.toml"][not there :]


def test_a_search_that_has_spent_its_trials_is_complete(tmp_path):
    text = HEAD + '[search]\nkind = "tpe"\n[budget]\ntrials = 2\n[scientific]\nparams = [1e6]\ntokens = [1e7]\n'
    before = signal.getsignal(signal.SIGTERM)
    try:
        done = CliRunner().invoke(app, command(tmp_path, text + "[nuisance]\nlr = { log = [1e-4, 1e-1] }\n")[3:])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert done.exit_code == 0, done.output
    assert "budget.trials = 2 is spent" in done.stdout


@pytest.mark.parametrize(
    ("budget", "device", "wall", "reached"),
    [
        ({}, 1e9, 1e9, False),
        ({"device_hours": 1}, 3599, 1e9, False),
        ({"device_hours": 1}, 3600, 0, True),
        ({"wall_hours": 2}, 1e9, 7199, False),
        ({"wall_hours": 2}, 0, 7200, True),
    ],
)
def test_a_budget_is_used_up_exactly_at_its_bound(
    budget: dict[str, Any], device: float, wall: float, reached: bool
) -> None:
    assert (used_up(Budget(**budget), device, wall) is not None) == reached


def test_sigterm_lets_workers_save_their_state_and_the_next_launch_continues(tmp_path):
    text = LONG.format(seeds=2, seconds=2)
    driver = subprocess.Popen(command(tmp_path, text), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while time.monotonic() < until and not _has_curves(tmp_path / "s"):
        time.sleep(0.1)
    driver.send_signal(signal.SIGTERM)
    _, errors = driver.communicate(timeout=120)
    assert driver.returncode == 143, errors
    assert "received SIGTERM" in errors
    assert states(tmp_path).get("preempted") == 1
    assert inline(tmp_path, text).end is None
    rows = load(tmp_path / "s", states=None).trials.collect()
    assert sorted(rows["attempt"]) == [1, 2]
    assert set(rows["state"]) == {"completed"}


def _has_curves(store: Path) -> bool:
    return (store / "store.json").exists() and load(store, states=None).curves.collect().height > 0


@pytest.mark.slow
def test_on_ray_trials_that_do_not_end_in_time_are_cut_short_and_recorded(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import time\n\ndef train(config):\n    time.sleep(3600 if config['hang'] else 0)\n    return 1.0\n"
    )
    text = (
        'name = "t"\nworkload = "python:mine:train"\n[scientific]\nparams = [1, 2]\n[nuisance]\nhang = [true, false]\n'
    )
    (tmp_path / "here.toml").write_text('kind = "local"\ncpus = 2\ngrace_seconds = 1\n')
    words = command(tmp_path, text + "[budget]\ndevice_hours = 0.006\n")  # 10 s for each that hangs to begin in
    words[words.index("inline")] = str(tmp_path / "here.toml")
    done = subprocess.run(words, capture_output=True, text=True, timeout=280)
    assert done.returncode == 4, done.stderr
    assert "budget.device_hours = 0.006 is used up" in done.stderr
    rows = load(tmp_path / "s", states=None).trials.collect()
    assert set(rows.filter(pl.col("hang"))["state"]) == {"budget"}
    assert set(rows.filter(~pl.col("hang"))["state"]) <= {"completed", "budget"}, "a worker takes its time to start"
    assert progress(Store.open(tmp_path / "s")).usage.wasted["budget"] > 2
