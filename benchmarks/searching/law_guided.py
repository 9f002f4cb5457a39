"""Regret of the law-guided search at 1 to 10 % of the FLOPs of a recorded grid, on the Step Law table and thinned ones.

python benchmarks/searching/law_guided.py              # 20 seeds: about 5 minutes on two cores
python benchmarks/searching/law_guided.py --seeds 2    # half a minute, to see that it runs
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for `benchmarks.searching`

import argparse
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from benchmarks.searching.recorded_tables import THINNED, Reading, replay, step_law

SHARES = (0.01, 0.02, 0.03, 0.05, 0.10)


def run(job: tuple[str, int, tuple[float, ...]]) -> tuple[list[Reading], float]:
    """Return the readings of one table and seed, and the CPU seconds that they took."""
    name, seed, shares = job
    table, started = step_law(THINNED.get(name)), time.process_time()
    return replay(table, shares, seed), time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--shares", type=int, default=len(SHARES), help="how many of the shares, from the smallest")
    parser.add_argument("--tables", nargs="+", choices=("dense", *THINNED), default=["dense", *THINNED])
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    jobs = [(name, seed, SHARES[: chosen.shares]) for name in chosen.tables for seed in range(chosen.seeds)]
    with ProcessPoolExecutor(chosen.processes) as pool:
        found = list(pool.map(run, jobs))
    print("regret of the recorded answer, % (worst cell), of the denoised answer, and runs")
    for name in chosen.tables:
        here = [result for job, result in zip(jobs, found, strict=True) if job[0] == name]
        for i, share in enumerate(SHARES[: chosen.shares]):
            recorded = 100 * np.array([readings[i].recorded for readings, _ in here])
            denoised = 100 * np.array([readings[i].denoised for readings, _ in here])
            runs = np.mean([readings[i].runs for readings, _ in here])
            print(
                f"{name:5s} {share:4.0%}: {recorded.mean():.3f} ({recorded.mean(axis=0).max():.2f}),"
                f" {denoised.mean():.3f}, {runs:.0f} runs"
            )
        print(f"{name:5s} {np.mean([seconds for _, seconds in here]):.1f} CPU seconds a search")


if __name__ == "__main__":
    main()
