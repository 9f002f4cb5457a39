"""Durable records per second of a launcher, against SQLite (the storage of most trackers), and its memory.

    python benchmarks/store/append_speed.py [--records 200000]

Every write is on the disk when it returns: our journal fsyncs, SQLite commits with its default full synchronisation.
The batch is the number of finished trials in one write; each trial has two curve points. The clock runs while rows are
flattened, written and sealed into Parquet, not while this script makes up trials. The best of three runs counts, ours
and the peer's in turn. Memory is the process's resident size while recording.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.record import CurvePoint, Outcome, Provenance, TrialRecord
from sweeplaw.trials.spec import TrialSpec, Value

HOST = Provenance("host", "cpu", '{"python": "3.12", "torch": "2.13.0"}', "0123456789abcdef")


def record(seed: int) -> TrialRecord:
    """A record with the columns of a real one."""
    knobs: dict[str, Value] = {
        "lr": 1e-3,
        "weight_decay": 0.1,
        "seed": seed,
        "depth": 4,
        "width": 256,
        "context": 128,
        "schedule": "cosine",
    }
    spec = TrialSpec("surrogate", knobs)
    cost = Cost(1_000_000, 65_536, 934_464, 20_000_000, 20_000_000, 1.0, 1000, 64, 8192, 5.6e6, 1.1e14, "6N")
    outcome = Outcome(spec.trial_id, "completed", None, 1000, None, None, 12.5, {"val_loss": 2.5, "train_loss": 2.4})
    return TrialRecord(spec, cost, outcome, "sweep", 1, f"pack{seed // 4}", "bench", HOST)


def points(made: TrialRecord) -> list[CurvePoint]:
    """Two curve points of it."""
    return [CurvePoint(made.spec.trial_id, step, step * 8192, 2.6, 2.5, 1e-3, 0.5) for step in (500, 1000)]


def batches(count: int, batch: int) -> Iterator[tuple[list[TrialRecord], list[CurvePoint]]]:
    """Records and their points, ``batch`` records at a time."""
    for first in range(0, count, batch):
        made = [record(seed) for seed in range(first, min(first + batch, count))]
        yield made, [point for one in made for point in points(one)]


def ours(folder: Path, count: int, batch: int) -> float:
    """Records a second; for long runs the range of the memory is printed."""
    process, memory, seconds = psutil.Process(), {}, 0.0
    with Store.open(folder, create=True).writer("bench") as writer:
        for number, (made, curve) in enumerate(batches(count, batch), start=1):
            start = time.perf_counter()
            writer.write(made, curve)
            seconds += time.perf_counter() - start
            if number % 40 == 0:
                memory[number * batch] = process.memory_info().rss / 2**20
        start = time.perf_counter()
    seconds += time.perf_counter() - start  # the last segment is sealed
    if count >= 100_000:
        settled = [size for recorded, size in memory.items() if recorded >= 10_000]
        print(f"memory from 10,000 to {count} records: {min(settled):.0f} to {max(settled):.0f} MB", flush=True)
    return count / seconds


def sqlite(folder: Path, count: int, batch: int) -> float:
    """The same rows as rows of two SQLite tables, a transaction a batch."""
    database = sqlite3.connect(folder / "peer.db")
    names = list(record(0).row())
    quoted = ", ".join('"' + name + '"' for name in names)
    database.execute(f"CREATE TABLE trials ({quoted})")
    database.execute("CREATE TABLE curves (trial_id, step, tokens, train_loss, val_loss, lr, grad_norm, attempt)")
    seconds = 0.0
    for made, curve in batches(count, batch):
        start = time.perf_counter()
        with database:
            rows = [tuple(one.row().values()) for one in made]
            database.executemany(f"INSERT INTO trials VALUES ({', '.join('?' * len(names))})", rows)
            database.executemany(
                "INSERT INTO curves VALUES (?,?,?,?,?,?,?,?)", [tuple(point.row().values()) for point in curve]
            )
        seconds += time.perf_counter() - start
    database.close()
    return count / seconds


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--records", type=int, default=200_000)
    given = arguments.parse_args()
    table = []
    for batch, most, times in ((1, 500, 3), (16, 4_000, 3), (256, 20_000, 3), (256, given.records, 1)):
        count = min(most, given.records)
        mine, theirs = [], []
        for _ in range(times):
            with tempfile.TemporaryDirectory(dir=".") as folder:
                mine.append(ours(Path(folder) / "store", count, batch))
                theirs.append(sqlite(Path(folder), min(count, 20_000), batch))
        own, peer = max(mine), max(theirs)
        wins = "we win" if own > peer else "SQLite wins"
        print(f"{count} records, {batch} a write: {own:,.0f} a second; SQLite {peer:,.0f}; {own / peer:.2f}x, {wins}")
        table.append(f"| durable records, {batch} a write ({count:,}) | {own:,.0f}/s | SQLite {peer:,.0f}/s | ")
        table[-1] += f"{own / peer:.2f}x |"
    print("\n".join(table))


if __name__ == "__main__":
    main()
