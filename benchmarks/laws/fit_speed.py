"""Time of one fit with its verdict, of a thousand profile points, and of fits to many rows, each in its own process.

    python benchmarks/laws/fit_speed.py [--table isoflops.csv] [--rows 10000000]
    python benchmarks/laws/fit_speed.py --rows 100000                     # a few seconds, to see that it runs

CPU seconds on one thread; the peer of a fit is scipy's least_squares from the same number of starts on the same rows.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import multiprocessing
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from bootstrap_speed import planted
from scipy.optimize import least_squares

from sweeplaw import analysis
from sweeplaw.analysis.fitting.profiles import profile
from sweeplaw.analysis.fitting.solver.starts import STARTS

CURVE = {"C": 1.7, "A": 2.0, "alpha": 0.3}
SURFACE = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}


def clock(call: Callable[[], object], repeat: int = 5) -> float:
    """Return the least CPU seconds of a few calls."""
    seconds = []
    for _ in range(repeat):
        begun = time.process_time()
        call()
        seconds.append(time.process_time() - begun)
    return min(seconds)


def scipy_starts(fit: analysis.Fit) -> None:
    """Run as many starts of scipy's robust least_squares as a fit of ours; no verdict."""
    setup, rng = fit.setup, np.random.default_rng(0)
    bound, losses = setup.problem.bound, setup.problem.losses
    np.seterr(all="ignore")  # its trial points leave the range of doubles
    for _ in range(STARTS):
        start = rng.uniform(0.1, 1.5, len(fit.law.names))
        least_squares(
            lambda z: losses - bound.predict(z[None])[0], start, bounds=(0, np.inf), loss="huber", f_scale=1e-3,
            x_scale="jac", xtol=1e-12, ftol=1e-12, gtol=1e-12, max_nfev=400,
        )  # fmt: skip


def large(law: str, rows: int) -> tuple[float, float, dict[str, float], bool]:
    """Return CPU seconds of a fit to simulated rows, peak memory in GB, the parameters and whether verified."""
    rng = np.random.default_rng(0)
    if law == "additive":
        inputs = {"N": np.exp(rng.uniform(16, 23, rows)), "D": np.exp(rng.uniform(20, 26, rows))}
        params = SURFACE
    else:
        inputs, params = {"x": np.exp(rng.uniform(0, 8, rows))}, CURVE
    losses = analysis.LAWS[law].predict(params, inputs)
    losses += 0.01 * rng.normal(size=rows)
    begun = time.process_time()
    fit = analysis.fit(pl.DataFrame({**inputs, "loss": losses}), law)
    seconds = time.process_time() - begun
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, dict(fit.params), fit.verified


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--table", help="isoflops.csv of the reference data")
    options.add_argument("--rows", type=int, default=10_000_000, help="rows of the one-dimensional fit")
    chosen = options.parse_args()
    rows = pl.read_csv(chosen.table).filter(pl.col("model") == "chinchilla") if chosen.table else planted()
    call: dict[str, Any] = {"x": {"N": "params", "D": "tokens"}, "y": "loss"}
    fit = analysis.fit(rows, **call)
    ours, theirs = clock(lambda: analysis.fit(rows, **call)), clock(lambda: scipy_starts(fit), 1)
    print(f"one fit with verdict, {fit.rows_used} rows: {ours * 1e3:.1f} ms ({fit.status})")
    print(f"  scipy least_squares, {STARTS} starts without verdict: {theirs * 1e3:.0f} ms, ratio {theirs / ours:.1f}x")
    print(f"1000 profile points: {clock(lambda: profile(fit.setup, fit.solution, 'alpha', points=1000), 3):.2f} s")
    context = multiprocessing.get_context("spawn")
    for law, count in (("power_asymptote", chosen.rows), ("additive", chosen.rows // 10)):
        with context.Pool(1) as pool:
            seconds, memory, params, verified = pool.apply(large, (law, count))
        shown = ", ".join(f"{name} {value:.5g}" for name, value in params.items())
        print(f"{law}, {count:,} rows: {seconds:.1f} s, peak {memory:.2f} GB, verified {verified}, {shown}")


if __name__ == "__main__":
    main()
