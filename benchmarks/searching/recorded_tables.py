"""Recorded tables of finished sweeps as search spaces, and the replay of a search on them.

A run is looked up in the table, so a search of weeks takes seconds. Regret of a choice is its recorded loss over the
recorded minimum of its cell, minus 1; cost is FLOPs as a share of the whole grid's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweeplaw.analysis.guidance.guide import Guide, Options
from sweeplaw.analysis.guidance.space import CandidateSpace, NumericKnob

STEP_LAW = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "step_law_dense.csv"
THINNED = {"T1": (24, 96, 192, 352, 736), "T2": (16, 64, 256, 1024), "T3": (32, 128, 512, 2048)}  # batch sizes

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """A space with the loss of every point, and the loss by which choices are judged (without noise where known)."""

    space: CandidateSpace
    loss: Array
    judged_by: Array


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """Answers at one share of the grid's FLOPs: relative regret (cells,) of both, and the number of runs."""

    share: float
    recorded: Array
    denoised: Array
    runs: int


def step_law(batches: Sequence[int] | None = None, path: Path = STEP_LAW) -> Recorded:
    """Return the 1,911 dense runs of Step Law, or those with these batch sizes."""
    frame = pl.read_csv(path).sort("N", "D", "lr", "bs")
    rows = frame if batches is None else frame.filter(pl.col("bs").is_in(list(batches)))
    cells = rows.select("N", "D").unique(maintain_order=True)
    cell = rows.join(cells.with_row_index("cell"), on=["N", "D"], maintain_order="left")["cell"].to_numpy()
    size = cells.cast(pl.Float64).to_numpy()
    settings = rows.select("lr", "bs").cast(pl.Float64).to_numpy()
    space = CandidateSpace.of(
        [NumericKnob("lr"), NumericKnob("bs")], ["N", "D"], size, cell, settings, 6 * size[cell].prod(axis=1)
    )
    loss = rows["smooth loss"].to_numpy()
    return Recorded(space, loss, loss)


def replay(table: Recorded, shares: Sequence[float], seed: int, options: Options | None = None) -> list[Reading]:
    """Return the answers of a law-guided search at each share of the grid's FLOPs, in increasing order."""
    space, guide = table.space, Guide(table.space, seed, options)
    total = float(space.cost.sum())
    readings = []
    for share in shares:
        while proposals := guide.propose(1, share * total - guide.records.spent):
            guide.observe([proposals[0].index], [float(table.loss[proposals[0].index])])
        answers = guide.recommend()
        regret = regrets(table)
        readings.append(
            Reading(
                share,
                regret(np.array([a.recorded for a in answers])),
                regret(np.array([a.denoised for a in answers])),
                len(guide.records),
            )
        )
    return readings


def regrets(table: Recorded) -> Callable[[NDArray[np.int64]], Array]:
    """Return the function from a choice for each cell (point indices) to its relative regret."""
    least = np.full(len(table.space.cells), np.inf)
    np.minimum.at(least, table.space.cell, table.judged_by)
    return lambda points: np.asarray(table.judged_by[points] / least - 1)
