"""A full disk under Ray's folder, and a full object store: an error before anything starts, or the sweep goes on."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl
import pytest

from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.connect.private import LEAST_ROOM
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import read

pytestmark = pytest.mark.ray

MODULE = """
import os, signal, time
import numpy as np
import ray

def wait(flag):
    while not os.path.exists(flag):
        time.sleep(0.1)

def train(config):
    held = []
    if config["manner"] in ("greedy", "careless"):
        try:
            for _ in range(300):
                held.append(ray.put(np.ones(2**20 // 8)))
        except (ray.exceptions.ObjectStoreFullError, ray.exceptions.OutOfDiskError):
            if config["manner"] == "careless":
                raise
    for step in range(1, config["points"] + 1):
        yield {"step": step, "val_loss": 1.0, "held": float(len(held)), **{f"x{i}": float(i) for i in range(20)}}
    if config["flag"]:
        wait(config["flag"])
    if config["manner"] == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return {"val_loss": 1.0}
"""
SWEEP = """
name = "t"
workload = "python:mine:train"
seeds = 2
[scientific]
params = [1]
[nuisance]
manner = {manners}
[fixed]
params_embedding = 0
points = {points}
flag = "{flag}"
"""
SMALL_STORE = """
from sweeplaw.clusters.profile import capacity
from sweeplaw.orchestrator.cli import main

capacity.OBJECT_STORE_BYTES = 80 * 2**20  # the least Ray takes
main()
"""


@pytest.fixture
def disk():
    """Mount a small disk at a path short enough for Ray."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    place = Path(tempfile.mkdtemp(prefix="slt", dir="/tmp"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        place.rmdir()
        pytest.skip(f"no small disk can be mounted: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)
    place.rmdir()


def fill(disk):
    """Write to the disk until it is full."""
    with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as file:
        while True:
            file.write(b"x" * 2**16)


def command(folder, disk):
    """Return the command that launches this folder's sweep with Ray on this disk."""
    (folder / "c.toml").write_text(f'kind = "local"\ncpus = 2\ngpus = 0\ntemp_dir = "{disk}"\nready_seconds = 5\n')
    options = ["--store", str(folder / "s"), "--cluster", str(folder / "c.toml"), "--json"]
    return [sys.executable, "-c", SMALL_STORE, "launch", str(folder / "t.toml"), *options]


def prepare(folder, **values):
    (folder / "mine.py").write_text(MODULE)
    (folder / "t.toml").write_text(SWEEP.format(**values))


def check(folder):
    """Check that the store holds each planned trial once and that a relaunch runs nothing; return the rows."""
    tables = load(folder / "s", states=None)
    rows = tables.trials.collect()
    assert sorted(rows["trial_id"]) == sorted(plan(read(folder / "t.toml")).ids)
    assert not tables.dropped
    again = [sys.executable, "-m", "sweeplaw", "launch", str(folder / "t.toml"), "--store", str(folder / "s")]
    done = subprocess.run(again, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == (5 if "failed" in rows["state"] else 0), done.stderr
    assert load(folder / "s", states=None).trials.collect().sort("trial_id").equals(rows.sort("trial_id"))
    return rows


@pytest.mark.slow
def test_a_disk_without_room_is_a_one_line_error_before_anything_starts_and_a_relaunch_elsewhere_runs_all(
    tmp_path, disk
):
    prepare(tmp_path, manners=["modest"], points=3, flag="")
    fill(disk)
    done = subprocess.run(command(tmp_path, disk), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode not in (0, None)
    (error,) = done.stderr.strip().splitlines()
    assert f"{disk} has no room on its disk" in error
    assert f"with {LEAST_ROOM >> 20} MiB free" in error
    assert load(tmp_path / "s", states=None).trials.collect().is_empty()
    inline = [*command(tmp_path, disk), "--cluster", "inline"]
    assert subprocess.run(inline, capture_output=True, timeout=120, check=False).returncode == 0
    assert set(check(tmp_path)["state"]) == {"completed"}


@pytest.mark.slow
def test_a_disk_that_fills_up_fails_no_trial_and_a_launch_whose_workers_cannot_start_ends(tmp_path, disk):
    flag = tmp_path / "full"
    prepare(tmp_path, manners=["modest", "deadly"], points=3, flag=flag)
    with subprocess.Popen(command(tmp_path, disk), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
        try:
            until = time.monotonic() + 120
            while run.poll() is None and time.monotonic() < until and not any_points(tmp_path / "s"):
                time.sleep(0.2)
            assert any_points(tmp_path / "s")
            fill(disk)
            flag.touch()
            _, errors = run.communicate(timeout=200)
        finally:
            run.kill()
    assert run.returncode not in (0, None)
    assert "workers die at once on" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    before = load(tmp_path / "s", states=None).trials.collect()
    assert set(before["state"]) <= {"completed"}, "a trial was charged for the disk"
    elsewhere = [sys.executable, "-m", "sweeplaw", "launch", tmp_path / "t.toml", "--store", tmp_path / "s"]
    done = subprocess.run([*map(str, elsewhere)], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 5, done.stderr  # the deadly ones failed
    rows = check(tmp_path)
    deadly = rows.filter(pl.col("manner") == "deadly")
    assert set(deadly["state"]) == {"failed"}
    assert set(deadly["message"]) == {"given up after 3 attempts: the worker process died"}
    modest = rows.filter(pl.col("manner") == "modest")
    assert set(modest["state"]) == {"completed"}
    assert set(modest["attempt"]) == {1}


def any_points(store):
    """Return whether a trial has begun."""
    return (store / "store.json").exists() and not load(store, states=None).curves.collect().is_empty()


@pytest.mark.slow
def test_a_full_object_store_fails_only_the_trials_that_do_not_handle_it(tmp_path, disk):
    prepare(tmp_path, manners=["modest", "greedy", "careless"], points=2000, flag="")
    done = subprocess.run(command(tmp_path, disk), capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 5, done.stderr  # the careless ones failed
    rows = check(tmp_path)
    held = load(tmp_path / "s", states=None).curves.collect().group_by("trial_id").agg(pl.len(), pl.col("held").max())
    rows = rows.join(held, on="trial_id", how="left")
    handled = rows.filter(pl.col("manner") != "careless")
    assert set(handled["state"]) == {"completed"}
    assert set(handled["attempt"]) == {1}
    assert set(handled["len"]) == {2000}
    greedy = rows.filter(pl.col("manner") == "greedy")["held"]
    assert greedy.max() < 300, "the object store was not full"
    careless = rows.filter(pl.col("manner") == "careless")
    assert set(careless["state"]) == {"failed"}
    assert all("OutOfDiskError: Local disk is full" in message for message in careless["message"])
