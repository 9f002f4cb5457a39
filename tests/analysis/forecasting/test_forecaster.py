"""Forecasts from tables: the same whatever the units or the order of rows, honest about few rows, refused clearly."""

from __future__ import annotations

import json
import re
import time

import numpy as np
import polars as pl
import pytest

from sweeplaw import analysis
from sweeplaw.analysis.forecasting import forecaster
from sweeplaw.analysis.forecasting.budgets import budgets_of
from sweeplaw.analysis.forecasting.forecaster import extrapolation_band
from sweeplaw.analysis.forecasting.prediction import beyond
from sweeplaw.analysis.forecasting.scores import bands, score
from sweeplaw.trials.errors import InputError
from tests.analysis.forecasting.test_process import isoflop
from tests.paths import SHARED

AHEAD = {"N": np.array([5e9, 7e10]), "D": np.array([1e11, 1.4e12])}


def table(seed: int = 0, **more: int) -> dict[str, np.ndarray]:
    points, losses = isoflop(seed, **more)
    return {**points.inputs, "loss": losses}


@pytest.mark.heavy
def test_the_unit_of_the_inputs_does_not_matter() -> None:
    runs = table()
    one = analysis.forecaster(runs).predict(AHEAD, of="run")
    other = analysis.forecaster({**runs, "N": runs["N"] / 1e6}).predict({**AHEAD, "N": AHEAD["N"] / 1e6}, of="run")
    divided = analysis.forecaster(runs, units={"N": 1e6, "D": 1e9}).predict(AHEAD, of="run")
    for found in (other, divided):
        for name in ("median", "low", "high"):
            np.testing.assert_allclose(getattr(found, name), getattr(one, name), rtol=1e-6)


@pytest.mark.heavy
def test_a_formula_of_ones_own_forecasts_as_the_law_of_the_catalog() -> None:
    runs = table()
    named = analysis.forecaster(runs, "additive").predict(AHEAD)
    own = analysis.forecaster(runs, "E + A / N**a + B / D**b", x={"N": "N", "D": "D"}).predict(AHEAD)
    np.testing.assert_allclose(own.median, named.median, rtol=2e-3)
    np.testing.assert_allclose(own.high - own.low, named.high - named.low, rtol=0.1)


@pytest.mark.heavy
def test_the_order_of_rows_does_not_matter_and_a_forecast_repeats_to_the_bit() -> None:
    runs = table()
    order = np.random.default_rng(0).permutation(len(runs["loss"]))
    one = analysis.forecaster(runs).predict(AHEAD)
    again = analysis.forecaster({name: column[order] for name, column in runs.items()}).predict(AHEAD)
    assert one.median.tolist() == again.median.tolist()
    assert one.low.tolist() == again.low.tolist()


@pytest.mark.heavy
def test_bands_grow_away_from_the_runs_and_hold_the_median() -> None:
    found = analysis.forecaster(table())
    size = np.geomspace(3e8, 1.5e11, 30)
    forecast = found.predict({"N": size, "D": 20 * size})
    width = np.log(forecast.high / forecast.low)
    assert ((forecast.low > 0) & (forecast.low < forecast.median) & (forecast.median < forecast.high)).all()
    assert width[-1] > 5 * width[0]
    run = found.predict({"N": size, "D": 20 * size}, of="run")
    assert ((run.low < forecast.low) & (run.high > forecast.high)).all()


@pytest.mark.heavy
def test_a_forecast_says_how_far_it_is_beyond_the_runs() -> None:
    assert beyond(np.array([0.5, 1.0, 3.0, 8.0]), np.array([1.0, 4.0])).tolist() == [0.5, 1.0, 1.0, 2.0]
    runs = table()
    largest = runs["N"].max()
    found = analysis.forecaster(runs).predict({"N": 10 * largest, "D": float(np.median(runs["D"]))})
    assert found.beyond["N"].tolist() == pytest.approx([10.0])
    assert found.beyond["D"].tolist() == [1.0]
    assert "10x in N" in found.headline()[0]


@pytest.mark.heavy
def test_a_target_beyond_what_has_been_checked_is_marked_and_one_beyond_any_law_refused() -> None:
    runs = table()
    found = analysis.forecaster(runs, units={"N": 1e6})
    n, d = float(runs["N"].max()), float(runs["D"].max())
    compute = float(6 * (runs["N"] * runs["D"]).max())
    assert "checked up to 100x" not in found.predict({"N": n, "D": d}).headline()[0]
    assert "bands have been checked up to 100x" in found.predict({"N": 200 * n, "D": d}).headline()[0]
    assert found.predict({"N": 9000 * n, "D": d / 1000}).median[0] > 0
    limit = f"N is 2e+04 times above the runs (at most 10,000 times, so N up to {n * 1e4:.3g})"
    with pytest.raises(InputError, match=re.escape(limit)):
        found.predict({"N": [n, 2e4 * n], "D": [d, d]})
    with pytest.raises(InputError, match=r"N is 2e\+04 times below the runs"):
        found.predict({"N": float(runs["N"].min()) / 2e4, "D": d})
    with pytest.raises(InputError, match=re.escape(f"compute up to {compute * 1e4:.3g}")):
        found.best(1e40 * compute)
    assert found.best(9e3 * compute).median[0] > 0


@pytest.mark.heavy
def test_few_runs_claim_nothing() -> None:
    runs = table(budgets=2, each=4)
    found = analysis.forecaster(runs)
    assert "claim nothing" in found.predict(AHEAD).warnings[-1]
    assert "8 runs at 2 budgets (needed: 12 runs at 3 budgets)" in found.predict(AHEAD).headline()[-1]
    assert analysis.rollouts(runs).rollouts == ()


@pytest.mark.heavy
def test_a_large_table_is_thinned_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecaster, "MOST_ROWS", 40)
    found = analysis.forecaster(table(), all_rows=True)
    assert found.rows == 40
    assert "learnt from 40 of 48 runs" in found.warnings[-1]


@pytest.mark.heavy
def test_a_thousand_rows_take_seconds() -> None:
    runs = table(budgets=10, each=100)
    begun = time.process_time()
    analysis.forecaster(runs, all_rows=True)
    assert time.process_time() - begun < 10  # 0.7 measured with one thread


@pytest.mark.heavy
def test_further_inputs_change_the_forecast() -> None:
    runs = table()
    unique = np.where(np.arange(48) % 2, runs["D"], runs["D"] / 8)
    runs = {**runs, "U": unique, "loss": runs["loss"] * (runs["D"] / unique) ** 0.02}
    found = analysis.forecaster(runs, x={"N": "N", "D": "D", "U": "U"})
    once, often = found.predict({"N": 1e9, "D": 2e10, "U": np.array([2e10, 2.5e9])}).median
    assert 1.02 < often / once < 1.06  # planted: 8**0.02 = 1.042


@pytest.mark.heavy
def test_the_best_run_of_a_budget_is_the_lowest_of_its_forecasts() -> None:
    found = analysis.forecaster(table())
    best = found.best(1e21)
    size, tokens = float(best.inputs["N"][0]), float(best.inputs["D"][0])
    assert 6 * size * tokens == pytest.approx(1e21)
    near = size * np.geomspace(0.2, 5, 41)
    assert found.predict({"N": near, "D": 1e21 / 6 / near}).median.min() >= float(best.median[0]) * (1 - 1e-4)


@pytest.mark.heavy
def test_the_best_run_of_a_budget_does_not_depend_on_units() -> None:
    best = analysis.forecaster(table()).best(1e21)
    divided = analysis.forecaster(table(), units={"N": 1e12, "D": 1e6}).best(1e21)
    assert divided.inputs["N"] == pytest.approx(best.inputs["N"])
    assert divided.median == pytest.approx(best.median, rel=1e-6)


@pytest.mark.heavy
def test_runs_of_one_ratio_tell_no_best_split_of_a_budget() -> None:
    n = np.geomspace(1e7, 1e9, 24)
    runs = {"N": n, "D": 20 * n * np.resize([0.9, 1.1], 24), "loss": 1.7 + 400 / n**0.34 + 1500 / (20 * n) ** 0.3}
    found = analysis.forecaster(runs)
    with pytest.raises(
        InputError, match="all runs have about D = 20 N: they do not determine the best N and D of a budget"
    ):
        found.best(1e21)
    assert found.predict({"N": 2e9, "D": 4e10}).low[0] > 1.7


@pytest.mark.heavy
def test_points_of_learning_curves_are_not_called_runs() -> None:
    runs = table()
    curves = {name: np.repeat(column, 3) for name, column in runs.items()}
    curves["D"] = curves["D"] * np.resize([0.5, 0.75, 1.0], 144)
    curves["run"] = np.repeat(np.arange(48), 3)
    head = analysis.forecaster(curves).headline()
    assert "learnt from 144 rows of 48 runs at" in head[0]
    assert any("the bands count 144 rows, not 48 runs, and may be too narrow" in line for line in head)
    assert "learnt from 48 runs at" in analysis.forecaster(runs).headline()[0]


@pytest.mark.heavy
def test_a_fit_and_its_observations_can_be_forecast_from() -> None:
    runs = table()
    fit = analysis.fit(runs, "additive")
    one, other = analysis.forecaster(fit), analysis.forecaster(fit.observations)
    assert one.law.name == "skaling"
    assert one.predict(AHEAD).median.tolist() == other.predict(AHEAD).median.tolist()
    assert analysis.forecaster(analysis.fit(runs, "power_asymptote", x="N")).law.name == "power_asymptote"
    low, high = extrapolation_band(fit, 0.9)(AHEAD)
    assert low.tolist() == one.predict(AHEAD, 0.9).low.tolist()
    assert high.tolist() == one.predict(AHEAD, 0.9).high.tolist()


@pytest.mark.heavy
def test_faults_are_named_together() -> None:
    found = analysis.forecaster(table())
    for at, message in (
        ({"N": 1e9}, "D missing"), ({"N": 1e9, "D": -1.0}, "positive"), (7e9, "accepted: a mapping"),
        ({"N": 1e9, "D": 1e9, "Q": 1}, "'Q' is no input"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            found.predict(at)  # type: ignore[arg-type]
    with pytest.raises(InputError) as caught:
        found.predict(AHEAD, level=2.0, of="both")  # type: ignore[arg-type]
    assert len(caught.value.faults) == 2
    with pytest.raises(InputError, match="law"):
        analysis.forecaster(table(), law=3)  # type: ignore[arg-type]


@pytest.mark.heavy
def test_a_law_that_turns_negative_is_refused_where_it_does() -> None:
    size = np.geomspace(1e7, 1e9, 20)
    runs = {"N": size, "loss": 3 - np.log10(size / 1e7)}
    found = analysis.forecaster(runs, "a - b * log10(N)", x={"N": "N"}, y="loss")
    assert found.predict({"N": 2e9}).median[0] < 1
    with pytest.raises(InputError, match="no positive, finite loss"):
        found.predict({"N": 1e12})


@pytest.mark.heavy
def test_results_show_themselves_and_are_plain_json() -> None:
    found = analysis.forecaster(table())
    record = analysis.rollouts(found)
    for result in (found, found.predict(AHEAD), record):
        json.dumps(result.to_dict(), allow_nan=False)
        assert result.headline()
        assert result.summary()
    assert [one.cut for one in record.rollouts] == ["budget 4", "budget 5", "budget 6", "last decade"]
    assert all(one.scores["mean_abs_error"] < 0.02 for one in record.rollouts)


def test_scores_are_those_of_the_definition() -> None:
    found = score(bands(np.array([[2.0], [1.9], [2.1], [1.8], [2.2], [1.7], [2.3]])), np.array([2.4]))
    assert found["coverage_95"] == found["coverage_50"] == 0
    assert found["width_95"] == pytest.approx(0.6 / 2.4)
    assert found["interval_score"] == pytest.approx((0.6 + 40 * 0.1) / 2.4)


@pytest.mark.heavy
def test_published_runs_are_forecast_better_than_by_the_additive_law() -> None:
    """Hoffmann et al. 2022, figure 4: the last decade of compute from the runs below it."""
    path = SHARED / "chinchilla_figure4.csv"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    runs = pl.read_csv(path)
    size, flops, losses = (runs[name].to_numpy() for name in ("Model Size", "Training FLOP", "loss"))
    columns, known = {"N": size, "D": flops / 6 / size}, flops < flops.max() / 10
    below = {**{name: column[known] for name, column in columns.items()}, "loss": losses[known]}
    ahead = {name: column[~known] for name, column in columns.items()}
    found = analysis.forecaster(below, all_rows=True).predict(ahead, of="run")
    assert np.mean(np.abs(found.median / losses[~known] - 1)) < 0.008  # .0145 by the additive law
    assert np.mean((found.low <= losses[~known]) & (losses[~known] <= found.high)) > 0.9


def test_budgets_are_clusters_of_compute_or_thirds_of_a_decade() -> None:
    assert budgets_of(np.repeat([1e18, 1.05e19, 1e20], 5) * 1.03).tolist() == np.repeat([0, 1, 2], 5).tolist()
    assert budgets_of(10 ** np.linspace(0, 1, 7)).max() == 3
