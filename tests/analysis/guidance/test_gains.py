"""Gains agree with simulation of what a run would tell."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from sweeplaw.analysis.guidance.gains import expected_fall, gains, lowest_rows
from tests.analysis.guidance.planted import planted
from tests.analysis.guidance.test_surface import belief_of


@pytest.mark.parametrize(("distance", "sd"), [(0.5, 1.0), (-1.0, 0.3), (0.0, 2.0)])
def test_expected_fall_is_the_integral(distance: float, sd: float) -> None:
    value, _ = integrate.quad(lambda v: v * stats.norm.pdf(v, distance, sd), 0, distance + 12 * sd)
    assert float(expected_fall(np.array(distance), np.array(sd))) == pytest.approx(value, rel=1e-6)


def test_knowledge_is_how_far_simulated_records_lower_the_expected_minimum_of_every_cell() -> None:
    truth = planted(2, 2, noise=0.0005, seed=5)
    belief, index, y = belief_of(truth, 25)
    best = np.full(len(truth.space.cells), np.inf)
    np.minimum.at(best, truth.space.cell[index], y)
    run = np.isin(belief.active, index)
    found = gains(belief, ~run, run, best)
    place = int(np.argmax(found.knowledge.sum(axis=1)))
    row = found.rows[place]
    column = belief.covariance[row, : len(belief.mu)]
    sd = np.sqrt(belief.variance[row] + belief.spread[row] ** 2)
    draws = np.random.default_rng(0).standard_normal(20_000)
    for cell, rows in enumerate(lowest_rows(belief, 20)):
        after = belief.mu[rows] + draws[:, None] * column[rows] / sd
        fall = belief.mu[rows].min() - after.min(axis=1)
        error = fall.std() / np.sqrt(len(draws))
        assert (
            abs(found.knowledge[place, cell] - fall.mean()) < 4 * error + 0.15 * abs(fall.mean()) + 1e-9
        )  # the quadrature has seven nodes


def test_a_run_improves_a_record_by_what_simulated_runs_do() -> None:
    truth = planted(2, 2, noise=0.0005, seed=6)
    belief, index, y = belief_of(truth, 60)
    best = np.full(len(truth.space.cells), np.inf)
    np.minimum.at(best, truth.space.cell[index], y)
    run = np.isin(belief.active, index)
    found = gains(belief, ~run, run, best)
    place = int(np.argmax(found.improvement))
    row = found.rows[place]
    cell = truth.space.cell[belief.active[row]]
    unseen = belief.mu[~run & (truth.space.cell[belief.active] == cell)].min()
    rng = np.random.default_rng(1)
    records = belief.mu[row] + np.hypot(np.sqrt(belief.variance[row]), belief.spread[row]) * rng.standard_normal(
        200_000
    )
    fall = np.maximum(0.0, min(best[cell], unseen) - records)
    assert found.improvement[place] == pytest.approx(fall.mean(), abs=5 * fall.std() / np.sqrt(len(fall)))


def test_in_a_cell_without_a_record_a_run_improves_on_one_of_the_point_expected_lowest() -> None:
    """By simulated pairs of runs; of the point expected lowest itself, another run differs by its noise only."""
    belief, _, _ = belief_of(planted(2, 2, noise=0.0005, seed=6), 60)
    count = len(belief.mu)
    none, cells = np.zeros(count, dtype=bool), belief.space.cell[belief.active]
    found = gains(belief, ~none, none, np.full(len(belief.space.cells), np.inf))
    rng = np.random.default_rng(2)
    leads = {int(rows[0]) for rows in lowest_rows(belief, 1)}
    assert leads & set(found.rows.tolist())
    for place, row in enumerate(found.rows[:40]):
        (lead,) = lowest_rows(belief, 1)[cells[row]]
        both = rng.multivariate_normal(
            belief.mu[[lead, row]], belief.covariance[np.ix_([lead, row], [lead, row])], 20_000
        )
        first, second = (both + rng.standard_normal(both.shape) * belief.spread[[lead, row]]).T
        expected = np.maximum(0.0, first - second)
        if row == lead:
            expected = np.maximum(0.0, belief.spread[row] * rng.standard_normal(len(both)))
        tolerance = 5 * expected.std() / np.sqrt(len(expected)) + 1e-9
        assert found.improvement[place] == pytest.approx(expected.mean(), abs=tolerance)
