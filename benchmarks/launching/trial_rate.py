"""Trials per second of a launch when a trial costs nothing, every row durable before it counts.

    python benchmarks/launching/trial_rate.py [--trials 10000]

The peers are Ray Tune with its defaults, and Tune with reused actors and its log files off, on equally empty trials, in
the same run on the same two slots. Every rate excludes the start: it runs from the first finished trial to the last.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import surrogate_launch
import tune_peer

from sweeplaw.clusters.connect.cluster import connected


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--trials", type=int, default=10_000)
    arguments.add_argument("--tune", type=int, default=20, help="trials for Tune's defaults, about a second each")
    arguments.add_argument("--reused", type=int, default=200, help="trials for Tune with reused actors")
    given = arguments.parse_args()
    profile, stamps = surrogate_launch.two_slots(), surrogate_launch.Stamps()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        done = surrogate_launch.launch(surrogate_launch.sweep(given.trials), Path(folder) / "store", profile, stamps)
    assert done.states == {"completed": given.trials}, done
    first, last = stamps.durable[0][0], stamps.durable[-1][0]
    print(f"{given.trials} trials on {stamps.slots} slots: first durable after {first:.1f} s, last after {last:.1f} s")
    print(f"sweeplaw             {stamps.rate:8.1f} trials/s")
    with connected(profile):
        for name, count, reuse in (("Tune, defaults", given.tune, False), ("Tune, reused actors", given.reused, True)):
            theirs = tune_peer.rate(tune_peer.spans(count, 0.0, reuse=reuse))
            print(f"{name:20} {theirs:8.1f} trials/s; {stamps.rate / theirs:.0f}x", flush=True)


if __name__ == "__main__":
    main()
