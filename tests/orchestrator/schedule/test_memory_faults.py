"""A worker killed by Ray's memory monitor: its trial runs once more in smaller micro-batches, then is recorded."""

import os
import subprocess
import sys

import polars as pl
import pytest

from sweeplaw.analysis.tables.tables import load
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import read
from tests.memory_group import memory_group

pytestmark = pytest.mark.ray

MODULE = """
import time

def train(config, context):
    held = []
    for _ in range(config["hungry"] // context.micro_batch_divisor):
        held.append(bytearray(b"x") * 2**28)
        time.sleep(0.05)
    time.sleep(3 if held else 0)
    return float(context.micro_batch_divisor)
"""
SWEEP = """
name = "t"
workload = "python:mine:train"
[scientific]
params = [1]
[nuisance]
hungry = [0, {enough}, {too_many}]
[retry]
out_of_memory = 1
"""


@pytest.mark.slow
def test_a_worker_killed_for_memory_costs_its_trial_one_attempt_in_smaller_micro_batches(tmp_path):
    room = 4 * 2**30  # of which Ray and the driver take less than 1
    enough, too_many = (int(share * room / 2**28) for share in (1.2, 2.4))  # halved: within the room; still beyond it
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "t.toml").write_text(SWEEP.format(enough=enough, too_many=too_many))
    (tmp_path / "one.toml").write_text('kind = "local"\ncpus = 1\ngpus = 0\n')
    command = [sys.executable, "-m", "sweeplaw", "launch", str(tmp_path / "t.toml"), "--json"]
    # Twice the room, so that Ray's monitor acts well before the kernel does.
    with memory_group(2 * room) as words:
        done = subprocess.run(
            [*words, *command, "--store", str(tmp_path / "s"), "--cluster", str(tmp_path / "one.toml")],
            capture_output=True,
            text=True,
            timeout=280,
            env={**os.environ, "RAY_memory_monitor_refresh_ms": "50", "RAY_memory_usage_threshold": "0.5"},
        )
    assert done.returncode == 5, done.stderr  # one trial ran out of memory
    rows = load(tmp_path / "s", states=None).trials.collect().sort("hungry")
    assert sorted(rows["trial_id"]) == sorted(plan(read(tmp_path / "t.toml")).ids)
    assert rows["state"].to_list() == ["completed", "completed", "out_of_memory"]
    assert rows["attempt"].to_list() == [1, 2, 2]
    assert rows["val_loss"].to_list()[:2] == [1.0, 2.0], "the divisor that the trial saw"
    assert "low on memory" in rows.filter(pl.col("state") == "out_of_memory")["message"][0]
