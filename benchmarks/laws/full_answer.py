"""A full answer from millions of runs: seconds of CPU of each of its steps, beyond reading the table.

    python benchmarks/laws/full_answer.py [--rows 5000000] [--cells 400] [--seeds 10] [--profile STEP]

The table is a foreign one: runs of a known law in N and D, each point tuned over a grid of three knobs with a
quadratic valley, repeated over seeds. The steps are those of a person who asks everything once: the roles of the
columns and the best setting of each point, two laws, their verdicts, the intervals of their parameters, the forecast of
larger runs and its track record. There is no peer: no other tool answers this from one table.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cProfile
import pstats
from typing import Any

import numpy as np
import polars as pl

from sweeplaw.analysis.adequacy.adequacy import law_verdict
from sweeplaw.analysis.fitting.fit import fit_observations
from sweeplaw.analysis.fitting.observations import Columns, observe
from sweeplaw.analysis.fitting.solver.objectives import parse_objective
from sweeplaw.analysis.forecasting.forecaster import forecaster
from sweeplaw.analysis.forecasting.rollouts import rollouts
from sweeplaw.analysis.laws.catalog import LAWS

GRID = {"lr": 25, "batch": 10, "weight_decay": 5}  # values of each knob at a point
NOISE, SHARP = 0.004, {"lr": 0.04, "batch": 0.01, "weight_decay": 0.02}  # of log loss; curvature in natural logs
COLUMNS, CANDIDATES, OBJECTIVE = {"N": "params", "D": "tokens"}, ("additive", "skaling"), parse_objective("huber:0.001")


def table(rows: int, cells: int, seeds: int) -> pl.DataFrame:
    """Return runs of ``cells`` points along budgets of compute, their settings as many as ``rows`` allow."""
    random = np.random.default_rng(0)
    budgets = max(3, round(cells**0.53))
    budget, place = np.arange(cells) % budgets, np.arange(cells) // budgets
    compute = 1e18 * 10 ** (3 * budget / budgets)
    params = np.sqrt(compute / 120) * 2.0 ** ((place - place.mean()) / 3)
    tokens = compute / 6 / params
    grid = np.stack(np.meshgrid(*[np.arange(count) for count in GRID.values()], indexing="ij"), -1).reshape(-1, 3)
    grid = grid[: max(4, rows // (cells * seeds))]
    steps = {name: (grid[:, k] - count // 2) * 0.35 for k, (name, count) in enumerate(GRID.items())}
    cell, setting = (part.ravel() for part in np.meshgrid(np.arange(cells), np.arange(len(grid)), indexing="ij"))
    centre = {name: 0.1 * random.standard_normal(cells) for name in GRID}
    excess = sum(SHARP[name] / 2 * (steps[name][setting] - centre[name][cell]) ** 2 for name in GRID)
    law = 1.7 + 406 / params**0.34 + 411 / tokens**0.28
    cell, setting, excess = (np.repeat(part, seeds) for part in (cell, setting, excess))
    loss = law[cell] * np.exp(excess + NOISE * random.standard_normal(len(cell)))
    knobs = {name: 1e-3 * np.exp(step)[setting] for name, step in steps.items()}
    columns = {"params": params[cell].round(), "tokens": tokens[cell].round(), **knobs}
    return pl.DataFrame({**columns, "seed": np.arange(len(cell)) % seeds, "loss": loss})


def steps(frame: pl.DataFrame) -> dict[str, Callable[[], object]]:
    """Return the steps of an answer by name, to be taken in order; each uses what those before it found."""
    found: dict[str, Any] = {}

    def keep(name: str, made: object) -> object:
        found[name] = made
        return made

    return {
        "best settings": lambda: keep("rows", observe(frame, LAWS["additive"], Columns(COLUMNS, "loss"))),
        "two laws": lambda: [keep(law, fit_observations(found["rows"], LAWS[law], OBJECTIVE)) for law in CANDIDATES],
        "verdicts": lambda: [law_verdict(found[law]) for law in CANDIDATES],
        "intervals": lambda: [found[law].intervals for law in CANDIDATES],
        "forecast": lambda: keep("forecast", forecaster(found["additive"])),
        "track record": lambda: rollouts(found["forecast"]),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=5_000_000)
    arguments.add_argument("--cells", type=int, default=400)
    arguments.add_argument("--seeds", type=int, default=10)
    arguments.add_argument("--profile", metavar="STEP", help="print where the CPU of this step goes")
    given = arguments.parse_args()
    frame = table(given.rows, given.cells, given.seeds)
    print(f"{frame.height:,} runs, {given.cells} points\n| step | seconds of CPU |\n|---|---|")
    total = 0.0
    for name, step in steps(frame).items():
        profiler = cProfile.Profile()
        begun = time.process_time()
        _ = profiler.runcall(step) if name == given.profile else step()
        total += (seconds := time.process_time() - begun)
        print(f"| {name} | {seconds:.2f} |", flush=True)
        if name == given.profile:
            pstats.Stats(profiler).sort_stats("cumulative").print_stats(40)
    print(f"| all | {total:.2f} |")


if __name__ == "__main__":
    main()
