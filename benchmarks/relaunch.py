"""Launching again on a store with a million finished trials: plan, ask what is finished, subtract; time and memory.

    python benchmarks/relaunch.py [--trials 1000000]

The peer is the same question to SQLite in the same run: read id and state of every trial, subtract.
"""

from __future__ import annotations

import argparse
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from orchestrator import durable
from orchestrator.store import Store
from trials import columns
from trials.record import TRIAL_COLUMNS
from trials.spec import trial_ids

PART = 7_000  # what a writer seals at once


def ids(count: int) -> list[str]:
    """The ids of a plan of ``count`` trials."""
    return trial_ids("surrogate", {"lr": 1e-3, "depth": 4}, ["seed"], [(seed,) for seed in range(count)])


def fill(folder: Path, count: int) -> None:
    """A store with all but a hundred of the plan finished, in parts as a launch leaves them; and the same in SQLite."""
    store = Store.open(folder / "store", create=True)
    database = sqlite3.connect(folder / "peer.db")
    database.execute("CREATE TABLE trials (trial_id TEXT PRIMARY KEY, state TEXT, attempt INTEGER, spec TEXT)")
    types = columns.union([columns.schema(TRIAL_COLUMNS)])
    done = ids(count)[:-100]
    for first in range(0, len(done), PART):
        some = done[first : first + PART]
        rows = {
            "trial_id": some,
            "state": ["completed"] * len(some),
            "attempt": [1] * len(some),
            "spec": ["{}" * 60] * len(some),
        }
        durable.publish_table(
            store.location, f"trials/launch-{first:010x}.parquet", columns.conform(pa.table(rows), types)
        )
        database.executemany("INSERT INTO trials VALUES (?, 'completed', 1, ?)", [(one, "{}" * 60) for one in some])
    database.commit()
    database.close()


def relaunch(folder: Path, count: int) -> None:
    """What `launch` does before its first trial; prints seconds and peak memory of this process."""
    start = time.perf_counter()
    planned = ids(count)
    hashed = time.perf_counter() - start
    finished = Store.open(folder / "store").finished()
    missing = [one for one in planned if one not in finished]
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count} planned, {len(missing)} missing: {seconds:.2f} s ({hashed:.2f} s hashing), {memory:.0f} MB")
    start = time.perf_counter()
    database = sqlite3.connect(folder / "peer.db")
    known = dict(database.execute("SELECT trial_id, state FROM trials"))
    database.close()
    assert len([one for one in planned if one not in known]) == len(missing)
    peer = time.perf_counter() - start
    print(f"the subtraction alone: {seconds - hashed:.2f} s; SQLite {peer:.2f} s; {peer / (seconds - hashed):.2f}x")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--trials", type=int, default=1_000_000)
    arguments.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.inside:
        relaunch(given.inside, given.trials)
        return
    with tempfile.TemporaryDirectory(dir=".") as folder:
        fill(Path(folder), given.trials)
        subprocess.run([sys.executable, __file__, "--trials", str(given.trials), "--inside", folder], check=True)


if __name__ == "__main__":
    main()
