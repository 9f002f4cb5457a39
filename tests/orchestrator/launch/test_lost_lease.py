"""A launch that stalls for longer than its lease: another takes its trials over, and the first adds no row."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.launch import leases
from sweeplaw.orchestrator.launch.launch import Launched, launch
from sweeplaw.orchestrator.plan.plan import Plan, plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store import claims, clocks
from sweeplaw.orchestrator.store.store import Store

PATIENCE = 120.0  # seconds; a loaded machine is slow
LEASE = 1.0
SWEEP = """name = "t"
workload = "surrogate"
seeds = 5
[scientific]
params = [1000, 2000]
tokens = [50]
[fixed]
seconds = 2.0
"""


def run(made: Plan, folder: Path) -> Launched:
    return launch(made, Store.open(folder, create=True), profile.load("inline"))


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def recorded(folder: Path) -> int:
    return load(folder, states=None).trials.collect().height


@pytest.mark.heavy
def test_a_launch_that_lost_its_lease_reports_it_and_adds_no_row_to_those_of_its_successor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    awake, asleep, renew, first = threading.Event(), threading.Event(), Store.renew, list[str]()

    def stalling(store: Store, launch_id: str, seconds: float) -> bool:
        first[:] = first or [launch_id]
        if launch_id in first:
            asleep.set()
            assert awake.wait(PATIENCE)
        return renew(store, launch_id, seconds)

    monkeypatch.setattr(Store, "renew", stalling)
    monkeypatch.setattr(leases, "LEASE_SECONDS", LEASE)
    monkeypatch.setattr(leases, "TICK_SECONDS", 0.05)
    monkeypatch.setattr(leases, "RENEWAL_TICKS", 1)
    made, store = plan(parse(SWEEP)), Store.open(tmp_path / "s", create=True)
    with ThreadPoolExecutor(1) as pool:
        stalled = pool.submit(run, made, tmp_path / "s")
        try:
            until(asleep.is_set)
            until(lambda: not claims.live_launches(store.location, clocks.store_time(store.location)))
            before = recorded(tmp_path / "s")
            second = run(made, tmp_path / "s")
        finally:
            awake.set()
        one = stalled.result(PATIENCE)

    assert one.end is not None
    assert (one.end.state, "another launch took its trials over" in one.end.reason) == ("preempted", True)
    assert second.states == {"completed": 10 - second.already}
    assert before <= second.already < 10
    assert sum(one.states.values()) == second.already, "what the first counts is what it had recorded in time"
    tables = load(tmp_path / "s", states=None)
    assert (tables.faults, dict(tables.dropped)) == ((), {})
    rows, points = tables.trials.collect(), tables.curves.collect()
    assert sorted(rows["trial_id"]) == sorted(made.ids)
    assert set(rows["state"]) == {"completed"}
    twice = points.group_by("trial_id", "step").len().filter(pl.col("len") > 1)
    assert twice.is_empty()
    assert run(made, tmp_path / "s").already == 10
