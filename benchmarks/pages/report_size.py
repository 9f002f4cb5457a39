"""Reports of many trials: seconds, memory and the size of the page, beside a page by matplotlib of the same figures.

    python benchmarks/pages/report_size.py [--trials 96 2000 100000 1000000]

Each report is written by a process of its own from a Parquet file: runs of a known law at up to 40 points of N and D,
tuned over a grid of learning rate and batch. The peer draws the report's figures for papers as SVG, which earlier
pages held.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import polars as pl


def table(trials: int) -> pl.DataFrame:
    """Return runs of a known law: three seeds or more of each setting, at as many points as ``trials`` allow."""
    random = np.random.default_rng(0)
    cells = min(40, max(6, trials // 16))
    sizes = max(3, round(cells**0.5))
    n = np.geomspace(1e7, 1e10, sizes)[np.arange(cells) % sizes]
    d = np.geomspace(1e9, 1e12, -(-cells // sizes))[np.arange(cells) // sizes]
    row = np.arange(trials)
    cell, setting = row % cells, row // cells
    lr_step, batch_step = setting % 5 - 2, (setting // 5) % 4 - 1.5
    law = 1.7 + 406 / n**0.34 + 411 / d**0.28
    excess = 0.02 * (lr_step - 0.2) ** 2 + 0.01 * (batch_step - 0.3) ** 2
    loss = law[cell] * np.exp(excess + 0.002 * random.standard_normal(trials))
    return pl.DataFrame({
        "params": n[cell].round(), "tokens": d[cell].round(), "lr": 1e-3 * 2.0**lr_step, "batch": 256 * 2.0**batch_step,
        "seed": setting // 20, "val_loss": loss,
    })  # fmt: skip


def one(source: str, folder: str, peer: bool) -> None:
    """Write the report of a table, or draw the peer's figures, and print seconds and the peak of memory in MB."""
    from sweeplaw.analysis.report.page import page, write
    from sweeplaw.analysis.report.paper.figures import svg
    from sweeplaw.analysis.report.paper.named import named_figures
    from sweeplaw.analysis.report.report import make, report_values
    from sweeplaw.analysis.tables.display import finite

    started = time.process_time()
    made = make(source, x={"N": "params", "D": "tokens"})
    laws = time.process_time() - started
    started = time.process_time()
    if peer:
        size = sum(len(svg(draw())) for draw in named_figures(made).values())
    else:
        values = finite(report_values(made))
        started = time.process_time()
        size = len(page(made, values).encode())
    drawn = time.process_time() - started
    if not peer:
        write(made, Path(folder))
    print(laws, drawn, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, size)


def main() -> None:
    """Print a row for each number of trials."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[96, 2_000, 100_000, 1_000_000])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one[0], options.one[1], options.one[2] == "peer")
        return
    print("trials     laws s   page s   peer s   ratio   memory MB   page MB")
    with tempfile.TemporaryDirectory() as folder:
        for trials in options.trials:
            source = Path(folder) / f"{trials}.parquet"
            table(trials).write_parquet(source)
            ours, peer = ([float(part) for part in run(source, folder, which)] for which in ("ours", "peer"))
            print(
                f"{trials:9,d}  {ours[0]:7.1f}  {ours[1]:7.2f}  {peer[1]:7.2f}  {peer[1] / ours[1]:6.1f}"
                f"  {ours[2]:10.0f}  {ours[3] / 1e6:8.2f}",
                flush=True,
            )


def run(source: Path, folder: str, which: str) -> list[str]:
    """Return what a process of its own prints."""
    command = [sys.executable, __file__, "--one", str(source), folder, which]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


if __name__ == "__main__":
    main()
