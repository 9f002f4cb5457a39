"""The parts of a fit's noise, each against a closed form: groups, growing spread, weights, draws of runs, kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from scipy import stats
from scipy.integrate import quad

from sweeplaw.analysis.fitting.checks import Dropped, Observations, name_rows
from sweeplaw.analysis.fitting.deviance import DevianceScale, deviance_factors
from sweeplaw.analysis.fitting.noise.groups import RowGroups, by_number, candidates, crossed, curves, labels_of, nested
from sweeplaw.analysis.fitting.noise.heteroscedastic import Growth, replicates
from sweeplaw.analysis.fitting.noise.noise import INDEPENDENT, Noise
from sweeplaw.analysis.fitting.noise.run_noise import run_noise
from sweeplaw.analysis.fitting.noise.shared import Test as GroupTest
from sweeplaw.analysis.fitting.noise.shared import draws_for
from sweeplaw.analysis.fitting.noise.smooth import kernel, smooth
from sweeplaw.analysis.fitting.noise.weights import inverse_variances
from sweeplaw.analysis.fitting.uncertainty import percentile

Array = np.ndarray
GROWING = Growth(np.array([0.5]), np.array([2.0]), (-1.0, 1.0), 0.001)


def groups(*labels: int, name: str = "size", plural: str = "sizes") -> RowGroups:
    return RowGroups(name, np.array(labels), plural)


def observed(**columns: Sequence[float]) -> Observations:
    frame = pl.DataFrame(columns)
    inputs: dict[str, Array] = {name: frame[name].to_numpy().astype(float) for name in ("N", "D") if name in columns}
    ones = np.ones(frame.height)
    return Observations(inputs, ones, ones, np.arange(frame.height), frame, {}, {}, (), ())


@pytest.mark.parametrize("delta", [0.3, 1.0, 4.0])
def test_the_weight_of_a_row_is_that_of_hubers_penalty_for_normal_noise(delta: float) -> None:
    for spread in (0.2, 1.0, 3.0):
        density = stats.norm(scale=spread).pdf
        inside = quad(density, -delta, delta)[0]
        square = quad(lambda r, f=density: r**2 * f(r), -delta, delta)[0] + delta**2 * (1 - inside)
        assert inverse_variances(np.array([spread]), delta)[0] == pytest.approx(inside / square, rel=1e-6)
    assert inverse_variances(np.array([0.5, 2.0]), math.inf).tolist() == [4.0, 0.25]


def test_draws_of_a_run_have_the_variance_of_residuals_a_kernel_and_an_unknown_spread() -> None:
    residual, logs = np.tile([1.0, -1.0], 20), [np.zeros(40)]
    drawn = run_noise(residual, 4, INDEPENDENT, logs, [np.zeros(2)], 100_000, 0)
    width = 0.9 * math.sqrt(40 / 36) * 40**-0.2
    assert drawn.shape == (100_000, 2)
    assert drawn.var(axis=0) == pytest.approx((40 / 36 + width**2) * 36 / 34, rel=0.02)
    far = run_noise(residual, 4, Noise(growth=GROWING), [np.full(40, 2.0)], [np.array([4.0])], 100_000, 0)
    assert far.std() == pytest.approx(math.e * drawn[:, 0].std(), rel=0.02)
    assert np.isinf(run_noise(residual[:4], 4, INDEPENDENT, logs, [np.zeros(3)], 5, 0)).all()


def test_a_spread_grows_with_the_inputs_and_stays_beyond_those_seen() -> None:
    assert GROWING.at([np.array([2.0, 3.0, 4.0, 9.0, -9.0])]) == pytest.approx(np.exp([0, 0.5, 1, 1, -1]))
    noise = Noise(growth=GROWING, relative=np.array([1.0, 2.0]), ends=(0.01, 0.025))
    assert (noise.clear, Noise(relative=np.array([1.0, 1.99])).clear, INDEPENDENT.clear) == (True, False, False)
    again = Noise((groups(0, 1),), (0.5,)).with_weights(noise)
    assert (again.growth, again.ends, again.relative, again.weighted) == (GROWING, (0.01, 0.025), noise.relative, True)


@pytest.mark.parametrize(("points", "each", "alone", "known"), [(20, 2, 0, True), (19, 2, 0, False), (10, 3, 0, True),
                                                                (20, 2, 40, True), (20, 2, 41, False)])  # fmt: skip
def test_replicates_tell_the_spread_from_twenty_degrees_of_freedom_and_half_of_the_rows_on(
    points: int, each: int, alone: int, known: bool
) -> None:
    place = np.concatenate([np.repeat(np.arange(points), each), 100 + np.arange(alone)]).astype(float)
    residual = np.random.default_rng(0).standard_normal(len(place))
    found = replicates(residual, [place])
    assert (found is not None) == known
    if found is not None:
        own, several = found
        assert several.tolist() == [True] * (points * each) + [False] * alone
        means = residual[: points * each].reshape(points, each)
        assert own.values == pytest.approx((means - means.mean(axis=1, keepdims=True)).ravel())


def test_divisions_of_rows() -> None:
    rows = groups(0, 0, 1, 2)
    assert rows.count == 3
    assert rows.take(np.array([0, 2])).labels.tolist() == [0, 1]
    assert rows.take(np.array([3, 3])).labels.tolist() == [0, 0]
    assert nested(np.array([0, 1, 2, 2]), np.array([0, 0, 1, 1]))
    assert not nested(np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2]))
    assert crossed(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 0])).tolist() == [0, 1, 2, 2]
    assert labels_of(pl.DataFrame({"a": [2, 1, 2], "b": ["x", "x", "x"]})).tolist() == [1, 0, 1]


def test_sizes_are_equal_to_a_hundredth_and_budgets_to_a_tenth_of_their_logarithm() -> None:
    sizes = observed(N=[1e6, 1.004e6, 1.02e6], D=[1.0, 1.0, 1.0])
    assert by_number(sizes, "size").labels.tolist() == [0, 0, 1]
    budgets = observed(N=[1e6, 2e6, 1e6], D=[2e9, 1e9, 3e9])
    assert by_number(budgets, "budget").labels.tolist() == [0, 0, 1]
    edge = observed(N=[math.exp(0.1049), math.exp(0.1051)], D=[1.0, 1.0])  # rounded, they would be two sizes
    assert by_number(edge, "size").labels.tolist() == [0, 0]
    assert (by_number(edge, "size").name, by_number(edge, "budget").plural) == ("size", "budgets")


@pytest.mark.parametrize(("runs", "rows", "known"), [(6, 2, True), (5, 2, False), (6, 1, False)])
def test_rows_of_a_run_are_a_learning_curve_from_six_runs_on(runs: int, rows: int, known: bool) -> None:
    names = np.repeat(np.arange(runs), rows)
    found = curves(observed(N=(1e6 * (1.0 + names)).tolist(), run=names.tolist()))
    assert (found is not None) == known
    if found is not None:
        assert (found.name, found.plural, found.labels.tolist()) == ("run", "runs", names.tolist())
    assert curves(observed(N=[1.0, 2.0] * 6, run=np.repeat(np.arange(6), 2).tolist())) is None, "a run has one size"


@pytest.mark.parametrize(("seeds", "rows", "known"), [(3, 30, True), (2, 30, False), (27, 30, True), (28, 30, False)])
def test_noise_may_be_shared_by_three_groups_or_more_that_have_runs_in_common(
    seeds: int, rows: int, known: bool
) -> None:
    found = candidates(observed(x=[0.0] * rows, seed=[float(min(row, seeds - 1)) for row in range(rows)]))
    assert [one.name for one in found] == (["seed"] if known else [])


def test_the_number_of_draws_and_when_a_test_fires() -> None:
    assert [draws_for(rows) for rows in (10, 500, 1000)] == [2000, 2000, 1000]
    assert [GroupTest(groups(0, 1), p, 1.0).fires for p in (0.0099, 0.01)] == [True, False]


def test_what_a_noise_says_of_itself() -> None:
    size, seed = groups(0, 0, 1, 1), groups(*range(12), name="seed", plural="seeds")
    both = Noise((size, seed), (0.5, 0.25), tested=True)
    assert (both.names, both.method, both.few) == ("size and seed", ", clustered by size and seed", True)
    assert (Noise((seed,)).few, Noise((size,)).few, INDEPENDENT.few) == (False, True, False)
    shared = "residuals are shared by runs of one size (correlation 0.5) and of one seed (correlation 0.25): intervals"
    rows = "(by='row', --by row, takes rows as independent)"
    assert list(both.sentences()) == [f"{shared} count 2 sizes and 12 seeds, not 4 independent rows {rows}"]
    assert list(both.sentences(True)) == [f"{shared} draw the effects of 2 sizes and 12 seeds anew {rows}"]
    (curve,) = Noise((groups(*range(12), name="run", plural="runs"),), (0.0,), tested=True).sentences(True)
    assert curve == f"the table has several rows of a run, which are not independent: intervals resample 12 runs {rows}"
    assert list(Noise((size,), (0.5,)).sentences()) == [], "it was asked for"
    changes = Noise(growth=GROWING, ends=(0.01, 0.025), relative=np.array([1.0, 2.5]), log=True)
    assert changes.method == ", for noise that changes with size"
    ends = "the noise changes with size: residuals of about 1 % for the smallest run and 2.5 % for the largest; "
    offer = ", the estimates do not (weights='noise', --weights noise, weights the rows by it)"
    assert list(changes.sentences()) == [f"{ends}intervals allow for it{offer}"]
    by = Growth(GROWING.slopes, GROWING.middle, GROWING.ends, 0.001, True)
    known = Noise(growth=by, ends=(0.01, 0.025), relative=np.array([1.0, 2.5]), weighted=True)
    assert list(known.sentences()) == [
        "the noise changes with size, by its replicates: residuals of about 0.01 for the smallest run and 0.025 for "
        "the largest; the rows are weighted by it, and intervals allow for it"
    ]
    assert known.values() == {
        "shared_by": [], "tested": False,
        "changes_with_size": {"smallest": 0.01, "largest": 0.025, "by": "replicates", "weighted": True},
    }  # fmt: skip
    assert both.values()["shared_by"] == [
        {"name": "size", "groups": 2, "correlation": 0.5}, {"name": "seed", "groups": 12, "correlation": 0.25},
    ]  # fmt: skip
    assert (both.values()["tested"], both.values()["changes_with_size"]) == (True, None)


def test_the_variance_of_a_misfit_is_its_quadratic_form() -> None:
    assert Noise(misfit=np.diag([2.0, 3.0])).variance_of_misfit(np.array([1.0, 2.0])) == 14.0
    assert INDEPENDENT.variance_of_misfit(np.ones(2)) == 0.0


def test_features_reproduce_the_rational_quadratic_kernel_and_leave_the_rest_as_variance() -> None:
    points = np.random.default_rng(0).standard_normal((30, 2))
    whole = kernel(points, points, 1.5)
    square = np.sum((points[0] - points[1]) ** 2)
    assert whole[0, 1] == pytest.approx(1 / (1 + square / (2 * 1.5**2)))
    found = smooth(points, 1.5)
    features, left = found.at(points)
    assert features @ features.T == pytest.approx(whole, abs=2e-3)
    assert left == pytest.approx(np.zeros(30), abs=2e-6)
    away, much = found.at(np.array([[1e6, 0.0]]))
    assert np.abs(away).max() < 1e-6
    assert much[0] == pytest.approx(1.0)


def test_the_deviance_of_least_squares_is_the_likelihood_ratio() -> None:
    residual, weights = np.array([[1.0, -2.0, 0.5, 1.5, -1.0]]), np.ones(5)
    variance = float(np.sum(residual**2)) / 3  # of five rows and two parameters
    assert deviance_factors(residual, weights, math.inf, 2) == pytest.approx(2 * 5 / variance)
    assert np.isnan(deviance_factors(residual, weights, math.inf, 5)).all()
    assert deviance_factors(np.zeros((1, 5)), weights, math.inf, 2)[0] > 1e299
    clipped = np.minimum(np.abs(residual), 1.25)
    inside = 3 / 5  # of the rows are within the threshold, which is wider than the kernel
    assert deviance_factors(residual, weights, 1.25, 2) == pytest.approx(2 * 5 * inside / (np.sum(clipped**2) / 3))
    assert DevianceScale(1.0, 7).threshold(0.9) == pytest.approx(stats.t.ppf(0.95, 7) ** 2)
    assert DevianceScale(1.0, 0).threshold(0.9) == math.inf


def test_intervals_of_draws_count_those_that_are_undefined() -> None:
    draws = np.arange(1000.0)
    whole = percentile(draws, 0.9, "drawn")
    assert [whole.low, whole.high] == pytest.approx([49.5, 949.5], abs=0.5)
    assert (whole.level, whole.method, whole.note) == (0.9, "drawn", "")
    some = percentile(np.append(draws, [math.nan, math.inf]), 0.9, "drawn")
    assert (some.note, some.high > whole.high) == ("undefined in 1 of 1002 resamples", True)
    none = percentile(np.array([math.nan]), 0.9, "drawn")
    assert (math.isnan(none.low), none.note) == (True, "undefined in every resample")


def test_rows_are_named_up_to_eight() -> None:
    assert name_rows([3]) == "row 3"
    assert name_rows(range(1, 9)) == "rows 1, 2, 3, 4, 5, 6, 7, 8"
    assert name_rows(range(1, 10)) == "rows 1, 2, 3, 4, 5, 6, 7, 8 and 1 more"
    assert Dropped("loss missing", (1, 4), 2).describe() == "2 loss missing, rows 1, 4"
    assert Dropped("loss missing", tuple(range(1, 1001)), 2000).describe().endswith("7, 8 and 1992 more")
    assert Dropped("not at the best setting", (), 5).describe() == "5 not at the best setting"
