"""Busy share of a sweep's slots: seconds of training over slots times wall seconds, from first start to last end.

Runs the sweep (on a private Ray, if nothing else is named) unless a store already holds it. The peer is a perfect
scheduler: the same trials in the same order, each on the slot that is free first, at no cost.

    python benchmarks/launching/device_busy.py                       # the demo, into a temporary folder
    python benchmarks/launching/device_busy.py --store results/demo  # a sweep that was run before
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from sweeplaw.analysis.tables.tables import load

DEMO = Path(__file__).resolve().parents[2] / "orchestrator" / "sweeps" / "demo.toml"


Span = tuple[float, float]  # when a trial began and ended, in seconds of the wall clock


def trained(store: str) -> list[Span]:
    """When each trial of this store held its device."""
    trials = load(store, states=None).trials.select("started_at", "train_seconds").collect().drop_nulls()
    return [(began.timestamp(), began.timestamp() + seconds) for began, seconds in trials.sort("started_at").rows()]


def busy(spans: list[Span], slots: int) -> float:
    """Share of the time from first start to last end in which the slots trained."""
    return sum(ended - began for began, ended in spans) / (slots * length(spans))


def length(spans: list[Span]) -> float:
    """Seconds from first start to last end."""
    return max(ended for _, ended in spans) - min(began for began, _ in spans)


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
    parser.add_argument("--cluster", default="local", help="where the sweep runs, if it was not run before")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = chosen.store or f"{folder}/store"
        if chosen.store is None:
            command = [
                sys.executable,
                "-m",
                "sweeplaw",
                "launch",
                chosen.sweep,
                "--store",
                store,
                "--cluster",
                chosen.cluster,
            ]
            subprocess.run(command, check=True)
        spans = trained(store)
    share, ideal = busy(spans, chosen.slots), perfect([ended - began for began, ended in spans], chosen.slots)
    print(f"{len(spans)} trials, {chosen.slots} slots, {length(spans):.1f} s")
    print(f"busy share        {share:.3f}")
    print(f"without hand-over {ideal:.3f}")
    print(f"ratio             {share / ideal:.3f}")


if __name__ == "__main__":
    main()
