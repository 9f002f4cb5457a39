"""Intervals cover the truth at their nominal rate, and report parameters that the data do not identify."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sweeplaw import analysis
from sweeplaw.analysis.fitting import uncertainty
from sweeplaw.analysis.fitting.coverage import coverage
from sweeplaw.analysis.fitting.profiles import FEW_POINTS, MANY_ROWS, profile
from sweeplaw.analysis.fitting.resampling import By, Resampling, cell_numbers, resampler
from sweeplaw.analysis.fitting.solver.objectives import Objective
from sweeplaw.analysis.laws.catalog import LAWS

X = np.geomspace(1, 1000, 40)
LAW = {"C": 1.7, "A": 2.0, "alpha": 0.45}


def noisy(seed: int = 0, noise: float = 0.01) -> dict[str, np.ndarray]:
    return {
        "x": X,
        "loss": LAWS["power_asymptote"].predict(LAW, {"x": X}) + noise * np.random.default_rng(seed).normal(size=40),
    }


@pytest.mark.heavy
@pytest.mark.parametrize("noise", ["gaussian", "t3"])
@pytest.mark.parametrize("objective", [Objective("ls", None, "raw"), Objective(space="raw")], ids=Objective.describe)
def test_95_per_cent_profile_intervals_cover_the_truth_95_per_cent_of_the_time(objective, noise) -> None:
    found = coverage(LAWS["power_asymptote"], LAW, {"x": X}, objective, scale=0.01, noise=noise, sets=1000, by="row")
    assert found.converged == 1000
    for share in found.shares.values():
        assert 0.925 <= share <= 0.975  # the nominal 93-97 % and the simulation's own error of 0.7 %


@pytest.mark.heavy
@pytest.mark.parametrize("copies", [1, 2000], ids=["40 rows", "80,000 rows"])
def test_the_profile_interval_of_a_linear_law_is_the_textbook_interval(copies) -> None:
    from scipy.stats import t as student

    x = np.tile(X, copies)
    assert (len(x) > MANY_ROWS) == (copies > 1)
    rows = {"x": x, "loss": 3.3 + 0.25 / x + 0.01 * np.random.default_rng(3).normal(size=len(x))}
    fit = analysis.fit(rows, "reciprocal", "ls", space="raw", all_rows=True)
    design = np.stack([np.ones(len(x)), 1 / x], axis=1)
    estimate, squares, _, _ = np.linalg.lstsq(design, rows["loss"], rcond=None)
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * squares[0] / (len(x) - 2))
    width = student.ppf(0.975, len(x) - 2) * errors
    for index, name in enumerate(("C", "A")):
        interval = fit.intervals[name]
        assert (interval.low, interval.high) == pytest.approx(
            (estimate[index] - width[index], estimate[index] + width[index]), rel=1e-5
        )


@pytest.mark.heavy
def test_every_resample_of_a_bootstrap_is_at_its_own_optimum() -> None:
    fit = analysis.fit(noisy(), "power_asymptote", bootstrap=300)
    assert fit.draws is not None
    assert fit.draws.converged.all()
    draw, _ = resampler(fit.observations, Resampling(), 3)
    weights = draw(300)
    for number in range(0, 300, 60):
        rows = np.repeat(np.arange(40), weights[number].astype(int))
        alone = analysis.fit({"x": X[rows], "loss": fit.observations.losses[rows]}, "power_asymptote")
        assert fit.draws.values[number] == pytest.approx(alone.value, rel=1e-9)


@pytest.mark.heavy
def test_resamples_of_many_rows_are_at_their_own_optima_too() -> None:
    """They start at the optimum of all rows, on its own threshold; a fit of the resampled rows starts anywhere."""
    x = np.tile(X, 60)
    losses = LAWS["power_asymptote"].predict(LAW, {"x": x}) + 0.01 * np.random.default_rng(5).standard_t(3, len(x))
    fit = analysis.fit({"x": x, "loss": losses}, "power_asymptote", bootstrap=60, by="row", all_rows=True)
    assert fit.draws is not None
    assert len(x) > uncertainty.MANY_ROWS
    assert fit.draws.converged.all()
    draw, _ = resampler(fit.observations, Resampling(), 3)
    weights = draw(60)
    assert (weights.sum(axis=1) == len(x)).all()
    assert weights.var(axis=1).mean() == pytest.approx(1 - 1 / len(x), rel=0.02)  # of a multinomial
    errors = fit.draws.standard_errors
    for number in (0, 30, 59):
        rows = np.repeat(np.arange(len(x)), weights[number].astype(int))
        alone = analysis.fit({"x": x[rows], "loss": losses[rows]}, "power_asymptote", all_rows=True)
        assert (np.abs(fit.draws.params[number] - alone.theta) < 1e-3 * errors).all()


@pytest.mark.heavy
def test_the_same_seed_gives_the_same_draws() -> None:
    first, second, other = (analysis.fit(noisy(), "power_asymptote", bootstrap=50, seed=seed) for seed in (1, 1, 2))
    assert first.draws is not None and second.draws is not None and other.draws is not None  # noqa: PT018
    assert np.array_equal(first.draws.params, second.draws.params)
    assert not np.array_equal(first.draws.params, other.draws.params)


def test_cells_are_drawn_whole_and_seeds_within_their_cell() -> None:
    rows = {"x": np.repeat(X[:10], 4), "loss": np.repeat(noisy()["loss"][:10], 4) + 1e-3 * np.arange(40) % 3}
    fit = analysis.fit(rows, "power_asymptote")
    cells = cell_numbers(fit.observations, ())
    ways: tuple[By, By] = ("cell", "seed")
    (draw_cells, units), (draw_seeds, _) = (resampler(fit.observations, Resampling(by=by), 3) for by in ways)
    whole, inside = draw_cells(20), draw_seeds(20)
    assert units == 10
    for cell in range(10):
        assert (whole[:, cells == cell] == whole[:, cells == cell][:, :1]).all()
        assert (inside[:, cells == cell].sum(axis=1) == 4).all()


def test_a_band_contains_the_fit_and_is_wider_beyond_the_data() -> None:
    fit = analysis.fit(noisy(), "power_asymptote", bootstrap=300)
    low, high = fit.band(np.array([30.0, 1e6]))
    assert (low <= fit.predict([30.0, 1e6])).all()
    assert (fit.predict([30.0, 1e6]) <= high).all()
    assert high[1] - low[1] > 1.5 * (high[0] - low[0])


@pytest.mark.parametrize("step", [1, 2], ids=["40 rows", "20 rows"])
@pytest.mark.heavy
def test_the_band_of_a_run_contains_new_runs_at_its_nominal_rate(step) -> None:
    shares = []
    for seed in range(12):
        rows = {name: column[::step] for name, column in noisy(seed).items()}
        fit = analysis.fit(rows, "power_asymptote", "ls", bootstrap=300, by="row")
        low, high = fit.band(X, of="run")
        new = np.stack([noisy(other)["loss"] for other in range(100, 150)])
        shares.append(np.mean((low <= new) & (new <= high)))
    assert 0.93 <= np.mean(shares) <= 0.97  # over 40 tables of 50 runs: .958 at 40 rows, .950 at 20


@pytest.mark.heavy
def test_a_profile_of_a_thousand_points_has_its_minimum_at_the_estimate() -> None:
    fit = analysis.fit(noisy(), "power_asymptote", "ls")
    found = profile(fit.setup, fit.solution, "alpha", points=1000)
    assert len(found.values) == 1000
    assert found.values[np.argmin(found.deviance)] == pytest.approx(fit.params["alpha"], rel=1e-3)
    assert (np.diff(found.deviance[found.values > found.estimate]) > -1e-6).all()


@pytest.mark.heavy
def test_few_points_on_a_profile_of_many_rows_give_the_same_interval_as_many_points() -> None:
    x = np.tile(X, 2000)
    losses = LAWS["power_asymptote"].predict(LAW, {"x": x}) + 0.05 * np.random.default_rng(4).standard_t(3, len(x))
    fit = analysis.fit({"x": x, "loss": losses}, "power_asymptote")
    few, many = (profile(fit.setup, fit.solution, "alpha", points=points) for points in (None, 41))
    assert (len(few.values), len(many.values)) == (FEW_POINTS, 41)
    width = many.interval.high - many.interval.low
    assert abs(few.interval.low - many.interval.low) < 2e-3 * width
    assert abs(few.interval.high - many.interval.high) < 2e-3 * width
    assert many.interval.low < LAW["alpha"] < many.interval.high


@pytest.mark.heavy
def test_resamples_drawn_in_several_batches_equal_those_drawn_in_one(monkeypatch) -> None:
    reported: list[tuple[int, int]] = []
    once = analysis.fit(noisy(), "power_asymptote", bootstrap=50)
    monkeypatch.setattr(uncertainty, "BATCH_ELEMENTS", 40 * 7)
    few = analysis.fit(noisy(), "power_asymptote", bootstrap=50, watch=lambda *done: reported.append(done))
    assert once.draws is not None and few.draws is not None  # noqa: PT018
    assert few.draws.params == pytest.approx(once.draws.params, rel=1e-9)
    assert few.draws.converged.shape == few.draws.values.shape == (50,)
    assert reported == [(done, 50) for done in (7, 14, 21, 28, 35, 42, 49, 50)]


def test_the_standard_error_of_a_parameter_that_overflows_is_infinite_without_a_warning() -> None:
    params = np.array([[1.0, 2.0], [1.0, 1e200], [4.0, 3.0]])  # filterwarnings = error
    draws = uncertainty.Draws(("a", "b"), params, np.ones(3), np.ones(3, dtype=bool), "row", 3, 0)
    assert draws.standard_errors == pytest.approx([np.sqrt(2), math.inf])


@pytest.mark.heavy
def test_a_parameter_that_the_rows_do_not_determine_is_reported_as_not_identified() -> None:
    x = np.array(
        [1.0, 1.0, 1.0, 1000.0, 1000.0, 2000.0, 2000.0, 2000.0]
    )  # flat from 1000 on: the steepness of the fall is unknown
    losses = np.where(x > 1, 1.7, 3.7) + 0.01 * np.random.default_rng(1).normal(size=8)
    fit = analysis.fit({"x": x, "loss": losses}, "power_asymptote", "ls")
    assert not fit.profiles["alpha"].identified
    assert math.isinf(fit.intervals["alpha"].high)
    assert fit.profiles["alpha"].verdict.startswith("alpha is not identified: it is at least ")
    assert fit.profiles["alpha"].verdict.endswith(" fits as well")


@pytest.mark.heavy
def test_a_coefficient_of_a_formula_is_identified_whatever_its_size() -> None:
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(3e6, 1e9, 6), np.geomspace(1e8, 1e10, 5)))
    losses = (1.7 + 400 / n**0.34 + 1530 / d**0.36) * np.exp(0.001 * np.random.default_rng(0).normal(size=30))
    rows, x = {"N": n, "D": d, "loss": losses}, {"N": "N", "D": "D"}
    options = {"fixed": {"E": 1.7}, "space": "log", "all_rows": True}
    own = analysis.fit(rows, "E + A / N**a + B / D**b", "ls", x=x, units={"N": 1e6}, **options)  # type: ignore[arg-type]
    known = analysis.fit(rows, "additive", "ls", **options)  # type: ignore[arg-type]
    ours, theirs = own.profiles["B"].interval, known.profiles["B"].interval
    assert own.profiles["B"].identified
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-3)


@pytest.mark.heavy
@pytest.mark.parametrize("objective", ["huber:0.001", "ls", "lad"])
@pytest.mark.parametrize("name", ["power", "power_asymptote", "reciprocal", "additive", "kaplan"])
def test_losses_without_noise_identify_every_parameter_to_the_last_digits(name, objective) -> None:
    size, tokens = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e7, 3e9, 6), np.geomspace(1e9, 1e11, 7)))
    truth = {"A": 3.0, "alpha": 0.3, "C": 1.7, "E": 1.69, "B": 410.7, "beta": 0.28,
             "Nc": 8.8e13, "Dc": 5.4e13, "aN": 0.076, "aD": 0.095}  # fmt: skip
    law, rows = LAWS[name], {"x": X, "N": size, "D": tokens}
    own, inputs = {key: truth[key] for key in law.names}, {key: rows[key] for key in law.inputs}
    fit = analysis.fit({**inputs, "loss": law.predict(own, inputs)}, law, objective, y="loss")
    for key, item in fit.profiles.items():
        assert item.identified, item.verdict
        assert item.interval.low == pytest.approx(own[key], rel=1e-6)
        assert item.interval.high == pytest.approx(own[key], rel=1e-6)
