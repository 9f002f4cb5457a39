"""How busy a sweep kept its slots: seconds of training over slots times wall seconds, from first start to last end.

Runs the sweep on a private Ray unless a store already holds it. The peer is the same trials in the same order on slots
that hand over at no cost, each to the slot that is free first: what a perfect scheduler reaches.

    python benchmarks/device_busy.py                       # the demo, into a temporary folder
    python benchmarks/device_busy.py --store results/demo  # a sweep that was run before
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl

from analysis.tables import load

DEMO = Path(__file__).resolve().parents[1] / "orchestrator" / "sweeps" / "demo.toml"


def perfect(seconds: list[float], slots: int) -> float:
    """Busy share of ideal slots: trials in this order, each to the slot that is free first."""
    free = [0.0] * slots
    for one in seconds:
        first = free.index(min(free))
        free[first] += one
    return sum(seconds) / (slots * max(free))


def main() -> None:
    """Print the busy share and its ratio to the ideal one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweep", default=str(DEMO))
    parser.add_argument("--store", default=None)
    parser.add_argument("--slots", type=int, default=2)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = chosen.store or f"{folder}/store"
        if chosen.store is None:
            command = [sys.executable, "-m", "orchestrator.cli", "launch", chosen.sweep, "--store", store]
            subprocess.run(command, check=True)
        trials = load(store, states=None).trials.select("started_at", "ended_at", "train_seconds").collect()
    trials = trials.drop_nulls().sort("started_at")
    ends = trials.select((pl.col("ended_at").max() - pl.col("started_at").min()).dt.total_microseconds()).item()
    busy = trials["train_seconds"].sum() / (chosen.slots * ends / 1e6)
    ideal = perfect(trials["train_seconds"].to_list(), chosen.slots)
    print(f"{trials.height} trials, {chosen.slots} slots, {ends / 1e6:.1f} s")
    print(f"busy share        {busy:.3f}")
    print(f"without hand-over {ideal:.3f}")
    print(f"ratio             {busy / ideal:.3f}")


if __name__ == "__main__":
    main()
