"""Searches against the usual ones: regret against cost on recorded and planted tables, and the time of a proposal.

    python benchmarks/search.py                        # all parts, 20 seeds: about an hour on two cores
    python benchmarks/search.py --part recorded --searches law,tpe --seeds 5
    python benchmarks/search.py --small                # one seed of the cheap searches, to see that it runs

- recorded: the Step Law table (1,911 dense runs in 17 cells) and three thinned ones; regret of the best runs, and of
  what a search recommends, by the recorded losses
- true: tables whose truth is known, with fresh noise of .06 %; regret of what a search recommends, by the truth, and
  for the quadratic a Cramér-Rao bound of a greedy design; one table has planted curves, for searches that pause runs
- latency: CPU seconds of a proposal with many records in twenty cells

Cost is FLOPs as a share of the whole grid's. Peers: the searches of a sweep (random is a Sobol sequence; tpe, gp and
cmaes are Optuna's, with a third of their runs as start), `cells`: a Gaussian process with expected improvement in each
cell alone (scikit-learn), `equal`: local search from the neighbouring cell's optimum with the same FLOPs in every cell.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `benchmarks.searching`
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl

from benchmarks.searching import truths
from benchmarks.searching.bound import bounds
from benchmarks.searching.latency import measured
from benchmarks.searching.peers import CellProcess, EqualFlops
from benchmarks.searching.recorded_tables import STEP_LAW, THINNED
from sweeplaw.orchestrator.plan.search_options import KINDS
from sweeplaw.orchestrator.search.rehearsal.comparison import readings
from sweeplaw.orchestrator.search.rehearsal.contestants import Contestant, contestants
from sweeplaw.orchestrator.search.rehearsal.recorded_space import RecordedSpace

SEARCHES = ("random", "tpe", "gp", "cmaes", "cells", "equal", "local", "archive", "law")
PAUSING = ("halving", "hyperband")  # where there are curves
QUICK = ("random", "equal", "law")
RECORDED = ("dense", *THINNED)
SHARES = (0.01, 0.02, 0.03, 0.05, 0.1)
RECORDS = (100, 1000, 2000, 10_000)


@dataclass(frozen=True, slots=True)
class Job:
    """One search of one table with one seed."""

    table: str
    search: str
    seed: int
    shares: tuple[float, ...]


Answer = list[tuple[list[float], list[float], int, float]]  # at each share: both regrets of each cell, runs, seconds


def run(job: Job) -> Answer:
    """Return what a search has found at each share, judged by the recorded losses or by the truth."""
    if job.table in truths.TRUTHS:
        space, judge = truths.spaces(job.table, job.seed)
    else:
        judge = space = _recorded(job.table)
    found: Answer = []
    for reading in readings(space, _contestant(space, job.search), job.shares, job.seed):
        true = [judge.outcomes[one].loss / judge.least[cell] - 1 for cell, one in enumerate(reading.settings)]
        found.append((reading.recorded.tolist(), true, reading.trials, reading.seconds))
    return found


def _recorded(name: str) -> RecordedSpace:
    frame = pl.read_csv(STEP_LAW)
    if name in THINNED:
        frame = frame.filter(pl.col("bs").is_in(list(THINNED[name])))
    return truths.step_law_space(frame, "smooth loss")


def _contestant(space: RecordedSpace, name: str) -> Contestant:
    if name == "cells":
        return Contestant(name, lambda seed, share: CellProcess(space, seed, share), anew=True)
    if name == "equal":
        return Contestant(name, lambda seed, share: EqualFlops(space, seed, share), anew=True)
    return contestants(space, [name])[0]


def regrets(
    tables: Sequence[str], searches: Sequence[str], seeds: int, shares: Sequence[float], processes: int
) -> Iterator[dict[str, object]]:
    """Yield a row for each table, search and share: means over cells and seeds in per cent."""
    jobs = [Job(table, name, seed, tuple(shares)) for table in tables for name in searches for seed in range(seeds)]
    with ProcessPoolExecutor(processes) as pool:
        answers = pool.map(run, jobs)
        for first in range(0, len(jobs), seeds):
            found = [next(answers) for _ in range(seeds)]
            for place, share in enumerate(shares):
                recorded, recommended = (100 * np.array([one[place][k] for one in found]) for k in (0, 1))
                yield {
                    "table": jobs[first].table,
                    "search": jobs[first].search,
                    "share": share,
                    "recorded": float(recorded.mean()),
                    "recorded_worst_cell": float(recorded.mean(axis=0).max()),
                    "recommended": float(recommended.mean()),
                    "recommended_worst_cell": float(recommended.mean(axis=0).max()),
                    "runs": float(np.mean([one[place][2] for one in found])),
                    "seconds": float(np.mean([one[place][3] for one in found])),
                }


def show(rows: Iterator[dict[str, object]], key: str, as_json: bool) -> None:
    """Print rows as they come, with the regret ``key`` or both."""
    for row in rows:
        if as_json:
            print(json.dumps(row), flush=True)
            continue
        both = ("recorded", "recommended") if key == "recorded" else ("recommended",)
        values = "  ".join(f"{name} {row[name]:.4f} (worst {row[f'{name}_worst_cell']:.3f})" for name in both)
        print(
            f"{row['table']:10} {row['search']:8} {row['share']:4.0%}  {values}  {row['runs']:.0f} runs, "
            f"{row['seconds']:.2f} CPU s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("recorded", "true", "latency", "all"), default="all")
    parser.add_argument("--tables", help="of the part, separated by commas")
    parser.add_argument("--searches", default=",".join(SEARCHES))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--shares", default=",".join(map(str, SHARES)))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    shares = [float(share) for share in chosen.shares.split(",")]
    searches, seeds = chosen.searches.split(","), chosen.seeds
    tables = chosen.tables.split(",") if chosen.tables else None
    records: Sequence[int] = RECORDS
    if chosen.small:
        shares, searches, seeds, records = [0.01, 0.02], list(QUICK), 1, (100,)
    there = STEP_LAW.exists()
    if not there and chosen.part != "latency":
        print(f"{STEP_LAW.name} is not beside the checkout: the tables of regret are left out")
    if chosen.part in ("recorded", "all") and there:
        print("regret by the recorded losses, %")
        used = [name for name in tables or (RECORDED[:2] if chosen.small else RECORDED) if name in RECORDED]
        show(regrets(used, searches, seeds, shares, chosen.processes), "recorded", chosen.json)
    if chosen.part in ("true", "all") and there:
        print("regret by the truth, %")
        wanted = tables or (("quadratic", "curves") if chosen.small else truths.TRUTHS)
        used = [name for name in wanted if name in truths.TRUTHS]
        show(regrets(used, searches, seeds, shares, chosen.processes), "recommended", chosen.json)
        if "curves" in used:
            show(regrets(["curves"], PAUSING, seeds, shares, chosen.processes), "recommended", chosen.json)
        for share, (bound, runs) in zip(shares, bounds(shares, truths.planted_optima("quadratic", 0)), strict=True):
            least = f"{100 * bound:.5f} at {share:.0%} ({runs} runs)"
            print(f"quadratic  no unbiased estimate from a greedy design is below {least}")
    if chosen.part in ("latency", "all"):
        print("CPU seconds of a proposal: the first of an instance, which reads all records, and a later one")
        for kind, count, first, later in measured([name for name in searches if name in KINDS], records):
            print(f"{kind:8} {count:6,} records: {first:8.3f} {later:8.4f}", flush=True)


if __name__ == "__main__":
    main()
