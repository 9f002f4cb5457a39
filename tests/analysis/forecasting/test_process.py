"""The process behind forecasts: exact derivatives, the dense Gaussian process of the textbook, planted truths."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import stdtr
from scipy.stats import multivariate_t

from sweeplaw.analysis.fitting.noise.smooth import kernel, smooth
from sweeplaw.analysis.forecasting.process import mixture
from sweeplaw.analysis.forecasting.process.learning import learn
from sweeplaw.analysis.forecasting.process.mean import Mean, mean_of, role
from sweeplaw.analysis.forecasting.process.mixture import quantiles
from sweeplaw.analysis.forecasting.process.offsets import groups
from sweeplaw.analysis.forecasting.process.process import Process, RunPoints
from sweeplaw.analysis.forecasting.process.regression import FREEDOM, NOISE, evidences, gram, posterior
from sweeplaw.analysis.forecasting.process.robust import robust_fit
from sweeplaw.analysis.forecasting.process.settings import LENGTHS, TREND
from sweeplaw.analysis.laws.catalog import LAWS
from sweeplaw.analysis.laws.law import Law, formula_law

ADDITIVE = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
OWN = formula_law("E + A / N**a + B / D**b", ["N", "D"])
OWN_COUPLED = formula_law("E + (A / N**a + B / D**b)**k", ["N", "D"])


def isoflop(seed: int = 0, noise: float = 0.003, budgets: int = 6, each: int = 8) -> tuple[RunPoints, np.ndarray]:
    """Return budgets over two and a half decades of compute, with runs of the additive law and Gaussian noise."""
    rng = np.random.default_rng(seed)
    compute = np.repeat(np.geomspace(1e18, 3e20, budgets), each)
    size = (compute / 6) ** 0.47 * 3 * np.exp(rng.uniform(-1.2, 1.2, compute.size))
    inputs = {"N": size, "D": compute / 6 / size}
    losses = LAWS["additive"].predict(ADDITIVE, inputs) * np.exp(noise * rng.normal(size=compute.size))
    return RunPoints(inputs, compute), losses


def inputs_of(law: Law, rows: int = 40) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    size, tokens = np.exp(rng.uniform(17, 22, rows)), np.exp(rng.uniform(20, 25, rows))
    columns = {"N": size, "D": tokens, "U": tokens / 3, "M": tokens**0.5, "K": tokens**0.5, "x": np.sqrt(size)}
    columns |= {"X": 2.0 ** rng.integers(0, 6, rows), "P": 2.0 ** rng.integers(2, 6, rows)}
    return {name: columns[name] for name in law.inputs}


@pytest.mark.heavy
@pytest.mark.parametrize(
    "law",
    [*LAWS.values(), OWN, OWN_COUPLED, LAWS["skaling"].fix(E=1.2), LAWS["skaling"].fix(k=0.8)],
    ids=lambda law: law.name,
)
def test_the_derivatives_of_the_mean_are_those_of_finite_differences(law: Law) -> None:
    inputs = inputs_of(law)
    mean = mean_of(law, inputs, np.linspace(2, 4, 40), None)
    theta = mean.clip(mean.prior + 0.2 * np.random.default_rng(2).normal(size=mean.prior.size))
    bound = mean.bind(inputs)
    value, jacobian = bound.derivatives(theta)
    step = 1e-5 * np.eye(theta.size)
    numeric = np.stack([(bound.value(theta + one) - bound.value(theta - one)) / 2e-5 for one in step], axis=1)
    np.testing.assert_allclose(value, bound.value(theta), rtol=1e-12)
    np.testing.assert_allclose(jacobian, numeric, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "law",
    [LAWS["skaling"], LAWS["kaplan"], LAWS["additive"], LAWS["batch"], OWN, LAWS["skaling"].fix(k=0.8),
     LAWS["additive"].fix(alpha=0.34, A=400.0)],
    ids=lambda law: law.name,
)  # fmt: skip
def test_coordinates_lead_back_to_the_parameters(law: Law) -> None:
    mean = mean_of(law, inputs_of(law), np.linspace(2, 4, 40), None)
    theta = np.asarray(mean.prior) + 0.1
    np.testing.assert_allclose(mean.coordinates(mean.params(theta)), theta, rtol=1e-9)


@pytest.mark.parametrize(
    ("law", "floor"), [(LAWS["additive"], None), (LAWS["additive"].fix(E=1.2), 1.2), (LAWS["kaplan"], 0.0)]
)
def test_the_reducible_share_is_what_the_law_adds_to_its_asymptote(law: Law, floor: float | None) -> None:
    mean = mean_of(law, inputs_of(law), np.linspace(2, 4, 40), None)
    floor = mean.params(mean.prior)[0] if floor is None else floor
    bound = mean.bind(inputs_of(law))
    losses = np.exp(bound.value(mean.prior))
    np.testing.assert_allclose(bound.reducible(mean.prior), (losses - floor) / losses, rtol=1e-12)


@pytest.mark.parametrize(
    ("law", "index", "share"),
    [
        (LAWS["additive"], 1, 0.25),  # a quarter of the loss beside an asymptote, given or not
        (LAWS["additive"].fix(E=1.2), 0, 0.25),
        (formula_law("A / N**a + B / D**b", ["N", "D"]), 2, 0.5),  # the terms share all of a loss that falls to zero
    ],
)
def test_a_coefficient_is_expected_to_be_its_share_of_the_median_loss(law: Law, index: int, share: float) -> None:
    losses = np.geomspace(2, 4, 41)
    mean = mean_of(law, inputs_of(law, 41), losses, None)
    assert role(law, index) == "coefficient"
    assert np.exp(mean.prior[index]) == pytest.approx(share * 8**0.5)


@pytest.mark.parametrize("law", [LAWS["additive"], LAWS["skaling"], OWN], ids=lambda law: law.name)
def test_an_asymptote_is_expected_to_be_half_of_the_lowest_loss_or_none_at_all(law: Law) -> None:
    mean = mean_of(law, inputs_of(law, 41), np.geomspace(2, 4, 41), None)
    assert (mean.prior[0], mean.spread[0], mean.low[0]) == pytest.approx((1.1, 1.0, 0.0))
    theta = mean.prior.copy()
    theta[0] = 0.0
    assert mean.params(theta)[0] == 0.0
    assert mean.coordinates(mean.params(theta)) == pytest.approx(theta, abs=1e-12)


@pytest.mark.parametrize(("law", "index"), [(LAWS["additive"], 3), (LAWS["skaling"], 3), (OWN, 2)])
def test_an_exponent_is_searched_between_a_thirtieth_and_four(law: Law, index: int) -> None:
    mean = mean_of(law, inputs_of(law, 41), np.geomspace(2, 4, 41), None)
    assert np.exp([mean.prior[index], mean.low[index], mean.high[index]]) == pytest.approx((0.35, 0.03, 4.0))
    assert mean.spread[index] == 1.0
    bounded = mean_of(LAWS["batch"], inputs_of(LAWS["batch"], 41), np.geomspace(2, 4, 41), None)
    assert np.exp(bounded.high[6]) == pytest.approx(4.0)


def test_the_coupling_is_searched_between_its_own_bounds() -> None:
    mean = mean_of(LAWS["skaling"], inputs_of(LAWS["skaling"], 41), np.geomspace(2, 4, 41), None)
    assert (mean.prior[5], mean.low[5], mean.high[5]) == pytest.approx((-0.3, -3.1, 2.5))


def test_no_more_rows_than_parameters_say_nothing_of_a_parameter_of_unknown_role() -> None:
    law = formula_law("E + A * exp(-x / r)", ["x"])  # r is neither a coefficient nor an exponent
    x = np.array([1.0, 2.0, 4.0, 8.0])
    losses, at = 2 + np.exp(-x / 3), law.names.index("r")
    few = robust_fit(law, {"x": x[:3]}, losses[:3])
    assert few.mean.prior[at] == mean_of(law, {"x": x[:3]}, losses[:3], None).prior[at]
    assert robust_fit(law, {"x": x}, losses).mean.prior[at] != mean_of(law, {"x": x}, losses, None).prior[at]


def test_the_role_of_a_parameter_is_read_from_the_formula() -> None:
    assert [role(OWN, at) for at in range(5)] == ["asymptote", "coefficient", "exponent", "coefficient", "exponent"]
    roles = [role(LAWS["skaling"], at) for at in range(6)]
    assert roles == ["asymptote", "coefficient", "coefficient", "exponent", "exponent", "other"]  # k couples
    assert role(LAWS["data_constrained"], 6) == "other"


def test_the_features_reproduce_the_kernel_and_leave_the_rest_as_variance() -> None:
    points = np.random.default_rng(0).uniform(-3, 3, (80, 2))
    found = smooth(points, 2.0)
    features, left = found.at(points)
    np.testing.assert_allclose(features @ features.T, kernel(points, points, 2.0), atol=1e-5)
    assert left.max() < 1e-5
    far, rest = found.at(points + 100)
    np.testing.assert_allclose(np.sum(far**2, axis=1) + rest, 1.0)
    assert rest.min() > 0.99


def test_groups_are_the_values_that_several_runs_share() -> None:
    found = groups(np.array([1.0, 1.001, 2.0, 3.0, 3.0, 3.002]), 0.01, 0.02)
    shared, alone = found.at(np.array([1.0005, 2.0, 3.001, 5.0]))
    assert shared.tolist() == [[1, 0], [0, 0], [0, 1], [0, 0]]
    assert alone.tolist() == [0, 1, 0, 1]
    assert groups(np.linspace(0, 1, 500), 0.01, 0.02).low.size == 0  # a continuum


def test_the_evidence_is_that_of_the_multivariate_t() -> None:
    rng = np.random.default_rng(0)
    features, target, weights = rng.normal(size=(20, 5)), 0.01 * rng.normal(size=20), rng.uniform(0.3, 1, 20)
    scales = np.abs(rng.normal(size=(3, 5)))
    found = evidences(gram(features, target, weights), scales)
    exact = []
    for scale in scales:
        shape = NOISE**2 * (np.diag(1 / weights) + features @ np.diag(scale**2) @ features.T)
        exact.append(multivariate_t.logpdf(target, shape=shape, df=FREEDOM))
    np.testing.assert_allclose(np.diff(found), np.diff(exact), rtol=1e-9)


def test_groups_are_eliminated_as_if_they_were_any_other_feature() -> None:
    rng = np.random.default_rng(1)
    indicators = np.eye(6)[rng.integers(0, 6, 40)] * (rng.uniform(size=(40, 1)) < 0.8)  # some rows are in no group
    features = np.column_stack([indicators, rng.normal(size=(40, 5))])
    target, weights = 0.01 * rng.normal(size=40), rng.uniform(0.3, 1, 40)
    scales = np.abs(rng.normal(size=(4, 11)))
    scales[1, :6] = 0.0
    plain, grouped = gram(features, target, weights), gram(features, target, weights, 6)
    np.testing.assert_allclose(evidences(grouped, scales), evidences(plain, scales), rtol=1e-12)
    one, other = posterior(plain, scales), posterior(grouped, scales)
    np.testing.assert_allclose(other.mean, one.mean, rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(other.noise, one.noise, rtol=1e-12)
    for index in range(4):
        np.testing.assert_allclose(other.variance(features, index), one.variance(features, index), rtol=1e-10)


def test_quantiles_of_a_mixture_have_their_probability() -> None:
    weights, centres, scales = (
        np.array([0.2, 0.8]),
        np.array([[0.0, 1.0], [3.0, -1.0]]),
        np.array([[1.0, 2.0], [0.5, 1.0]]),
    )
    for level in (0.025, 0.5, 0.9):
        at = quantiles(level, weights, centres, scales, 7.0)
        np.testing.assert_allclose(weights @ stdtr(7.0, (at - centres) / scales), level, rtol=1e-9)


@pytest.mark.parametrize("freedom", [4.0, 2004.0])
@pytest.mark.parametrize("apart", [0.1, 3.0, 40.0])  # scales: nearly one normal, several humps, humps with gaps
def test_quantiles_of_mixtures_of_any_shape_are_found_in_few_steps(
    freedom: float, apart: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    weights, scales = rng.dirichlet(np.full(9, 0.5)), np.exp(0.5 * rng.normal(size=(9, 60)))
    centres = apart * rng.normal(size=(9, 60))
    looked: list[int] = []

    def counted(freedom: float, unit: np.ndarray) -> np.ndarray:
        looked.append(unit.shape[1])
        return np.asarray(stdtr(freedom, unit))

    monkeypatch.setattr(mixture, "stdtr", counted)
    for level in (0.001, 0.025, 0.5, 0.9, 0.999):
        at = mixture.quantiles(level, weights, centres, scales, freedom)
        np.testing.assert_allclose(weights @ stdtr(freedom, (at - centres) / scales), level, rtol=1e-8)
    if apart < 1:
        assert sum(looked) / (5 * 60) < 6


def dense(process: Process, known: RunPoints, losses: np.ndarray, ahead: RunPoints) -> tuple[np.ndarray, np.ndarray]:
    """Return the centre and scale of log L by the covariance of all rows, a setting at a time, as textbooks have it."""
    design, fit = process.design, process.design.fit
    rows = len(losses)
    both = RunPoints({name: np.append(known.inputs[name], ahead.inputs[name]) for name in known.inputs},
                  np.append(known.compute, ahead.compute))  # fmt: skip
    bound = fit.mean.bind(both.inputs)
    value, jacobian = bound.derivatives(design.theta)
    value = value + jacobian @ (fit.mean.prior - design.theta)
    share = np.maximum(bound.reducible(fit.theta), 0.02)
    share = share / np.exp(np.mean(np.log(share[:rows])))
    centres, scales = [], []
    for part in process.parts:
        for length, trend, tau, size, budget in part.settings.values:
            same = [near(np.log(column), found) for column, found in (
                (both.inputs["N"], design.sizes), (both.compute, design.budgets))]  # fmt: skip
            noise = (np.clip(both.compute, known.compute.min(), known.compute.max()) / design.compute) ** (
                -2 * TREND[int(trend)]
            )
            noise[:rows] /= fit.weights
            covariance = np.diag(noise) + jacobian @ np.diag((fit.mean.spread / fit.scale) ** 2) @ jacobian.T
            covariance += tau**2 * np.outer(share, share) * kernel(both.logs, both.logs, LENGTHS[int(length)])
            covariance += size**2 * same[0] + budget**2 * same[1]
            mine, cross = covariance[:rows, :rows], covariance[:rows, rows:]
            residual = np.log(losses) - value[:rows]
            solved = np.linalg.solve(mine, np.column_stack([residual, cross]))
            centres.append(value[rows:] + cross.T @ solved[:, 0])
            left = np.diag(covariance)[rows:] - np.sum(cross * solved[:, 1:], axis=0)
            variance = (FREEDOM * NOISE**2 + residual @ solved[:, 0]) / (FREEDOM + rows)
            scales.append(np.sqrt(variance * left))
    return np.array(centres), np.array(scales)


def near(logs: np.ndarray, found) -> np.ndarray:
    """Return which pairs share a group; a new run alone shares with itself, and a known run alone has no offset."""
    member = (logs[:, None] >= found.low) & (logs[:, None] <= found.high)
    shared = (member[:, None] & member[None]).any(axis=2).astype(float)
    alone = np.zeros(len(logs))
    alone[-2:] = ~member[-2:].any(axis=1)
    return shared + np.diag(alone)


@pytest.mark.heavy
def test_the_forecast_is_that_of_the_dense_gaussian_process() -> None:
    known, losses = isoflop()
    ahead = RunPoints({"N": np.array([1e9, 8e9]), "D": np.array([2e10, 1e11])}, 6 * np.array([2e19, 8e20]))
    process = learn(LAWS["skaling"], known, losses)
    centres, scales, _ = process.distribution(ahead, noise=True)
    exact, spread = dense(process, known, losses, ahead)
    assert np.abs((centres - exact) / spread).max() < 1e-3
    np.testing.assert_allclose(scales, spread, rtol=1e-3)


def covered(noise: float, misfit: float, seeds: range) -> float:
    """Return the share of runs of a next budget inside their 95 % band, over planted truths."""
    hits = []
    for seed in seeds:
        points, losses = isoflop(seed, noise, budgets=9, each=13)
        rng = np.random.default_rng(1000 + seed)
        wave = rng.normal(size=2) @ [np.sin(points.logs[:, 0] / 2), np.cos(points.logs[:, 1] / 2)]
        losses = losses * np.exp(misfit * wave)
        known = points.compute < points.compute.max() * 0.99
        process = learn(LAWS["skaling"], points.take(known), losses[known])
        low, high = np.exp(process.quantiles(points.take(~known), (0.025, 0.975), noise=True))
        hits.append(np.mean((low <= losses[~known]) & (losses[~known] <= high)))
    return float(np.mean(hits))


@pytest.mark.heavy
def test_bands_cover_planted_truths() -> None:
    assert 0.92 <= covered(0.005, 0.0, range(10)) <= 0.985
    assert covered(0.003, 0.006, range(10)) >= 0.9


@pytest.mark.heavy
def test_a_truth_without_an_asymptote_is_forecast_a_decade_ahead() -> None:
    """With a normal prior on the logarithm of the asymptote, the error was 1.1 %."""
    errors, held = [], []
    for seed in range(9):
        rng = np.random.default_rng(seed)
        compute = np.repeat(np.logspace(17, 20, 7), 8)
        size = np.sqrt(compute / 120) * np.exp(np.tile(np.linspace(-1.2, 1.2, 8), 7))
        points = RunPoints({"N": size, "D": compute / 6 / size}, compute)
        truth = 1.8 * ((size / 1e7) ** -0.12 + (points.inputs["D"] / 1e9) ** -0.1)
        known = compute < 9.9e18
        process = learn(
            LAWS["skaling"], points.take(known), (truth * np.exp(0.003 * rng.normal(size=size.size)))[known]
        )
        low, middle, high = np.exp(process.quantiles(points.take(~known), (0.025, 0.5, 0.975), noise=False))
        errors.append(np.mean(np.abs(middle / truth[~known] - 1)))
        held.append(np.mean((low <= truth[~known]) & (truth[~known] <= high)))
    assert np.mean(errors) < 0.008
    assert np.mean(held) > 0.93


@pytest.mark.heavy
def test_an_asymptote_of_zero_and_few_rows_give_finite_bands() -> None:
    for rows in (2, 5, 12):
        rng = np.random.default_rng(rows)
        size = np.exp(rng.uniform(17, 20, rows))
        points = RunPoints({"N": size, "D": 20 * size}, 20 * size**2)
        process = learn(LAWS["skaling"], points, 30 * size**-0.1)
        ahead = RunPoints({"N": np.array([1e12]), "D": np.array([1e14])}, np.array([1e26]))
        low, middle, high = np.exp(process.quantiles(ahead, (0.025, 0.5, 0.975), noise=True))[:, 0]
        assert 0 < low < middle < high < np.inf


def test_the_law_alone_is_at_the_maximum_of_its_posterior() -> None:
    points, losses = isoflop()
    fit = robust_fit(LAWS["skaling"], points.inputs, losses)
    best = _objective(fit.mean, fit.theta, fit.scale, points, losses)
    for step in np.eye(6) * 0.03:
        for there in (fit.theta + step, fit.theta - step):
            assert _objective(fit.mean, there, fit.scale, points, losses) > best * (1 - 1e-3)


def _objective(mean: Mean, theta: np.ndarray, scale: float, points: RunPoints, losses: np.ndarray) -> float:
    size = np.abs(np.log(losses) - mean.bind(points.inputs).value(theta)) / scale
    penalty = np.where(size <= 2, size**2, 4 * size - 4)
    return float(np.sum(penalty) + np.sum(((theta - mean.prior) / mean.spread) ** 2))
