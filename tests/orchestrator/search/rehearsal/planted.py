"""Recorded tables with a planted law, for the tests of rehearsals."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl

from sweeplaw.orchestrator.search.rehearsal.recorded_space import RecordedSpace, recorded_space
from sweeplaw.trials.workloads.replay.recorded import RecordedColumns, RecordedTable

SIZES = [2.0**power for power in (20, 22, 24)]
TOKENS = [2.0**power for power in (26, 28)]
LR = [2.0**power for power in range(-11, -2)]
BATCH = [2**power for power in range(3, 11)]
LR_POWERS, BATCH_POWERS = {"N": -0.5, "D": 0.5}, {"N": 0.0, "D": 0.5}  # of the best lr and batch


def planted(noise: float = 0.0, repeats: int = 1, seed: int = 0) -> pl.DataFrame:
    """Return a grid of runs whose best lr is 2^-7 (N/2^22)^-1/2 (D/2^27)^1/2 and whose best batch 2^6 (D/2^27)^1/2."""
    rng, rows = np.random.default_rng(seed), []
    for n, d, lr, batch in itertools.product(SIZES, TOKENS, LR, BATCH):
        u = np.log2(lr) + 7 + 0.5 * np.log2(n / 2**22) - 0.5 * np.log2(d / 2**27)
        v = np.log2(batch) - 6 - 0.5 * np.log2(d / 2**27)
        for _ in range(repeats):
            loss = (2.0 + 100 / n**0.3 + 100 / d**0.3) * (1 + 0.004 * u**2 + 0.003 * v**2)
            rows.append((n, d, lr, batch, loss * np.exp(noise * rng.standard_normal())))
    return pl.DataFrame(rows, schema=["N", "D", "lr", "batch", "loss"], orient="row")


def space_of(runs: pl.DataFrame, curve: str | None = None, **more: str) -> RecordedSpace:
    """Return the runs of such a table as a space."""
    names = ("N", "D", "lr", "batch")
    meaning = RecordedColumns({name: name for name in names}, "loss", curve=curve, **more)
    return recorded_space(RecordedTable.of(runs, meaning), names[:2], names[2:])
