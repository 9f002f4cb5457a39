"""Regret of the law-guided search at 1 to 10 % of a grid's FLOPs: the Step Law table, thinned ones, known surfaces.

On tables, regret is by the recorded losses. On the surfaces of `truths`, fresh noise is added for each seed, and regret
is by the loss without it. A guide is asked directly, without a sweep.

    python benchmarks/searching/law_guided.py                                # 20 seeds: about 4 minutes on two cores
    python benchmarks/searching/law_guided.py --tables bent alone --seeds 8  # known surfaces
    python benchmarks/searching/law_guided.py --seeds 1 --shares 1           # a few seconds, to see that it runs
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for `benchmarks.searching`

import argparse
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from benchmarks.searching.recorded_tables import STEP_LAW, THINNED, Reading, Recorded, replay, step_law
from benchmarks.searching.truths import NOISE, TRUTHS, truth

SHARES = (0.01, 0.02, 0.03, 0.05, 0.10)
TABLES = ("dense", *THINNED)
SURFACES = tuple(name for name in TRUTHS if name != "curves")


def recorded(name: str, seed: int) -> Recorded:
    """Return a table, or a known surface with the noise of this seed."""
    if name in TABLES:
        return step_law(THINNED.get(name))
    quiet = truth(name, seed)
    noise = NOISE * np.random.default_rng([seed, 99]).standard_normal(len(quiet))
    return Recorded(step_law().space, np.exp(quiet + noise), np.exp(quiet))


def run(job: tuple[str, int, tuple[float, ...]]) -> tuple[list[Reading], float]:
    """Return the readings of one table and seed, and the CPU seconds that they took."""
    name, seed, shares = job
    table, started = recorded(name, seed), time.process_time()
    return replay(table, shares, seed), time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--shares", type=int, default=len(SHARES), help="how many of the shares, from the smallest")
    parser.add_argument("--tables", nargs="+", choices=(*TABLES, *SURFACES), default=TABLES)
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    if not STEP_LAW.exists():
        print(f"{STEP_LAW.name} is not beside the checkout: nothing to search")
        return
    jobs = [(name, seed, SHARES[: chosen.shares]) for name in chosen.tables for seed in range(chosen.seeds)]
    print("regret in %: recorded answer (largest seed mean of a cell), denoised answer (mean of the worst cells)")
    with ProcessPoolExecutor(chosen.processes) as pool:
        found = pool.map(run, jobs)
        for name in chosen.tables:
            here = [next(found) for _ in range(chosen.seeds)]
            for i, share in enumerate(SHARES[: chosen.shares]):
                by_record = 100 * np.array([readings[i].recorded for readings, _ in here])
                denoised = 100 * np.array([readings[i].denoised for readings, _ in here])
                print(
                    f"{name:10s} {share:4.0%}: {by_record.mean():.4f} ({by_record.mean(axis=0).max():.2f}),"
                    f" {denoised.mean():.4f} ({denoised.max(axis=1).mean():.2f}),"
                    f" {np.mean([readings[i].runs for readings, _ in here]):.0f} runs",
                    flush=True,
                )
            print(f"{name:10s} {np.mean([seconds for _, seconds in here]):.1f} CPU seconds a search", flush=True)


if __name__ == "__main__":
    main()
