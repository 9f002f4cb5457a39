"""Trials of ridge regression on random features per second, by processes of one thread each.

    python benchmarks/workloads/ridge_speed.py [--trials 4000] [--processes 2]
    python benchmarks/workloads/ridge_speed.py --trials 16 --processes 1    # a second, to see that it runs

128 features and 128 samples. Each trial has samples and features of its own (one seed each), or twenty ridges share
those of a seed. The time is that of the workload, from specs to outcomes, without start of a process and first use.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from sweeplaw.trials.record import Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads import registry

SIZE = {"features": 128, "samples": 128, "noise": 0.1}
RIDGES = 20  # that share a draw


def run(trials: int, dimension: int, ridges: int, first_seed: int) -> int:
    """Run trials of which each ``ridges`` share a seed; return how many completed."""
    workload = registry.load("ridge")
    pack = [
        TrialSpec.of(
            workload.name,
            workload.knobs,
            {**SIZE, "dimension": dimension, "seed": first_seed + i // ridges, "ridge": 1e-3 * 1.3 ** (i % ridges)},
        )
        for i in range(trials)
    ]
    events = workload.run(pack, Context("cpu", Path()))
    return sum(isinstance(event, Outcome) and event.state == "completed" for event in events)


def timed(trials: int, dimension: int, ridges: int, first_seed: int) -> tuple[float, float]:
    """Return the times at which the trials began and ended, on a clock that all processes share."""
    run(2 * ridges, dimension, ridges, -1)
    started = time.time()
    if run(trials, dimension, ridges, first_seed) != trials:
        raise RuntimeError("a trial did not complete")
    return started, time.time()


def main() -> None:
    """Print a line for each dimension and each way to share draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=4000)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    print(f"{'modes':>6s} {'trials of a draw':>17s} {'processes':>10s} {'trials/s':>10s}")
    with ProcessPoolExecutor(args.processes, mp_context=get_context("spawn")) as pool:
        for dimension in (128, 256, 512):
            for ridges in (1, RIDGES):
                share = max(ridges, args.trials // args.processes)
                jobs = [pool.submit(timed, share, dimension, ridges, p * share) for p in range(args.processes)]
                begun, ended = zip(*(job.result() for job in jobs), strict=True)
                rate = share * args.processes / (max(ended) - min(begun))
                print(f"{dimension:6d} {ridges:17d} {args.processes:10d} {rate:10.0f}", flush=True)


if __name__ == "__main__":
    main()
