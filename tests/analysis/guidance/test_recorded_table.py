"""On the recorded runs of Step Law the guide reaches the optima of all cells for a small share of the grid's FLOPs."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from sweeplaw.analysis.guidance.guide import Guide
from sweeplaw.analysis.guidance.space import CandidateSpace, NumericKnob
from tests.paths import SHARED

TABLE = SHARED / "step_law_dense.csv"


@pytest.mark.heavy
@pytest.mark.skipif(not TABLE.is_file(), reason="the Step Law table is not beside this checkout")
@pytest.mark.parametrize("batches", [(16, 64, 256, 1024), (32, 128, 512, 2048)])
def test_regret_on_a_thinned_table_for_a_twentieth_of_its_cost(batches: tuple[int, ...]) -> None:
    rows = pl.read_csv(TABLE).filter(pl.col("bs").is_in(list(batches))).sort("N", "D", "lr", "bs")
    sizes, cell = np.unique(rows.select("N", "D").to_numpy().astype(float), axis=0, return_inverse=True)
    cell, loss = cell.reshape(-1), rows["smooth loss"].to_numpy()
    settings = rows.select("lr", "bs").to_numpy().astype(float)
    space = CandidateSpace.of(
        [NumericKnob("lr"), NumericKnob("bs")], ["N", "D"], sizes, cell, settings, 6 * sizes[cell].prod(axis=1)
    )
    regrets = []
    for seed in range(3):
        guide, budget = Guide(space, seed), 0.05 * float(space.cost.sum())
        while found := guide.propose(1, budget - guide.records.spent):
            guide.observe([found[0].index], [float(loss[found[0].index])])
        assert guide.records.spent <= budget
        regrets.append([loss[a.recorded] / loss[cell == a.cell].min() - 1 for a in guide.recommend()])
    assert np.mean(regrets) < 0.0004  # random search with as many runs a cell: .6 %
    assert np.mean(regrets, axis=0).max() < 0.003
