"""The bootstrap of a loss surface: 1000 Huber refits in one batch, against four BFGS starts a resample.

    python benchmarks/laws/bootstrap_speed.py --table isoflops.csv    # the 124-row Chinchilla isoFLOP set
    python benchmarks/laws/bootstrap_speed.py                         # a planted set of the same shape
    python benchmarks/laws/bootstrap_speed.py --small                 # a few seconds, to see that it runs

The peer is scipy's BFGS with exact gradients from the full fit and three perturbed starts, on the first --peer of the
same resamples; its time is scaled to all of them. CPU seconds, one thread.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from typing import Any

import numpy as np
import polars as pl
from scipy.optimize import minimize

from sweeplaw import analysis
from sweeplaw.analysis.fitting.resampling import Resampling, resampler

RESAMPLES = 1000
DELTA = 1e-3


def planted() -> pl.DataFrame:
    """Return 124 rows on nine budgets, with heavy-tailed noise."""
    rng = np.random.default_rng(0)
    flops = np.repeat(np.geomspace(6e18, 3e21, 9), 14)[:124]
    params = np.sqrt(flops / 120) * np.exp(rng.uniform(-1.5, 1.5, 124))
    tokens = flops / 6 / params
    losses = 1.69 + 406.4 / params**0.34 + 410.7 / tokens**0.28 + 0.01 * rng.standard_t(3, size=124)
    return pl.DataFrame({"params": params, "tokens": tokens, "loss": losses})


def huber(
    z: np.ndarray, weights: np.ndarray, log_n: np.ndarray, log_d: np.ndarray, losses: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return the weighted mean Huber penalty of z = (log E, log A, log B, alpha, beta), and its gradient, times 1e6."""
    asymptote, a, b = np.exp(z[:3])
    first, second = a * np.exp(-z[3] * log_n), b * np.exp(-z[4] * log_d)
    residual = losses - asymptote - first - second
    size = np.abs(residual)
    clipped = np.minimum(size, DELTA)
    pull = weights * np.sign(residual) * clipped / weights.sum()
    slope = -np.array(
        [pull.sum() * asymptote, pull @ first, pull @ second, -pull @ (log_n * first), -pull @ (log_d * second)]
    )
    return float(np.sum(weights * clipped * (size - clipped / 2)) / weights.sum()) * 1e6, slope * 1e6


def peer(fit: analysis.Fit, weights: np.ndarray, count: int) -> tuple[float, np.ndarray]:
    """Return CPU seconds and the least objective of four BFGS starts on each of the first ``count`` resamples."""
    inputs = fit.observations.inputs
    log_n, log_d = (np.log(inputs[name] / np.exp(np.mean(np.log(inputs[name])))) for name in ("N", "D"))
    full = fit.solution.theta
    start = np.concatenate([np.log(full[:3]), full[3:]])
    rng, best = np.random.default_rng(1), np.full(count, np.inf)
    begun = time.process_time()
    for number in range(count):
        for spread in (0.0, 0.1, 0.2, 0.3):
            answer = minimize(
                huber, start + spread * rng.normal(size=5), (weights[number], log_n, log_d, fit.observations.losses),
                method="BFGS", jac=True, options={"gtol": 1e-5},
            )  # fmt: skip
            best[number] = min(best[number], answer.fun / 1e6)
    return time.process_time() - begun, best


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--table", help="isoflops.csv of the reference data")
    options.add_argument("--peer", type=int, default=100, help="resamples of the peer (its time is scaled)")
    options.add_argument("--small", action="store_true", help="50 resamples, 2 of the peer")
    chosen = options.parse_args()
    count, peer_count = (50, 2) if chosen.small else (RESAMPLES, chosen.peer)
    rows = pl.read_csv(chosen.table).filter(pl.col("model") == "chinchilla") if chosen.table else planted()
    call: dict[str, Any] = {"x": {"N": "params", "D": "tokens"}, "y": "loss", "units": {"N": 1e6, "D": 1e9}}
    alone = analysis.fit(rows, **call)
    begun = time.process_time()
    analysis.fit(rows, **call)
    single = time.process_time() - begun
    begun = time.process_time()
    fit = analysis.fit(rows, bootstrap=count, **call)
    ours = time.process_time() - begun - single
    assert fit.draws is not None
    draw, _ = resampler(fit.observations, Resampling(count), len(fit.law.names))
    seconds, best = peer(alone, draw(count), peer_count)
    theirs = seconds * count / peer_count
    excess = fit.draws.values[:peer_count] / best - 1
    print(f"{count} Huber refits of {fit.rows_used} rows, CPU seconds on one thread")
    print(f"  batched                    {ours:8.2f} s, {int(fit.draws.converged.sum())} at a proved optimum")
    print(f"  four BFGS starts each      {theirs:8.2f} s (from {peer_count}); ratio {theirs / ours:.1f}x")
    print(f"  excess over the best BFGS: median {np.median(excess):.1e}, {excess.min():.1e} to {excess.max():.1e}")


if __name__ == "__main__":
    main()
