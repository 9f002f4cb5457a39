"""Conclusions from fits: allocations, isoFLOP exponents, held-out errors, crossings, forecasts of a run's end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import bootstrap

from sweeplaw import analysis
from sweeplaw.analysis.fitting.derived.allocation import allocate, exponents
from sweeplaw.analysis.laws.catalog import LAWS
from sweeplaw.analysis.scaling.crossover import crossover, last_crossing
from sweeplaw.analysis.scaling.isoflop import compare_approaches
from sweeplaw.analysis.scaling.learning_curve import forecast, prediction_level
from sweeplaw.analysis.scaling.validation import compare, largest, leave_cell_out, paired
from sweeplaw.trials.errors import InputError

pytestmark = pytest.mark.heavy  # half a second a test, or many of them

TRUTH = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
CURVE = {"C": 1.7, "A": 2.0, "alpha": 0.45}


def isoflop(noise: float = 0.0, centre: float = 0.0, **params: float) -> dict[str, np.ndarray]:
    """Seven budgets of nine sizes about the optimum, shifted by ``centre`` in log N."""
    truth = {**TRUTH, **params}
    a = truth["beta"] / (truth["alpha"] + truth["beta"])
    g = (truth["alpha"] * truth["A"] / truth["beta"] / truth["B"]) ** (1 / (truth["alpha"] + truth["beta"]))
    flops = np.repeat(np.geomspace(1e18, 1e21, 7), 9)
    size = g * (flops / 6) ** a * np.exp(np.tile(np.linspace(-1, 1, 9), 7) + centre)
    rows = {"N": size, "D": flops / 6 / size}
    losses = LAWS["additive"].predict(truth, rows)
    return {**rows, "loss": losses + noise * np.random.default_rng(0).normal(size=63)}


@settings(max_examples=8, deadline=None)
@given(alpha=st.floats(0.2, 0.6), beta=st.floats(0.2, 0.6), flops=st.floats(1e18, 1e24))
@pytest.mark.heavy
def test_the_allocation_is_the_closed_form_of_the_additive_law(alpha: float, beta: float, flops: float) -> None:
    fit = analysis.fit(isoflop(alpha=alpha, beta=beta), objective="ls")
    a, g = beta / (alpha + beta), (alpha * TRUTH["A"] / beta / TRUTH["B"]) ** (1 / (alpha + beta))
    best = allocate(fit, flops)
    assert best.params == pytest.approx(g * (flops / 6) ** a, rel=1e-4)
    assert 6 * best.params * best.tokens == pytest.approx(flops, rel=1e-12)
    assert exponents(fit, flops)["a"][0] == pytest.approx(a, abs=1e-5)


def test_three_approaches_agree_on_centred_samples_of_a_symmetric_surface() -> None:
    fit = analysis.fit(isoflop(noise=1e-5, alpha=0.3, beta=0.3), objective="ls", bootstrap=50)
    for approach in compare_approaches(fit, resamples=50):
        assert approach.a == pytest.approx(0.5, abs=1e-3)


def test_the_approaches_are_refused_of_a_law_of_one_input() -> None:
    sizes = np.geomspace(1e6, 1e9, 8)
    fit = analysis.fit({"x": sizes, "loss": 1.7 + 400 / sizes**0.34}, "power_asymptote", x={"x": "x"}, y="loss")
    with pytest.raises(InputError, match="need a fit of a law of N and D"):
        compare_approaches(fit)


@pytest.mark.heavy
def test_a_budget_tells_how_far_its_optimum_is_from_the_middle_of_the_sizes_fitted() -> None:
    fit = analysis.fit(isoflop(alpha=0.3, beta=0.3, centre=0.5), objective="ls")  # log sizes -1/2 to 3/2 of the best
    first, second = compare_approaches(fit, resamples=5)[:2]
    assert [budget.off_centre for budget in first.budgets] == pytest.approx([-0.25] * 7)
    assert [budget.loss for budget in first.budgets] == pytest.approx(
        fit.observations.losses.reshape(7, 9).min(axis=1).tolist()
    )
    for budget in second.budgets:  # without the largest sizes, whose losses are over the window
        widest = 0.25 * ((budget.rows_used or 0) - 1)
        assert budget.off_centre == pytest.approx(-(widest - 1) / 2 / widest, abs=1e-3)


def coupled(noise: float = 0.002, seed: int = 0) -> dict[str, np.ndarray]:
    """Return losses of a coupled law, which the additive law does not fit."""
    rows = isoflop()
    terms = 60 / rows["N"] ** 0.2 + 60 / rows["D"] ** 0.18
    return {**rows, "loss": 1.7 + terms**2 + noise * np.random.default_rng(seed).normal(size=63)}


@pytest.mark.heavy
def test_an_inadequate_law_gives_no_exponent_beside_the_other_approaches() -> None:
    fit = analysis.fit(coupled(), objective="ls", bootstrap=50)
    assert fit.adequacy.law == "inadequate"
    first, second, third = compare_approaches(fit, resamples=20)
    assert np.isfinite([first.a, second.a]).all()
    assert third.to_dict()["a"] is None
    assert third.intervals == {}
    assert "withheld: the law is inadequate" in third.headline()[0]
    forced = compare_approaches(fit, resamples=20, force=True)[2]
    assert forced.a > 0
    assert "not advised: the law is inadequate" in forced.headline()[0]


@pytest.mark.heavy
def test_laws_that_do_not_fit_have_no_crossing() -> None:
    one, other = (analysis.fit(coupled(seed=seed), objective="ls", bootstrap=50) for seed in (0, 1))
    with pytest.raises(InputError, match=r"(?s)additive: the law is inadequate.*a crossing is not reported"):
        crossover(one, other, 1e18, 1e22)
    assert crossover(one, other, 1e18, 1e22, force=True).axis == "C"


def test_the_bias_of_off_centre_parabolas_is_measured_and_reported() -> None:
    rows = isoflop()
    drift = np.exp(np.repeat(np.linspace(-1, 1, 7), 9))  # sampled too small at small budgets, too large at large ones
    rows = {"N": rows["N"] * drift, "D": rows["D"] / drift}
    rows["loss"] = LAWS["additive"].predict(TRUTH, rows)
    fit = analysis.fit(rows, objective="ls")
    found = {approach.name: approach for approach in compare_approaches(fit, resamples=20)}
    true = TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"])
    assert found["3 surface"].a == pytest.approx(true, abs=1e-5)
    bias = found["2 parabola"].a - true
    assert abs(bias) > 0.001
    assert f"bias {bias:+.4f}" in " ".join(found["2 parabola"].notes)


def test_the_true_law_predicts_the_largest_runs_it_did_not_see() -> None:
    held = largest(analysis.fit(isoflop()))
    assert held.trained_on + len(held.rows) == 63
    scale = isoflop()["N"] * isoflop()["D"]
    at = held.rows - 1  # counted from 1
    assert scale[at].min() >= np.delete(scale, at).max() * (1 - 1e-12)
    assert np.abs(held.errors).max() < 1e-8


def test_leaving_a_cell_out_equals_a_fit_without_it() -> None:
    rows = isoflop(noise=0.003)
    fit = analysis.fit(rows)
    held = leave_cell_out(fit)
    for row in (0, 30, 62):
        alone = analysis.fit({name: np.delete(column, row) for name, column in rows.items()})
        expected = alone.predict({"N": rows["N"][row], "D": rows["D"][row]})[0]
        assert held.predicted[row] == pytest.approx(expected, rel=1e-7)


def test_the_planted_form_beats_another_on_held_out_rows() -> None:
    x = np.geomspace(1, 1000, 60)
    rows = {"x": x, "loss": LAWS["power_asymptote"].predict(CURVE, {"x": x}) + 0.003 * np.sin(7 * np.arange(60))}
    found = compare(analysis.fit(rows, "power_asymptote"), analysis.fit(rows, "power"))
    assert found.rms[0] < found.rms[1]
    assert found.probability_first_better > 0.99
    assert found.interval.high < 0


def test_neither_of_two_equal_laws_is_more_likely_to_be_better() -> None:
    x = np.geomspace(1, 1000, 30)
    fit = analysis.fit({"x": x, "loss": LAWS["power_asymptote"].predict(CURVE, {"x": x})}, "power_asymptote")
    assert compare(fit, fit).probability_first_better == 0.5


def test_the_interval_of_a_held_out_difference_is_the_paired_bootstrap_of_scipy() -> None:
    squares = np.random.default_rng(0).exponential(size=(2, 40))
    found = paired("one", "two", squares, 0.8, 4000, 0)
    assert found.interval is not None
    again = bootstrap((squares[0] - squares[1],), np.mean, n_resamples=4000, confidence_level=0.8, method="percentile",
                      rng=np.random.default_rng(1)).confidence_interval  # fmt: skip
    assert (found.interval.low, found.interval.high) == pytest.approx((again.low, again.high), abs=0.02)


def _curve(asymptote: float, amplitude: float, exponent: float, seed: int) -> analysis.Fit:
    x = np.geomspace(1, 1000, 60)
    losses = asymptote + amplitude * x**-exponent + 0.003 * np.random.default_rng(seed).normal(size=60)
    return analysis.fit({"x": x, "loss": losses}, "power_asymptote", bootstrap=400)


def test_a_planted_crossing_lies_in_its_interval() -> None:
    a, b = _curve(1.9, 2.0, 0.3, 1), _curve(2.1, 1.7, 0.35, 2)
    true = brentq(lambda x: 1.9 + 2.0 * x**-0.3 - 2.1 - 1.7 * x**-0.35, 1, 1e6)
    found = crossover(a, b, 1, 1e5)
    assert found.probability > 0.99
    assert found.interval.low < true < found.interval.high
    assert found.overtakes > 0.99
    assert (found.a_better_at_low, found.a_better_at_high) == (
        0,
        1,
    )  # 3.9 against 3.8 at 1, asymptotes at the other end
    back = crossover(b, a, 1, 1e5)
    assert back.estimate == pytest.approx(found.estimate)
    assert back.overtakes < 0.01
    assert (back.a_better_at_low, back.a_better_at_high) == (1, 0)


def test_the_last_of_several_crossings_counts_and_none_is_nan() -> None:
    difference = np.array([[-1.0, 1, 1, -3], [1, 1, 2, 1], [-1, -1, 1, 3]])
    places, counts = last_crossing(np.arange(4.0), difference)
    np.testing.assert_allclose(places, [2.25, np.nan, 1.5])
    assert counts.tolist() == [2, 0, 1]


def test_curves_that_do_not_cross_in_the_range_have_no_estimate() -> None:
    found = crossover(_curve(1.9, 2.0, 0.3, 1), _curve(2.4, 2.0, 0.3, 2), 1, 1e5)
    assert found.estimate is None
    assert found.probability < 0.01
    assert found.a_better_at_high > 0.99
    assert replace(found, probability=0.0).headline()[0] == "no crossing in any draw"
    some = replace(found, interval=replace(found.interval, low=2.0, high=50.0), probability=0.37)
    assert some.headline()[0] == (
        "no crossing of the fitted curves; those of draws cross within [2, 50] in 37 % of the paired draws"
    )


def test_a_crossing_needs_draws_on_one_axis() -> None:
    fit = _curve(1.9, 2.0, 0.3, 1)
    with pytest.raises(InputError, match="bootstrap draws"):
        crossover(
            fit, analysis.fit({"x": [1, 2, 4, 8, 16], "loss": [3, 2.5, 2.3, 2.2, 2.15]}, "power_asymptote"), 1, 10
        )
    with pytest.raises(InputError, match="one common axis"):
        crossover(fit, analysis.fit(isoflop(0.003), bootstrap=20), 1, 10)


@pytest.mark.parametrize(
    "end", [lambda t: 2.5 + 4 * (t + 100) ** -0.35, lambda t: 2.5 + 2 * np.exp(-t / 1500)], ids=["power", "exponential"]
)
def test_the_end_of_a_run_lies_in_the_interval_forecast_from_its_beginning(end) -> None:
    steps = np.arange(1, 101) * 100.0
    losses = end(steps) + 0.01 * np.random.default_rng(0).normal(size=100)
    found = forecast(steps[:40], losses[:40], 1e4)
    assert found.low <= losses[-1] <= found.high
    assert found.high - found.low < 0.5
    assert sum(found.shares.values()) == pytest.approx(1)
    assert (found.final_step, found.last_step, found.points) == (1e4, 4e3, 40)
    assert found.backtests == sum(40 - known for known in range(16, 40, 3))  # eight prefixes, from two fifths on


def test_a_loss_that_falls_by_decades_is_forecast_in_proportion_to_what_is_left_of_it() -> None:
    times = np.geomspace(0.1, 1e4, 60)
    losses = (1 + times) ** -0.9 * np.exp(0.01 * np.random.default_rng(1).normal(size=60))
    seen = times <= 1e3
    found = forecast(times[seen], losses[seen], 1e4)
    assert found.loss == pytest.approx(1e4**-0.9, rel=0.1)
    assert 0 < found.low < losses[-1] < found.high


def test_a_curve_that_rose_to_a_level_stays() -> None:
    steps = np.geomspace(10, 1e4, 40)
    losses = np.where(steps < 200, 2.2 + np.log10(steps) / 11, 2.42) + 0.001 * np.random.default_rng(2).normal(size=40)
    found = forecast(steps[:30], losses[:30], 1e4)
    assert found.loss == pytest.approx(2.42, rel=0.005)
    assert max(found.shares, key=lambda name: found.shares[name]) == "unchanged"


@pytest.mark.heavy
def test_a_run_that_keeps_its_shape_is_predictable_early_from_its_prediction_level() -> None:
    steps = np.arange(1, 61) * 100.0
    losses = 2.5 + 4 * steps**-0.35
    level = prediction_level(steps, losses, tolerance=0.01, prefixes=6)
    assert level is not None
    assert level < 6000
    seen = steps <= level
    assert forecast(steps[seen], losses[seen], 6000).loss == pytest.approx(losses[-1], rel=0.01)


def test_a_curve_that_cannot_be_forecast_is_refused_with_the_reason() -> None:
    with pytest.raises(InputError, match="8 points"):
        forecast([1, 2, 3], [3, 2, 1], 10)
    with pytest.raises(InputError, match="points 1"):
        forecast(np.arange(1.0, 11), [1, np.nan, *[2] * 8], 20)
    with pytest.raises(InputError, match="before the last point"):
        forecast(np.arange(1.0, 11), np.linspace(3, 2, 10), 5)


@pytest.mark.heavy
def test_a_holdout_says_how_many_rows_its_band_held() -> None:
    held = largest(analysis.fit(isoflop(noise=0.003)))
    assert held.band is not None
    low, high = held.band
    assert held.inside == int(np.sum((low <= held.observed) & (held.observed <= high)))
    assert held.summary()["share_inside_band"] == held.inside / len(held.rows) >= 0.75
    bent = isoflop(noise=0.003)
    bent["loss"] = bent["loss"] + 0.1 * (bent["N"] * bent["D"] > 1e20)  # the largest runs are of another recipe
    assert largest(analysis.fit(bent)).inside == 0
    assert leave_cell_out(analysis.fit(bent)).summary()["rows_inside_band"] is None


def test_one_size_or_one_budget_is_told_with_what_can_be_fitted() -> None:
    rows = isoflop(noise=0.003)
    with pytest.raises(
        InputError, match=r"only D varies: the law of one input can be fitted instead \(power_asymptote"
    ):
        analysis.fit({**rows, "N": np.full(63, 1e8)})
    one = {name: column[:9] for name, column in rows.items()}
    warnings = analysis.fit(one).warnings
    assert any("all rows have one compute budget" in warning for warning in warnings)
    assert not any("one compute budget" in warning for warning in analysis.fit(rows).warnings)
