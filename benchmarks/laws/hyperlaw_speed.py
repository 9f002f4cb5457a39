"""Speed of the hyperparameter laws beside the usual tools, in the same process and on the same rows.

Pooled fit: 1000 row resamples of the pooled least squares of two knobs, as array operations, against a process pool
that fits scikit-learn's LinearRegression once a resample and knob (Step Law's way). Joint surface: 1000 cell resamples.
Importance: the exact decomposition of a full grid of 4.6 million rows, with the peak memory of its own process.

    python benchmarks/laws/hyperlaw_speed.py --table step_law_dense.csv
    python benchmarks/laws/hyperlaw_speed.py                              # a planted table of the same size
    python benchmarks/laws/hyperlaw_speed.py --small                      # a few seconds, to see that it runs
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import polars as pl
from sklearn.linear_model import LinearRegression

from sweeplaw.analysis.hyperlaws.features import features
from sweeplaw.analysis.hyperlaws.joint import joint
from sweeplaw.analysis.hyperlaws.pooled import Pooled, resampled_cells
from sweeplaw.analysis.tuning.cells import cell_table
from sweeplaw.analysis.tuning.importance import importance

RESAMPLES = 1000
THRESHOLD = 0.0025
BIG_SHAPE = (23, 20, 25, 20, 20)  # 4.6 million grid points
SMALL_SHAPE = (5, 4, 3, 3, 2)


def planted() -> pl.DataFrame:
    """Return 17 cells of 12 x 10 runs about a law, of the size of the released table."""
    rng = np.random.default_rng(0)
    rows = []
    for n, d in [(n, d) for n in (2e8, 3e8, 4e8, 5e8, 1e9) for d in (4e9, 2e10, 5e10, 1e11)][:17]:
        for lr in 2.0 ** np.arange(-12, -6, 0.5):
            for batch in 2.0 ** np.arange(16, 22, 0.6):
                a, b = np.log(lr / (1.79 * n**-0.713 * d**0.307)), np.log(batch / (0.58 * d**0.571))
                rise = 0.005 * a * a + 0.005 * b * b - 0.005 * a * b + 0.0008 * rng.standard_normal()
                rows.append((n, d, lr, batch, 2.5 * np.exp(rise)))
    return pl.DataFrame(rows, schema=["N", "D", "lr", "batch_tokens", "loss"], orient="row")


def fit_both(arrays: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Fit one resample as the peer does."""
    design, lr, batch = arrays
    return LinearRegression().fit(design, lr).coef_, LinearRegression().fit(design[:, 1:], batch).coef_


def pooled(table: pl.DataFrame, resamples: int) -> None:
    """Time ours and the pool of LinearRegression in turns; print the ratio of medians."""
    cells = cell_table(table, ("N", "D"), ("lr", "batch_tokens"), "loss")
    ours = Pooled(cells, features(cells), THRESHOLD)
    rows = np.flatnonzero(ours.used)
    design, x = cells.log_axes[cells.cell[rows]], cells.x[rows]
    rng = np.random.default_rng(0)
    own, peer = [], []
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(fit_both, [(design, x[:, 0], x[:, 1])] * workers))  # workers are up before the clock starts
        for _ in range(5):
            start = time.perf_counter()
            ours.row_resamples(resamples)
            own.append(time.perf_counter() - start)
            start = time.perf_counter()
            picks = [rng.integers(0, len(rows), len(rows)) for _ in range(resamples)]
            futures = [pool.submit(fit_both, (design[pick], x[pick, 0], x[pick, 1])) for pick in picks]
            for future in futures:
                future.result()
            peer.append(time.perf_counter() - start)
    ratio = float(np.median(peer) / np.median(own))
    print(
        f"pooled, {resamples} resamples of {len(rows)} rows: ours {np.median(own) * 1e3:.1f} ms, process pool of "
        f"LinearRegression ({workers} workers) {np.median(peer):.2f} s: {ratio:.0f}x"
    )


def surface(table: pl.DataFrame, resamples: int) -> None:
    """Print wall and CPU seconds of cell resamples of the joint surface, for both forms of the batch law."""
    cells = cell_table(table, ("N", "D"), ("lr", "batch_tokens"), "loss")
    weights = resampled_cells(cells.recipe, resamples, 0)
    for axes in (("D",), ("N", "D")):
        estimator = joint(cells, features(cells, {"batch_tokens": axes}))
        wall, cpu = time.perf_counter(), time.process_time()
        estimator.coefficients(weights)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(f"joint, {resamples} cell resamples, batch on {' and '.join(axes)}: {wall:.2f} s wall, {cpu:.2f} s CPU")


def grid(shape: tuple[int, ...]) -> None:
    """Print seconds and peak memory of the importance of five knobs on a full grid of this shape."""
    levels = [*(2.0 ** np.arange(count) for count in shape[:2]), *(np.arange(1.0, count + 1) for count in shape[2:])]
    columns = [axis.ravel() for axis in np.meshgrid(*levels, indexing="ij")]
    names = ("lr", "batch_tokens", "weight_decay", "epochs", "warmup")
    frame = pl.DataFrame(dict(zip(names, columns, strict=True)))
    frame = frame.with_columns(
        val_loss=2 + 0.01 * pl.col("lr").log() ** 2 + 0.001 * pl.col("epochs") * pl.col("warmup")
    )
    start = time.perf_counter()
    (found,), _ = importance(frame, names)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"importance, {frame.height} rows, {len(names)} knobs: {seconds:.2f} s, peak {peak:.2f} GiB; {found.ranking}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", help="CSV with N, D, lr, bs (sequences of 2048) and smooth loss")
    parser.add_argument("--small", action="store_true", help="20 resamples and a grid of 360 rows")
    chosen = parser.parse_args()
    rows = planted()
    if chosen.table:
        rows = pl.read_csv(chosen.table).with_columns(batch_tokens=pl.col("bs") * 2048, loss=pl.col("smooth loss"))
    resamples = 20 if chosen.small else RESAMPLES
    grid(SMALL_SHAPE if chosen.small else BIG_SHAPE)
    pooled(rows, resamples)
    surface(rows, resamples)


if __name__ == "__main__":
    main()
