"""Launching again on a store with a million finished trials: plan, ask what is finished, subtract; time and memory.

    python benchmarks/store/relaunch.py [--trials 1000000]

The peer is the same question to SQLite (where Optuna and most trackers keep trials) in the same run: the same plan,
then id and state of every trial read and subtracted. The best of three counts.
"""

from __future__ import annotations

import argparse
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from sweeplaw.orchestrator.plan.plan import Plan, plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store import atomic
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.record import TRIAL_COLUMNS
from sweeplaw.trials.store_format import columns

PART = 7_000  # what a writer seals at once


def planned(count: int) -> Plan:
    """The plan of a sweep of ``count`` trials: 100 points, at each 100 learning rates and as many seeds as it takes."""
    return plan(
        parse(
            f"""
            name = "million"
            workload = "surrogate"
            seeds = {list(range(count // 10_000))}
            [scientific]
            params = {{ log = [1e6, 1e9], num = 10 }}
            tokens = {{ log = [1e8, 1e11], num = 10 }}
            [nuisance]
            lr = {{ log = [1e-4, 1e-2], num = 100 }}
            """
        )
    )


def fill(folder: Path, count: int) -> None:
    """A store with all but a hundred of the plan finished, in parts as a launch leaves them; and the same in SQLite."""
    store = Store.open(folder / "store", create=True)
    database = sqlite3.connect(folder / "peer.db")
    database.execute("CREATE TABLE trials (trial_id TEXT PRIMARY KEY, state TEXT, attempt INTEGER, spec TEXT)")
    types = columns.union([columns.schema(TRIAL_COLUMNS)])
    done = list(planned(count).ids)[:-100]
    for first in range(0, len(done), PART):
        some = done[first : first + PART]
        rows = {
            "trial_id": some,
            "state": ["completed"] * len(some),
            "attempt": [1] * len(some),
            "spec": ["{}" * 60] * len(some),
        }
        atomic.publish_table(
            store.location, f"trials/launch-{first:010x}.parquet", columns.conform(pa.table(rows), types)
        )
        database.executemany("INSERT INTO trials VALUES (?, 'completed', 1, ?)", [(one, "{}" * 60) for one in some])
    database.commit()
    database.close()


def relaunch(folder: Path, count: int) -> None:
    """What `launch` does before its first trial; prints seconds and peak memory of this process."""
    ours, peer, planning = [], [], []
    for _ in range(3):
        start = time.perf_counter()
        made = planned(count)
        planning.append(time.perf_counter() - start)
        finished: Mapping[str, str] = Store.open(folder / "store").finished()
        todo = made.only({one for one in made.ids if one not in finished})
        ours.append(time.perf_counter() - start)
        del finished
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for _ in range(3):
        start = time.perf_counter()
        database = sqlite3.connect(folder / "peer.db")
        finished = dict(database.execute("SELECT trial_id, state FROM trials"))
        database.close()
        assert made.only({one for one in made.ids if one not in finished}).trials == todo.trials
        peer.append(time.perf_counter() - start)
    print(f"{count} planned, {todo.trials} to run: {min(ours):.2f} s ({min(planning):.2f} s planning), {memory:.0f} MB")
    least = min(own - plan for own, plan in zip(ours, planning, strict=True))
    print(
        f"reading and subtracting alone: {least:.2f} s; SQLite {min(peer):.2f} s; ours takes {least / min(peer):.2f}x"
    )
    print(f"| relaunch on {count:,} finished trials | {min(ours):.1f} s, {memory:.0f} MB | ", end="")
    print(f"SQLite {min(planning) + min(peer):.1f} s | {min(ours) / (min(planning) + min(peer)):.2f}x |")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--trials", type=int, default=1_000_000)
    arguments.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.inside:
        relaunch(given.inside, given.trials)
        return
    if given.trials % 10_000:
        arguments.error("--trials: a multiple of 10000")
    with tempfile.TemporaryDirectory(dir=".") as folder:
        fill(Path(folder), given.trials)
        subprocess.run([sys.executable, __file__, "--trials", str(given.trials), "--inside", folder], check=True)


if __name__ == "__main__":
    main()
