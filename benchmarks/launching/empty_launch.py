"""Seconds of a whole `sweeplaw launch` of eight empty trials on a private Ray, against Ray itself and its first actor.

Usage: `python benchmarks/launching/empty_launch.py [--runs 5]`
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SWEEP = 'name = "empty"\nworkload = "surrogate"\nseeds = 2\n[scientific]\nparams = [1000, 2000]\ntokens = [50, 70]\n'
# A cluster as private as ours, its first actor, and its end.
BARE = """
import os, sys
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN_PATH"] = sys.argv[1] + "/token"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
open(sys.argv[1] + "/token", "w").write("0" * 64)
import ray
ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=sys.argv[1])

@ray.remote(num_cpus=1)
class Actor:
    def answer(self):
        return 42

assert ray.get(Actor.remote().answer.remote()) == 42
ray.shutdown()
"""


def main() -> None:
    """Take turns, so that whatever else the machine does falls on both; print medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    ours, bare = [], []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="e", dir="/tmp") as folder:
            bare.append(seconds([sys.executable, "-c", BARE, folder]))
            Path(folder, "sweep.toml").write_text(SWEEP)
            Path(folder, "two.toml").write_text('kind = "local"\ncpus = 2\n')
            places = [f"{folder}/sweep.toml", "--store", f"{folder}/store", "--cluster", f"{folder}/two.toml"]
            ours.append(seconds([sys.executable, "-m", "sweeplaw", "launch", *places]))
    launch, peer = statistics.median(ours), statistics.median(bare)
    print(f"launch of 8 empty trials  {launch:.1f} s  (medians of {runs})")
    print(f"ray.init and one actor    {peer:.1f} s")
    print(f"ratio                     {launch / peer:.2f}")


def seconds(command: list[str]) -> float:
    """Wall seconds of one process."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
