"""What a forecast may leave out and share while it is learnt: unlikely scales, and nothing of later runs."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sweeplaw import analysis
from sweeplaw.analysis.fitting.noise.smooth import kernel
from sweeplaw.analysis.forecasting.budgets import budgets_of, next_budgets
from sweeplaw.analysis.forecasting.calibration import LearntProcesses, calibrated
from sweeplaw.analysis.forecasting.process.learning import _parts, _relinearise, _Rows, learn
from sweeplaw.analysis.forecasting.process.process import RunPoints
from sweeplaw.analysis.forecasting.process.settings import LENGTHS, START, combined, offset_block, smooth_block
from sweeplaw.analysis.forecasting.rollouts import forecast_bands, rollouts
from sweeplaw.analysis.laws.catalog import LAWS
from tests.analysis.forecasting.test_process import isoflop

LEVELS = (0.025, 0.25, 0.5, 0.75, 0.975)


@pytest.mark.heavy
def test_the_scales_left_out_hardly_move_the_bands() -> None:
    points, losses = isoflop(seed=2)
    wave = np.exp(0.004 * np.sin(points.logs[:, 0] * 0.8))
    process = learn(LAWS["skaling"], points, losses * wave)
    rows = _Rows(process.design, points, np.log(losses * wave))
    every = combined(smooth_block(START), offset_block(START, *process.design.offsets))
    whole = replace(process, parts=tuple(_parts(rows, every)))
    ahead = RunPoints({"N": np.array([2e9, 2e10]), "D": np.array([4e10, 4e11])}, 6 * np.array([8e19, 8e21]))
    some, all_of_them = (one.quantiles(ahead, LEVELS, noise=True) for one in (process, whole))
    width = all_of_them[-1] - all_of_them[0]
    assert np.abs((some - all_of_them) / width).max() < 0.01


@pytest.mark.heavy
def test_what_a_forecast_remembers_of_a_table_knows_nothing_of_its_later_runs() -> None:
    points, losses = isoflop(seed=4)
    cut = list(next_budgets(budgets_of(points.compute)))[-1]
    known, ahead = points.take(cut.known), points.take(cut.ahead)
    other = np.where(cut.ahead, 1.3 * losses, losses)
    found = []
    for one in (losses, other):
        whole = analysis.forecaster({**points.inputs, "loss": one})
        rollouts(whole)
        found.append(calibrated(known, one[cut.known], whole.memory).quantiles(ahead, LEVELS, noise=True))
    np.testing.assert_array_equal(found[0], found[1])
    fresh = calibrated(known, losses[cut.known], LearntProcesses(LAWS["skaling"])).quantiles(ahead, LEVELS, noise=True)
    assert np.abs(found[0] - fresh).max() < 0.02 * np.ptp(fresh, axis=0).min()


@pytest.mark.heavy
def test_a_rollout_forecasts_runs_with_their_noise_as_a_forecast_of_the_earlier_runs_does() -> None:
    points, losses = isoflop(noise=0.02)
    cut = list(next_budgets(budgets_of(points.compute)))[-1]
    known, ahead = points.take(cut.known), points.take(cut.ahead)
    found = forecast_bands(known, losses[cut.known], ahead, LearntProcesses(LAWS["skaling"]))
    earlier = analysis.forecaster({**known.inputs, "loss": losses[cut.known]})
    expected = earlier.predict(dict(ahead.inputs), 0.95, "run")
    low, high = found.ends[0.95]
    np.testing.assert_allclose([low, high], [expected.low, expected.high], rtol=1e-3)
    assert (high - low > 2 * 0.02 * losses[cut.ahead]).all()


@pytest.mark.parametrize(("square", "low", "high"), [(0.25, 1, 1), (1, 1, 1), (9, 2, 3)])
def test_bands_are_widened_towards_the_errors_of_backtests_and_never_narrowed(
    square: float, low: float, high: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three budgets that can be forecast count for two rows each, beside eight of the process's own scale."""
    points, losses = isoflop()
    memory = LearntProcesses(LAWS["skaling"])
    widened = SimpleNamespace(inflated=lambda factor: factor)
    monkeypatch.setattr(memory, "learn", lambda *runs: widened)
    monkeypatch.setattr(memory, "square", lambda *cut: square)
    factor: Any = calibrated(points, losses, memory)
    assert low <= factor <= high
    if square > 1:
        assert factor == pytest.approx(((8 + 6 * square) / 14) ** 0.5)


@pytest.mark.heavy
def test_the_law_is_made_linear_where_it_is_likeliest_with_the_other_parts_integrated_out() -> None:
    points, losses = isoflop(seed=2)
    target = np.log(losses) + 0.004 * np.sin(points.logs[:, 0] * 0.8)
    process = learn(LAWS["skaling"], points, np.exp(target))
    design, fit = process.design, process.design.fit
    assert np.abs(design.theta - fit.theta).max() > 1e-3, "the robust fit of the law alone is another point"
    rows = _Rows(design, points, target)
    bound = fit.mean.bind(points.inputs)
    scales = design.scales(START)[0][-fit.theta.size :]
    smooth = rows.law.scale[:, None] * kernel(points.logs, points.logs, LENGTHS[0]) * rows.law.scale
    covariance = np.diag(1 / rows.weights(0)) + START.scales[0, 0] ** 2 * smooth

    def objective(theta: np.ndarray) -> float:
        residual = target - bound.value(theta)
        prior = np.sum(((theta - fit.mean.prior) / scales) ** 2)
        return float(residual @ np.linalg.solve(covariance, residual) + prior)

    found = _relinearise(rows, START)
    least = objective(found)
    assert least <= objective(design.theta) + 1e-9
    for step in np.eye(found.size) * 0.02:
        for there in (found + step, found - step):
            inside = (fit.mean.low <= there) & (there <= fit.mean.high)
            assert not inside.all() or objective(there) > least * (1 - 1e-6)
