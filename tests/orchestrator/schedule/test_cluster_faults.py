"""Nodes that join and die while a sweep runs, on a real Ray of several nodes: the rows are exactly the plan."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import polars as pl
import pytest
from ray.cluster_utils import Cluster

from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.connect.cluster import own_node
from sweeplaw.clusters.connect.private import ON_DEMAND, environment
from sweeplaw.clusters.profile.profile import parse
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.launch.state import LaunchState
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import read
from sweeplaw.orchestrator.schedule.ray_tune.controller import Run
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.record import CurvePoint, TrialRecord

pytestmark = pytest.mark.ray

MODULE = """
import pathlib, os, time

HURRY = pathlib.Path(__file__).with_name("hurry")

def train(config):
    node = float(os.environ.get("NODE_MARK", 0))
    yield {"step": 1, "val_loss": 1.0, "node": node, "pid": float(os.getpid())}
    until = time.monotonic() + config["seconds"]
    while time.monotonic() < until and not HURRY.exists():
        time.sleep(0.05)
    return {"val_loss": 1.0, "node": node}
"""
SWEEP = """
name = "t"
workload = "python:mine:train"
seeds = {seeds}
[scientific]
params = [1]
[fixed]
seconds = {seconds}
"""
OPEN = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", **ON_DEMAND}
ALERT = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "4"}  # Ray's own: 3 s and 5
STORE_BYTES = 80 * 2**20  # the least Ray takes


class Nodes:
    """A cluster whose nodes carry a mark that their workers see."""

    def __init__(self):
        with environment({**OPEN, **ALERT}):
            head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES}
            self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = {}

    def add(self, mark, cpus=1):
        with environment(OPEN):
            self.nodes[mark] = self.cluster.add_node(
                num_cpus=cpus, object_store_memory=STORE_BYTES, env_vars={"NODE_MARK": str(mark)}
            )

    def kill(self, mark):
        self.cluster.remove_node(self.nodes.pop(mark), allow_graceful=False)

    def without_driver(self):
        """Return the mark of a node whose death this process survives: Ray 2.52 connects to any node of the machine."""
        return next(mark for mark, node in self.nodes.items() if node.node_id != own_node())

    def only(self, *marks):
        """Make exactly these nodes live, of one core each."""
        for mark in set(self.nodes) - set(marks):
            self.kill(mark)
        self.cluster.wait_for_nodes()  # Ray 2.52 may connect to a dead node of the machine that the head counts as live
        for mark in set(marks) - set(self.nodes):
            self.add(mark)


@pytest.fixture(scope="module")
def nodes():
    made = Nodes()
    yield made
    made.cluster.shutdown()


class Watch:
    """Record rows with the time they became durable; wait for a condition on them."""

    def __init__(self):
        self.rows, self.changed = [], threading.Condition()

    def started(self, todo, already, cluster):
        pass

    def recorded(self, rows):
        with self.changed:
            self.rows += [(time.monotonic(), row) for row in rows]
            self.changed.notify_all()

    def wait(self, found, patience=120):
        """Return ``found(rows)`` once it is true."""
        with self.changed:
            assert self.changed.wait_for(lambda: found(self.rows), patience), "the condition was never true"
            return found(self.rows)


def running_on(mark):
    """Return a function that finds the running trial of this node."""

    def found(rows):
        ended = {row.spec.trial_id for _, row in rows if isinstance(row, TrialRecord)}
        points = [row for _, row in rows if isinstance(row, CurvePoint) and row.metrics["node"] == mark]
        return next((row.trial_id for row in points if row.trial_id not in ended), None)

    return found


def run(nodes, folder, sweep, meanwhile=lambda watch: None, **profile):
    """Launch this sweep while ``meanwhile`` acts on the cluster; return the rows of the store and the launch."""
    (folder / "mine.py").write_text(MODULE)
    (folder / "t.toml").write_text(sweep)
    made, watch, live = plan(read(folder / "t.toml")), Watch(), LaunchState()
    where = parse(
        {"kind": "ray", "address": nodes.cluster.address, "authentication": "disabled", "ready_seconds": 30, **profile},
        name="x",
    )
    store = Store.open(folder / "s", create=True)
    with ThreadPoolExecutor(1) as pool:  # nodes can only be added from the main thread
        launched = pool.submit(launch, made, store, where, watch, launch_state=live)
        watch.wait(lambda rows: rows or launched.done())
        meanwhile(watch)
        done = launched.result()
    rows = load(folder / "s", states=None).trials.collect()
    assert sorted(rows["trial_id"]) == sorted(made.ids)
    return rows, done, watch


@pytest.mark.slow
def test_every_node_runs_trials_from_the_start(nodes, tmp_path):
    nodes.only(1, 2, 3)
    rows, done, _ = run(nodes, tmp_path, SWEEP.format(seeds=9, seconds=0.1))
    assert done.states == {"completed": 9}
    assert set(rows["node"]) == {1, 2, 3}


@pytest.mark.slow
def test_a_slot_whose_node_is_gone_before_tune_has_placed_it_costs_nothing(nodes, tmp_path, monkeypatch):
    nodes.only(1, 2)
    tick = Run.tick
    gone: list[str] = []

    def blink(self):
        if self.trials and not gone:
            gone.extend(self.slots)
            self.dispatcher.update([], {})
            self.known_nodes = None  # at the next tick they are back
        else:
            tick(self)

    monkeypatch.setattr(Run, "tick", blink)
    rows, done, _ = run(nodes, tmp_path, SWEEP.format(seeds=4, seconds=0.1))
    assert gone
    assert done.states == {"completed": 4}
    assert set(rows["attempt"]) == {1}
    assert done.usage.losses == {}


@pytest.mark.slow
def test_a_worker_killed_on_a_live_node_is_distinguished_from_one_that_died_with_its_node(nodes, tmp_path):
    nodes.only(1)
    killed = []

    def meanwhile(watch):
        killed.append(watch.wait(running_on(1)))
        point = next(row for _, row in watch.rows if isinstance(row, CurvePoint) and row.trial_id == killed[0])
        os.kill(int(point.metrics["pid"]), signal.SIGKILL)
        (tmp_path / "hurry").touch()

    rows, done, _ = run(nodes, tmp_path, SWEEP.format(seeds=4, seconds=20), meanwhile)
    assert set(rows["state"]) == {"completed"}
    assert rows.filter(pl.col("attempt") > 1)["trial_id"].to_list() == killed
    assert done.usage.losses == {"worker died": 1}


@pytest.mark.slow
def test_a_node_that_dies_costs_the_trial_that_ran_on_it_and_one_that_joins_late_is_used(nodes, tmp_path, capfd):
    nodes.only(1, 2)
    seen = {}

    def meanwhile(watch):
        victim = nodes.without_driver()
        seen["trial"] = watch.wait(running_on(victim))
        seen["killed"] = time.monotonic()
        nodes.kill(victim)
        seen["again"] = watch.wait(again(seen["trial"]))
        nodes.add(3)
        watch.wait(running_on(3))
        (tmp_path / "hurry").touch()  # what is left is short, however long the node took

    def again(trial):
        return lambda rows: next(
            (at for at, row in rows if isinstance(row, CurvePoint) and (row.trial_id, row.attempt) == (trial, 2)), None
        )

    rows, done, _ = run(nodes, tmp_path, SWEEP.format(seeds=60, seconds=2), meanwhile)
    assert set(rows["state"]) == {"completed"}
    assert rows.filter(pl.col("attempt") > 1)["trial_id"].to_list() == [seen["trial"]]
    assert rows.filter(pl.col("trial_id") == seen["trial"])["attempt"].to_list() == [2]
    assert {3, *nodes.nodes} <= set(rows["node"])
    assert done.usage.losses == {"node died": 1}
    assert done.usage.wasted["node died"] > 0
    assert capfd.readouterr().out == "", "standard output is for results"
    with capfd.disabled():
        print(f"\nnode death to its trial running elsewhere: {seen['again'] - seen['killed']:.1f} s")


@pytest.mark.slow
def test_a_sweep_whose_head_died_continues_on_another_cluster(nodes, tmp_path):
    """Last, because the cluster is unusable without its head."""
    nodes.only(1, 2)
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "t.toml").write_text(SWEEP.format(seeds=10, seconds=2))
    (tmp_path / "c.toml").write_text(
        f'kind = "ray"\naddress = "{nodes.cluster.address}"\nauthentication = "disabled"\n'
    )
    command = [sys.executable, "-m", "sweeplaw", "launch", tmp_path / "t.toml", "--store", tmp_path / "s"]
    alert = {**os.environ, "RAY_gcs_rpc_server_reconnect_timeout_s": "4"}  # Ray's own: 60
    with subprocess.Popen(
        [*map(str, command), "--cluster", str(tmp_path / "c.toml")], env=alert, stderr=subprocess.PIPE, text=True
    ) as driver:
        until = time.monotonic() + 120
        while driver.poll() is None and time.monotonic() < until and not recorded(tmp_path / "s"):
            time.sleep(0.2)
        before = recorded(tmp_path / "s")
        head: Any = nodes.cluster.head_node
        head.kill_gcs_server(check_alive=False)
        head.kill_raylet(check_alive=False)
        try:
            _, errors = driver.communicate(timeout=120)
        finally:
            driver.kill()  # or the test would wait for it for ever
    assert driver.returncode != 0
    assert "GCS" in errors or "head" in errors
    (tmp_path / "hurry").touch()  # what is left is short
    now = recorded(tmp_path / "s")
    assert before
    assert before <= now
    done = subprocess.run([*map(str, command), "--json"], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    tables = load(tmp_path / "s", states=None)
    rows = tables.trials.collect()
    assert sorted(rows["trial_id"]) == sorted(plan(read(tmp_path / "t.toml")).ids)
    assert set(rows["state"]) == {"completed"}
    assert set(rows["attempt"]) <= {1, 2}, "at most the trials that ran when their nodes lost the head ran again"
    assert not tables.dropped, "a recorded trial ran twice"


def recorded(store):
    """Return the trials with a row in any state."""
    return set(load(store, states=None).trials.collect()["trial_id"]) if (store / "store.json").exists() else set()
