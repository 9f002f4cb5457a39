"""Coverage of the 95 % intervals of hyperparameter laws: planted laws over 8, 12 and 17 cells, by estimator.

Each cell has 7 x 6 runs on a grid that is off its optimum by up to 1.5x, a curvature of its own, a skew that no
quadratic has, an optimum off the law by a scatter of 0, 10 or 20 %, and heavy-tailed noise of 0.05 to 0.2 % of loss.
The plain percentiles of the same resamples are printed beside the intervals.

    python benchmarks/laws/hyperlaw_coverage.py             # 40 sets a row: about 4 minutes on one core
    python benchmarks/laws/hyperlaw_coverage.py --sets 2    # a few seconds, to see that it runs
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import polars as pl
from scipy import stats

from sweeplaw.analysis.hyperlaws.hyperlaw import hyperlaw

TRUTH = {("lr", "N"): -0.6, ("lr", "D"): 0.25, ("batch_tokens", "D"): 0.55}
NOISE = ((0.0005, 0.0), (0.001, 0.1), (0.002, 0.2))  # of loss, and of the log optimum of a cell
ESTIMATORS = ("joint", "cells", "pooled:0.0025")


def planted(cells: int, noise: float, scatter: float, seed: int) -> pl.DataFrame:
    """Return the runs of one set."""
    rng = np.random.default_rng(seed)
    points = [(n, d) for n in (1e8, 2e8, 4e8, 8e8, 1.6e9) for d in (4e9, 1.6e10, 6.4e10, 2.56e11)]
    rows = []
    for n, d in (points[i] for i in rng.permutation(len(points))[:cells]):
        middle = np.log([0.5 * n**-0.6 * d**0.25, 0.5 * d**0.55])
        best = middle + scatter * rng.standard_normal(2)
        curvature, shift = 0.005 * np.exp(0.2 * rng.standard_normal()), rng.uniform(-0.4, 0.4, 2)
        for x in middle[0] + shift[0] + np.log(2) * np.arange(-3, 4):
            for y in middle[1] + shift[1] + np.log(2) * np.arange(-2.5, 3):
                a, b = x - best[0], y - best[1]
                rise = curvature * (a * a + b * b - 0.8 * a * b) + 0.0004 * a**3
                error = noise * rng.standard_t(4) / np.sqrt(2)
                level = 1.7 + 400 * n**-0.34 + 410 * d**-0.28
                rows.append((n, d, np.exp(x), np.exp(y), level * np.exp(rise + error)))
    return pl.DataFrame(rows, schema=["N", "D", "lr", "batch_tokens", "val_loss"], orient="row")


def covered(frame: pl.DataFrame, estimator: str, resamples: int) -> Iterator[tuple[bool, bool]]:
    """Yield whether the interval and the plain percentiles cover each exponent."""
    found = hyperlaw(frame, estimator=estimator, resamples=resamples)
    for (knob, axis), truth in TRUTH.items():
        law = found.law(knob)
        exponent = law.exponents[axis]
        freedom = found.cells_used - int(law.features.allowed[found.knobs.index(knob)].sum())
        factor = stats.t.ppf(0.975, freedom) / stats.norm.ppf(0.975)
        ends = np.array([exponent.low, exponent.high], dtype=float)
        low, high = exponent.value + (ends - exponent.value) / factor
        yield bool(ends[0] <= truth <= ends[1]), bool(low <= truth <= high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=40)
    parser.add_argument("--resamples", type=int, default=300)
    chosen = parser.parse_args()
    for cells in (8, 12, 17):
        for estimator in ESTIMATORS:
            hits = [
                hit
                for noise, scatter in NOISE
                for seed in range(chosen.sets)
                for hit in covered(planted(cells, noise, scatter, seed), estimator, chosen.resamples)
            ]
            intervals, plain = np.mean(hits, axis=0)
            print(f"{cells:2d} cells, {estimator:13s}: {intervals:.3f} (plain percentiles {plain:.3f})", flush=True)


if __name__ == "__main__":
    main()
