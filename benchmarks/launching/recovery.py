"""Time until the trials of a dead node or a killed worker run again elsewhere, and the work that each death costs.

    python benchmarks/launching/recovery.py [--times 1] [--seconds 8]

A real Ray of a head and two nodes of three cores on this machine, with Ray's default settings. Four trials run; once
all have begun, SIGKILL goes to one worker process, to a node (its raylet and all that it started, as when a machine
fails), or to the raylet alone: then the node is still there and its trials continue until the head has missed it for
Ray's five health checks. Measured: the time from the kill to the first and the last of the lost trials running again,
and the lost device-seconds, by the trials' own notes and by the account of the launch. The peer is the time to start
those trials on the cluster in the first place.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from surrogate_launch import Stamps

from sweeplaw.clusters.connect.private import ON_DEMAND, environment
from sweeplaw.clusters.profile.profile import Profile, parse
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import read
from sweeplaw.orchestrator.store.store import Store

TRIALS, CORES = 4, 3
MEMORY = 80 * 2**20  # the least object store Ray takes
OPEN = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", **ON_DEMAND}
PATIENCE = 120.0
WHAT = ("worker", "node", "raylet")
RAYLET_SECONDS = 40.0  # longer than Ray's health checks take, or the trials would end before anyone notices

TRIAL = """
import os, time

def train(config):
    with open(config["notes"], "a") as notes:  # one short line: appended whole
        notes.write(f"{config['seed']} {os.environ['NODE_MARK']} {os.getpid()} {time.time()}\\n")
    time.sleep(config["seconds"])
    return {"val_loss": 1.0}
"""
SWEEP = """
name = "recovery"
workload = "python:mine:train"
seeds = %d
[scientific]
params = [1]
[fixed]
seconds = %g
notes = "%s"
"""


@dataclass(frozen=True, slots=True)
class Begun:
    """The start of a trial: its number, node, process and time (seconds of the wall clock)."""

    trial: int
    node: str
    pid: int
    at: float


@dataclass(frozen=True, slots=True)
class Recovered:
    """Seconds from launch to all running, and from the kill to the first and last running again.

    ``lost`` are the lost device-seconds by the trials' notes, ``accounted`` those by the account of the launch.
    """

    started: float
    first: float
    last: float
    trials: int
    lost: float
    accounted: float


def begun(notes: Path) -> list[Begun]:
    """Return every start of a trial so far."""
    lines = notes.read_text().splitlines() if notes.exists() else []
    found = (line.split() for line in lines)
    return [Begun(int(trial), node, int(pid), float(at)) for trial, node, pid, at in found]


def until(found: Callable[[], Any], running: Future[Any]) -> Any:
    """Return the first true value of ``found()``, polled while the launch runs."""
    deadline = time.monotonic() + PATIENCE
    while not (seen := found()):
        if running.done():
            raise SystemExit(f"the launch ended before: {running.result()}")
        if time.monotonic() > deadline:
            raise SystemExit(f"nothing happened within {PATIENCE:g} s")
        time.sleep(0.02)
    return seen


class Nodes:
    """The two nodes; a dead one can be replaced."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": MEMORY}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self._nodes: dict[str, Any] = {}
        self._count = 0

    def fill(self) -> None:
        """Start nodes until two are alive."""
        while len(self._nodes) < 2:
            self._count += 1
            mark = {"NODE_MARK": str(self._count)}
            node = self.cluster.add_node(num_cpus=CORES, object_store_memory=MEMORY, env_vars=mark)
            self._nodes[str(self._count)] = node

    def raylet(self, mark: str) -> int:
        """Return the id of this node's raylet process."""
        return int(self._nodes[mark].all_processes["raylet"][0].process.pid)

    def remove(self, mark: str) -> None:
        """Remove a dead node: end what its raylet left behind."""
        self.cluster.remove_node(self._nodes.pop(mark), allow_graceful=False)


def children(pid: int) -> list[int]:
    """Return the processes below this one, at any depth."""
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


@contextmanager
def cluster() -> Iterator[Nodes]:
    """Run a head without cores and two nodes for the block."""
    with environment(OPEN):
        nodes = Nodes()
        nodes.fill()
        try:
            yield nodes
        finally:
            nodes.cluster.shutdown()


def recover(nodes: Nodes, what: str, seconds: float) -> Recovered:
    """Kill one node or worker under a running sweep and measure how its trials recover."""
    address = {"address": nodes.cluster.address, "authentication": "disabled"}
    profile = parse({"kind": "ray", "nodes": 3, **address}, name="recovery")
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(1) as pool:
        folder, notes = Path(name), Path(name) / "notes"
        (folder / "mine.py").write_text(TRIAL)
        (folder / "t.toml").write_text(SWEEP % (TRIALS, seconds, notes))
        began = time.time()
        running = pool.submit(_launch, folder, profile)
        first = until(lambda: len(begun(notes)) == TRIALS and begun(notes), running)
        victim = first[-1]
        hit = [one for one in first if (one.pid == victim.pid if what == "worker" else one.node == victim.node)]
        raylet = nodes.raylet(victim.node)
        pids = {"worker": [victim.pid], "raylet": [raylet], "node": [raylet, *children(raylet)]}[what]
        time.sleep(1.0)
        killed = time.time()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        names = {one.trial for one in hit}
        again = until(lambda: (now := begun(notes)[TRIALS:]) and names <= {one.trial for one in now} and now, running)
        done = running.result(PATIENCE)
        if what != "worker":
            nodes.remove(victim.node)
            nodes.fill()
    assert done.states == {"completed": TRIALS}, done
    times = [one.at - killed for one in again if one.trial in names]
    lost = sum(killed - one.at for one in hit)
    started = max(one.at for one in first) - began
    return Recovered(started, min(times), max(times), len(hit), lost, done.usage.wasted_seconds)


def _launch(folder: Path, profile: Profile) -> Any:
    return launch(plan(read(folder / "t.toml")), Store.open(folder / "s", create=True), profile, Stamps())


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--times", type=int, default=1)
    arguments.add_argument("--seconds", type=float, default=8.0, help="what a trial takes")
    arguments.add_argument("--kill", choices=WHAT, help="only this")
    given = arguments.parse_args()
    with cluster() as nodes:
        for what in (given.kill,) if given.kill else WHAT:
            for _ in range(given.times):
                seconds = RAYLET_SECONDS if what == "raylet" else given.seconds
                seen = recover(nodes, what, seconds)
                print(
                    f"{what:6} killed: {seen.trials} lost, running again after {seen.first:.1f} to {seen.last:.1f} s, "
                    f"{seen.last / seen.started:.2f} of the {seen.started:.1f} s all took to start; device-seconds "
                    f"lost {seen.lost:.1f} of {TRIALS * seconds:.0f} ({seen.accounted:.1f} by the launch's account)",
                    flush=True,
                )


if __name__ == "__main__":
    main()
