"""Share of the time that two slots train when every trial takes one second.

    python benchmarks/launching/slots_busy.py [--trials 40]

From the start of the first trial to the end of the last. The peers are Ray Tune with its defaults and Tune with reused
actors, on trials that sleep as long, in the same run.
"""

from __future__ import annotations

import argparse
import tempfile

import surrogate_launch
import tune_peer
from device_busy import busy, length, trained

from sweeplaw.clusters.connect.cluster import connected


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--trials", type=int, default=40)
    arguments.add_argument("--tune", type=int, default=10, help="trials for each way of Tune")
    given = arguments.parse_args()
    profile = surrogate_launch.two_slots()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        store = f"{folder}/store"
        surrogate_launch.launch(
            surrogate_launch.sweep(given.trials, seconds=1.0), store, profile, surrogate_launch.Stamps()
        )
        spans = trained(store)
    ours = busy(spans, 2)
    print(f"sweeplaw             {len(spans):3} trials in {length(spans):5.1f} s: slots busy {ours:.1%}", flush=True)
    with connected(profile):
        for name, reuse in (("Tune, defaults", False), ("Tune, reused actors", True)):
            spans = tune_peer.spans(given.tune, 1.0, reuse=reuse)
            share = busy(spans, 2)
            print(
                f"{name:20} {len(spans):3} trials in {length(spans):5.1f} s: slots busy {share:.1%}; "
                f"{ours / share:.2f}x",
                flush=True,
            )


if __name__ == "__main__":
    main()
