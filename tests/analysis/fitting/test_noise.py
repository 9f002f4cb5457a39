"""Noise that runs share, or that changes with size, is found, reported, and allowed for in every interval."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.linalg import sqrtm
from scipy.stats import t as student

from sweeplaw import analysis
from sweeplaw.analysis.fitting.coverage import Noise, coverage, simulate_losses, simulated_fits
from sweeplaw.analysis.fitting.derived.loss_interval import loss_at
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.fitting.noise.clustered import jacobian, spread
from sweeplaw.analysis.fitting.noise.misfit import AMPLITUDES, restricted_likelihood
from sweeplaw.analysis.fitting.noise.noise import MAX_ROWS, find_noise
from sweeplaw.analysis.fitting.noise.random_effects import drawer
from sweeplaw.analysis.fitting.noise.weights import inverse_variances
from sweeplaw.analysis.fitting.profiles import profile
from sweeplaw.analysis.fitting.resampling import Resampling
from sweeplaw.analysis.fitting.solver.objectives import Objective
from sweeplaw.analysis.laws.catalog import LAWS
from sweeplaw.trials.errors import InputError

Array = np.ndarray
TRUTH = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
LOG_HUBER = Objective("huber", 1e-3, "log")


def design() -> dict[str, Array]:
    """Return eight budgets with the twelve sizes of one ladder around the best of each: 96 runs of 24 sizes."""
    ladder, rows = np.geomspace(4e7, 1.6e10, 26), []
    for compute in np.geomspace(6e18, 3e21, 8):
        near = np.argsort(np.abs(np.log(ladder / (0.09 * compute**0.5))))[:12]
        rows += [(size, compute / 6 / size) for size in ladder[near]]
    size, tokens = np.array(rows).T
    return {"N": size, "D": tokens}


def fits(noise: Noise, sets: int, by: str = "auto") -> list[Fit]:
    points = design()
    truth = LAWS["additive"].predict(TRUTH, points)
    losses = simulate_losses(truth, noise, 0.008, "log", sets, 3, list(points.values()))
    return list(simulated_fits(LAWS["additive"], TRUTH, points, LOG_HUBER, losses, Resampling(by=by)))


def table(noise: Noise) -> dict[str, Array]:
    points = design()
    truth = LAWS["additive"].predict(TRUTH, points)
    return {**points, "loss": simulate_losses(truth, noise, 0.008, "log", 1, 5, list(points.values()))[0]}


def fit_of(rows: Any, **options: Any) -> Fit:
    return analysis.fit(rows, "additive", x={"N": "N", "D": "D"}, y="loss", all_rows=True, **options)


@pytest.mark.heavy
def test_noise_shared_by_runs_of_a_size_is_found_said_and_counted_in_sizes() -> None:
    fit = fit_of(table("size"))
    (shared,) = fit.noise.values()["shared_by"]
    assert (shared["name"], shared["groups"]) == ("size", 24)
    assert 0.2 < shared["correlation"] < 0.8  # planted: .5
    (sentence,) = [warning for warning in fit.warnings if "shared" in warning]
    assert sentence.startswith("residuals are shared by runs of one size (correlation 0.")
    assert "intervals count 24 sizes, not 96 independent rows" in sentence
    found = profile(fit.setup, fit.solution, "alpha", noise=fit.noise)
    assert found.interval.method == "profile likelihood, clustered by size"
    alone = profile(fit.setup, fit.solution, "alpha")
    assert found.interval.low < alone.interval.low < alone.interval.high < found.interval.high


@pytest.mark.heavy
def test_a_bootstrap_resamples_the_groups_that_share_noise() -> None:
    fit = fit_of(table("size"), bootstrap=50)
    assert fit.draws is not None
    assert (fit.draws.by, fit.draws.units) == ("size", 24)
    assert any("intervals resample 24 sizes" in warning for warning in fit.warnings)
    rows = fit_of(table("size"), bootstrap=50, by="row")
    assert rows.draws is not None
    assert (rows.draws.by, rows.draws.units) == ("row", 96)


@pytest.mark.heavy
@pytest.mark.parametrize(("noise", "least"), [("size", 0.85), ("gaussian", 0.0), ("t3", 0.0)])
def test_the_test_of_shared_noise_has_power_and_few_false_alarms(noise, least) -> None:
    found = [fit.noise for fit in fits(noise, 30)]
    by_size = np.mean([one.names == "size" for one in found])
    other = np.mean([one.names not in ("", "size") or one.growth is not None for one in found])
    assert by_size >= least
    assert by_size <= (1.0 if least else 0.1)  # nominal .01, and the simulation's own error
    assert other <= 0.12  # a test of budgets and one of constant spread, each at .01


@pytest.mark.heavy
@pytest.mark.parametrize("noise", ["growing", "falling"])
def test_noise_that_changes_with_size_is_found_with_its_direction(noise) -> None:
    found = [fit.noise for fit in fits(noise, 20)]
    ends = [one.ends for one in found if one.growth is not None]
    assert len(ends) >= 12
    ratio = np.median([large / small for small, large in ends])
    planted = 4.0 if noise == "growing" else 0.25
    assert abs(math.log(ratio / planted)) < math.log(2)
    (sentence,) = {warning.split(":")[0] for one in found if one.growth is not None for warning in one.sentences()
               if warning.startswith("the noise")}  # fmt: skip
    assert sentence == "the noise changes with size"


def growing(rng: np.random.Generator, each: int = 1) -> tuple[dict[str, Array], Array]:
    """Return runs of the additive law whose noise falls with the square root of the size, and its spread."""
    points = {name: np.repeat(column, each) for name, column in design().items()}
    spread = 0.01 * np.sqrt(points["N"].min() / points["N"])
    losses = LAWS["additive"].predict(TRUTH, points) * np.exp(spread * rng.normal(size=spread.size))
    return {**points, "loss": losses}, spread


@pytest.mark.heavy
@pytest.mark.parametrize("objective", ["ls", "huber:0.001"])
def test_rows_weighted_by_noise_that_clearly_changes_have_half_the_variance(objective) -> None:
    errors = []
    for seed in range(12):
        rows, _ = growing(np.random.default_rng(seed))
        found, alike = fit_of(rows, objective=objective, weights="noise"), fit_of(rows, objective=objective)
        assert found.noise.weighted
        assert any("the rows are weighted by it" in warning for warning in found.warnings)
        assert any("weights='noise'" in warning for warning in alike.warnings)
        assert np.ptp(alike.observations.weights) == 0
        errors.append([one.params["alpha"] - TRUTH["alpha"] for one in (found, alike)])
    squares = np.mean(np.square(errors), axis=0)
    assert squares[0] < 0.6 * squares[1]


@pytest.mark.parametrize("by", ["row", "seed", "size", "budget"])
def test_rows_are_weighted_by_their_noise_whatever_is_taken_as_drawn_together(by: str) -> None:
    rows, spread = growing(np.random.default_rng(0), each=2)
    rows["seed"] = np.tile([0, 1], len(spread) // 2)
    found = fit_of(rows, objective="ls", weights="noise", by=by)
    assert found.noise.weighted
    weights = found.observations.weights if np.ptp(found.observations.weights) else found.setup.problem.weights
    slope = np.polyfit(np.log(spread), np.log(weights), 1)[0]
    assert slope == pytest.approx(-2, abs=0.5)
    assert [groups.name for groups in found.noise.divisions] == ([by] if by in ("size", "budget") else [])
    assert not found.noise.tested or not found.noise.divisions


@pytest.mark.parametrize("by", ["auto", "row"])
def test_an_interval_of_independent_rows_is_that_of_weighted_least_squares_of_known_spread(by: str) -> None:
    sizes = np.repeat([1e6, 4e6, 16e6, 64e6], 50)
    spread = 0.1 * (1e6 / sizes) ** 0.75
    rng = np.random.default_rng(1)
    rows = {"N": sizes, "loss": 3.0 * (sizes / 1e6) ** -0.3 + spread * rng.normal(size=200)}
    found = analysis.fit(rows, "power", "ls", x="N", y="loss", space="raw", weights="noise", by=by, all_rows=True)
    slopes = np.stack([(sizes / 1e6) ** -0.3, -3.0 * (sizes / 1e6) ** -0.3 * np.log(sizes / 1e6)], axis=1)
    error = math.sqrt(np.linalg.inv(slopes.T @ (slopes / spread[:, None] ** 2))[1, 1])
    interval = found.intervals["alpha"]
    assert (interval.high - interval.low) / 2 == pytest.approx(1.96 * error, rel=0.15)


def test_the_weights_of_least_squares_are_inverse_variances_and_those_of_absolute_deviations_their_roots() -> None:
    spread = np.geomspace(1e-3, 1e-2, 9)
    np.testing.assert_allclose(inverse_variances(spread, np.inf), spread**-2)
    wide, narrow = inverse_variances(spread, 10.0), inverse_variances(spread, 1e-7)
    np.testing.assert_allclose(wide / wide[0], (spread / spread[0]) ** -2, rtol=1e-6)
    np.testing.assert_allclose(narrow / narrow[0], (spread / spread[0]) ** -1, rtol=1e-4)
    draws = 0.004 * np.random.default_rng(0).normal(size=1_000_000)  # a threshold of the order of the noise
    cut = np.clip(draws, -0.003, 0.003)
    simulated = np.mean(np.abs(draws) < 0.003) / np.mean(cut**2)
    assert inverse_variances(np.array([0.004]), 0.003)[0] == pytest.approx(simulated, rel=0.01)


@pytest.mark.heavy
def test_replicates_say_how_the_noise_changes_where_a_misfit_would_hide_it() -> None:
    rows, _ = growing(np.random.default_rng(3), each=3)
    rows["loss"] = rows["loss"] * (1 + 0.05 * np.log(rows["N"] / 8e8) ** 2 / 10)  # a misfit of several per cent
    found = fit_of(rows).noise
    assert found.growth is not None
    assert found.growth.replicates
    size = math.log(rows["N"].max() / rows["N"].min())
    assert found.growth.slopes[0] == pytest.approx(-0.5, abs=0.2)  # planted
    assert size > 5
    few = fit_of({name: column[::3] for name, column in rows.items()}).noise
    assert few.growth is None or not few.growth.replicates


@pytest.mark.heavy
def test_intervals_of_a_law_cover_the_truth_when_runs_of_a_size_share_noise() -> None:
    by_row, tested = (
        coverage(LAWS["additive"], TRUTH, design(), LOG_HUBER, scale=0.008, noise="size", sets=80, by=by)
        for by in ("row", "auto")
    )
    assert tested.shares["alpha"] > by_row.shares["alpha"] + 0.03
    assert all(share > 0.88 for share in tested.shares.values())  # .95 less 2.8 standard errors


def test_the_interval_of_a_mean_of_groups_is_that_of_the_means_of_the_groups() -> None:
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(6), 5)
    loss = 3.0 + 0.1 * rng.normal(size=6)[group] + 0.05 * rng.normal(size=30)
    rows = {"x": np.arange(1.0, 31.0), "loss": loss, "node": group}
    fit = analysis.fit(rows, "reciprocal", "ls", y="loss", space="raw", fixed={"A": 0.0}, by="node", all_rows=True)
    means = np.array([loss[group == one].mean() for one in range(6)])
    width = student.ppf(0.975, 5) * means.std(ddof=1) / math.sqrt(6)
    interval = fit.intervals["C"]
    assert (interval.low, interval.high) == pytest.approx((means.mean() - width, means.mean() + width), rel=1e-5)
    assert interval.method == "profile likelihood, clustered by node"


def test_the_sandwich_is_that_of_the_textbook_with_full_matrices() -> None:
    fit = fit_of(table("size"), objective="ls", by="size")
    slopes = jacobian(fit.setup, fit.solution.theta)
    labels, residual = fit.noise.divisions[0].labels, fit.residuals
    inverse = np.linalg.inv(slopes.T @ slopes)
    maker = np.eye(96) - slopes @ inverse @ slopes.T
    parts = []  # Bell & McCaffrey 2002, Imbens & Kolesar 2016 eq. 13: each group's column of G
    for one in range(24):
        inside = labels == one
        adjust = np.linalg.inv(np.real(sqrtm(maker[np.ix_(inside, inside)])))
        parts.append(maker[:, inside] @ adjust @ slopes[inside] @ inverse)
    for index in range(5):
        columns = np.stack([part[:, index] for part in parts], axis=1)
        gram = columns.T @ columns
        adjusted = [np.linalg.inv(np.real(sqrtm(maker[np.ix_(labels == one, labels == one)]))) @ residual[labels == one]
                    @ (slopes[labels == one] @ inverse[:, index]) for one in range(24)]  # fmt: skip
        plain = inverse[index, index] * residual @ residual / (96 - 5)
        found = spread(fit.setup, fit.solution.theta, np.eye(5)[index], (labels,))
        assert found is not None
        assert found.ratio == pytest.approx(np.sum(np.square(adjusted)) / plain, rel=1e-3)
        assert found.freedom == pytest.approx(np.trace(gram) ** 2 / np.sum(gram**2), rel=1e-3)


def test_rows_of_one_run_are_never_independent() -> None:
    points = design()
    rows = {name: np.repeat(column[:40], 3) for name, column in points.items()}
    rows["D"] = rows["D"] * np.tile([1.0, 1.5, 2.0], 40)
    common = np.repeat(np.random.default_rng(0).normal(size=40), 3)
    loss = LAWS["additive"].predict(TRUTH, rows) * np.exp(0.005 * common)
    frame = pl.DataFrame({**rows, "loss": loss, "run_id": np.repeat(np.arange(40), 3)})
    fit = fit_of(frame)
    assert "run" in fit.noise.names or "size" in fit.noise.names  # sizes contain their runs
    assert any("independent" in warning for warning in fit.warnings)


def test_few_groups_are_drawn_as_random_effects_and_not_resampled() -> None:
    points = {name: np.tile(column[::3], 4) for name, column in design().items()}
    seed = np.repeat(np.arange(4), 32)
    rng = np.random.default_rng(2)
    noise = 0.01 * rng.normal(size=4)[seed] + 0.002 * rng.normal(size=128)
    loss = LAWS["additive"].predict(TRUTH, points) * np.exp(noise)
    fit = fit_of({**points, "loss": loss, "node": seed}, bootstrap=60, by="node")
    assert fit.draws is not None
    assert (fit.draws.by, fit.draws.units) == ("random node effects", 4)
    assert fit.noise.correlations[0] > 0.8


def test_an_unknown_way_to_draw_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(InputError, match=r"by = 'sizes' is not known \(accepted: auto, row, cell, seed, size, budget"):
        fit_of(table("gaussian"), by="sizes")


def test_groups_that_are_one_group_alone_are_refused() -> None:
    rows = {**table("gaussian"), "node": np.zeros(96)}
    with pytest.raises(InputError, match="by = 'node' needs at least 2 values of node, 1 found"):
        fit_of(rows, by="node")


def test_a_column_of_repetition_numbers_is_not_a_column_of_runs() -> None:
    points = {name: np.repeat(column, 2) for name, column in design().items()}
    rows = {**points, "run": np.tile([1, 2], 96), "loss": np.repeat(table("gaussian")["loss"], 2)}
    rows["loss"] = rows["loss"] * np.exp(0.008 * np.random.default_rng(4).normal(size=192))
    assert "run" not in fit_of(rows).noise.names


@pytest.mark.heavy
def test_a_table_of_many_rows_is_tested_on_a_sample() -> None:
    points = design()
    rows = {name: np.tile(column, 40) for name, column in points.items()}
    assert len(rows["N"]) > MAX_ROWS
    truth = LAWS["additive"].predict(TRUTH, rows)
    losses = simulate_losses(truth, "size", 0.008, "log", 1, 5, list(rows.values()))
    (fit,) = simulated_fits(LAWS["additive"], TRUTH, rows, LOG_HUBER, losses, Resampling())
    assert fit.noise.names == "size"
    found = fit.noise.spread(fit.setup, fit.solution.theta, np.eye(5)[3])
    assert found is not None
    assert found.ratio > 5  # 24 sizes, not 3840 rows
    assert find_noise(fit.setup, fit.solution.theta, fit.observations, Resampling(by="row")).divisions == ()


@pytest.mark.heavy
def test_what_a_law_implies_is_covered_beside_a_smooth_error_of_the_law_that_its_parameters_absorb() -> None:
    """The errors are drawn from a dense Gaussian process of four times the noise; plain intervals hold half."""
    x, rng = np.geomspace(1.0, 300.0, 40), np.random.default_rng(0)
    law, truth = LAWS["reciprocal"], {"C": 3.0, "A": 1.5}
    clean = law.predict(truth, {"x": x})
    share = 1 - truth["C"] / clean
    apart = np.log(x)[:, None] - np.log(x)
    error = np.linalg.cholesky(1 / (1 + apart**2 / 18) + 1e-9 * np.eye(40)) @ rng.normal(size=(40, 100))
    held = {"auto": 0, "row": 0}
    for drawn in error.T:
        losses = clean * np.exp(0.008 * share / np.exp(np.mean(np.log(share))) * drawn + 0.002 * rng.normal(size=40))
        for by in held:
            fit = analysis.fit({"x": x, "loss": losses}, law, "ls", y="loss", by=by)
            interval = loss_at(fit, {"x": 1e4})[1]
            held[by] += interval.low <= law.predict(truth, {"x": [1e4]})[0] <= interval.high
    assert held["auto"] >= 85
    assert held["row"] <= 60


def test_the_likelihood_of_a_misfit_is_the_restricted_one_of_the_dense_covariance() -> None:
    """Patterson and Thompson 1971, with the noise at its best value."""
    rng = np.random.default_rng(0)
    target, slopes, features = rng.normal(size=30), rng.normal(size=(30, 3)), rng.normal(size=(30, 5))
    likelihoods, noise = restricted_likelihood(target, slopes, features)
    expected, variances = [], []
    for amplitude in AMPLITUDES:
        covariance = np.eye(30) + amplitude**2 * features @ features.T
        inverse = np.linalg.inv(covariance)
        gram = slopes.T @ inverse @ slopes
        rest = target - slopes @ np.linalg.solve(gram, slopes.T @ inverse @ target)
        variances.append(rest @ inverse @ rest / 27)
        determinants = np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(gram)[1]
        expected.append(-(27 * np.log(variances[-1]) + determinants) / 2)
    np.testing.assert_allclose(noise, variances, rtol=1e-9)
    np.testing.assert_allclose(np.diff(likelihoods), np.diff(expected), rtol=1e-7, atol=1e-9)


@pytest.mark.heavy
def test_a_misfit_is_seen_in_about_a_quarter_of_the_tables_that_have_none() -> None:
    seen = [one.noise.misfit is not None for one in fits("gaussian", 80)]
    assert 0.12 <= np.mean(seen) <= 0.45
    assert all(one.noise.misfit is None for one in fits("gaussian", 5, "row"))


@pytest.mark.heavy
@pytest.mark.parametrize("space", ["log", "raw"])
def test_random_effects_are_as_large_as_the_residuals_in_the_space_of_the_objective(space: str) -> None:
    points = {name: np.tile(column[::3], 4) for name, column in design().items()}
    node = np.repeat(np.arange(4), 32)
    rng = np.random.default_rng(2)
    noise = 0.01 * rng.normal(size=4)[node] + 0.002 * rng.normal(size=128)
    truth = LAWS["additive"].predict(TRUTH, points)
    loss = truth * np.exp(noise) if space == "log" else truth + noise
    fit = fit_of({**points, "loss": loss, "node": node}, bootstrap=8, by="node", space=space)
    assert fit.draws is not None
    assert fit.draws.by == "random node effects"
    drawn = drawer(fit.setup, fit.solution.theta, replace(fit.noise, relative=None), 0)(400)
    predicted = fit.predict(points)
    errors = np.log(drawn / predicted) if space == "log" else drawn - predicted
    assert np.median(np.abs(errors)) == pytest.approx(np.median(np.abs(noise)), rel=0.4)
