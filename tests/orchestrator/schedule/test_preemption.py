"""Long trials on a real Ray, interrupted with and without notice: they resume from their checkpoints with the same
result, and only lost work counts as wasted.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest

from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.launch.launch import Launched, launch
from sweeplaw.orchestrator.launch.state import LaunchState
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import read
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.record import CurvePoint
from tests.processes import is_alive

pytestmark = pytest.mark.ray

PATIENCE = 240.0  # seconds; a loaded machine is slow
# 2,560 updates: seconds on a quiet core, and several reports of a worker, which are a second apart.
SWEEP = """
name = "long"
workload = "language_model"
seeds = {seeds}
[scientific]
unique_tokens = [4096]
[fixed]
corpus = "markov:states=12,spread=1.5,tokens=65536"
context = 16
epochs = 80.0
width = 16
depth = 1
validation_tokens = 1024
curve_points = 200
"""
CLUSTER = 'kind = "local"\ncpus = 2\ngrace_seconds = 60\ncheckpoint_seconds = {seconds}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "long.toml").write_text(SWEEP.format(seeds=[0, 1]))
    (tmp_path / "here.toml").write_text(CLUSTER.format(seconds=600))
    return tmp_path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return trial_id -> row of the uninterrupted trials."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "long.toml").write_text(SWEEP.format(seeds=[0, 1]))
    launch(plan(read(folder / "long.toml")), Store.open(folder / "s", create=True), profile.load("inline"))
    return {row["trial_id"]: row for row in trials(folder).iter_rows(named=True)}


def trials(folder: Path) -> pl.DataFrame:
    return load(folder / "s", states=None).trials.collect()


def curves(folder: Path) -> pl.DataFrame:
    """Return the points of each trial's last attempt; none before there is a store."""
    if not (folder / "s" / "store.json").exists():
        return pl.DataFrame({"trial_id": [], "step": []})
    return load(folder / "s", states=None).curves.collect()


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition was never true"
        time.sleep(0.1)
    return found


def start(folder: Path) -> subprocess.Popen[str]:
    words = ["launch", folder / "long.toml", "--store", folder / "s", "--cluster", folder / "here.toml", "--json"]
    command = [sys.executable, "-m", "sweeplaw", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def the_same(rows: pl.DataFrame, expected: dict[str, dict[str, Any]]) -> None:
    """Check that exactly these trials completed, with bitwise equal losses."""
    assert sorted(rows["trial_id"]) == sorted(expected)
    assert set(rows["state"]) == {"completed"}
    for row in rows.iter_rows(named=True):
        same = ("val_loss", "train_loss", "last_step", "steps", "tokens")
        assert {name: row[name] for name in same} == {name: expected[row["trial_id"]][name] for name in same}


@pytest.mark.slow
def test_a_launch_ended_by_sigterm_leaves_checkpoints_and_the_next_one_resumes_from_them(
    folder: Path, undisturbed: dict[str, dict[str, Any]]
) -> None:
    first = start(folder)
    until(lambda: first.poll() is not None or curves(folder)["trial_id"].n_unique() == 2)
    first.send_signal(signal.SIGTERM)
    out, errors = first.communicate(timeout=PATIENCE)
    assert first.returncode == 143, errors
    result = json.loads(out)
    assert result["states"] == {"preempted": 2}
    assert result["device_seconds"]["wasted"] == {}, "work in a checkpoint is not lost"
    cut = {row["trial_id"]: row for row in trials(folder).iter_rows(named=True)}
    assert {row["state"] for row in cut.values()} == {"preempted"}
    assert all(0 < row["last_step"] < row["steps"] for row in cut.values())
    kept = {path.stem for path in (folder / "s" / "checkpoints").iterdir()}
    assert kept == set(undisturbed)

    second = start(folder)
    out, errors = second.communicate(timeout=PATIENCE)
    assert second.returncode == 0, errors
    assert json.loads(out)["states"] == {"completed": 2}
    rows = trials(folder)
    the_same(rows, undisturbed)
    assert {row["trial_id"]: row["resumed_step"] for row in rows.iter_rows(named=True)} == {
        trial: row["last_step"] for trial, row in cut.items()
    }
    assert set(rows["attempt"]) == {2}
    points = curves(folder)
    assert points.height == points.unique(["trial_id", "step"]).height == 2 * 200, (
        "each curve is complete, and there once"
    )
    assert os.listdir(folder / "s" / "checkpoints") == []


class Killer:
    """Kill the process of a trial once, after a checkpoint of it was written."""

    def __init__(self, store: Path) -> None:
        self.store, self.killed = store, threading.Event()
        self.age = 0.0  # seconds of work after the checkpoint

    def started(self, todo: Any, already: int, cluster: Any) -> None:
        """Nothing to do yet."""

    def recorded(self, rows: Sequence[Any]) -> None:
        points = [row for row in rows if isinstance(row, CurvePoint)]
        written = list((self.store / "checkpoints").glob("[!.]*.safetensors"))
        if self.killed.is_set() or not points or not written:
            return
        (worker,) = workers()
        worker.kill()
        worker.wait()
        self.age = time.time() - max(path.stat().st_mtime for path in written)
        self.killed.set()


def workers() -> Iterator[psutil.Process]:
    """Return the processes of workers below this one."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if is_alive(process) and "WorkerActor" in " ".join(process.cmdline()):
                yield process


@pytest.mark.slow
def test_a_worker_killed_after_a_checkpoint_costs_the_work_since(
    tmp_path: Path, undisturbed: dict[str, dict[str, Any]]
) -> None:
    (tmp_path / "long.toml").write_text(SWEEP.format(seeds=[0]))
    (tmp_path / "here.toml").write_text(CLUSTER.format(seconds=0.25))
    killer, store = Killer(tmp_path / "s"), Store.open(tmp_path / "s", create=True)
    done: Launched = launch(
        plan(read(tmp_path / "long.toml")),
        store,
        profile.load(tmp_path / "here.toml"),
        killer,
        launch_state=LaunchState(),
    )
    assert killer.killed.is_set()
    assert (done.states, done.end) == ({"completed": 1}, None)
    rows = trials(tmp_path)
    (row,) = rows.iter_rows(named=True)
    the_same(rows, {row["trial_id"]: undisturbed[row["trial_id"]]})
    assert row["attempt"] == 2
    assert row["resumed_step"] > 0
    assert done.usage.losses == {"worker died": 1}
    lost = done.usage.wasted["worker died"]
    assert lost > 0.9 * killer.age
    assert done.usage.useful > row["train_seconds"], "work in the checkpoint is not wasted"
    assert os.listdir(tmp_path / "s" / "checkpoints") == []
