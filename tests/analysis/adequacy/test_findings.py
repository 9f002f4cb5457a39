"""The numbers of findings against textbook tests, and thresholds at their edges."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sweeplaw import analysis
from sweeplaw.analysis.adequacy.below_the_law import asymptote, below_best_loss
from sweeplaw.analysis.adequacy.budgets import along, budgets
from sweeplaw.analysis.adequacy.held_out_budget import held_out_budget
from sweeplaw.analysis.adequacy.identified import narrow
from sweeplaw.analysis.adequacy.lack_of_fit import chance, lack_of_fit, replicates
from sweeplaw.analysis.adequacy.points import orthonormal, points, robust_scale
from sweeplaw.analysis.adequacy.reach import distance, require_reach, too_far, unchecked
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.trials.errors import InputError

Array = np.ndarray
SPREAD = 1.0


def line(x: Array, noise: Array) -> Fit:
    """Return the fit of a plain power law, which is a straight line in the logs, to losses with this noise."""
    return analysis.fit({"x": x, "loss": 50 * x**-0.1 * np.exp(noise)}, "power", "ls", space="log", all_rows=True)


def squares(x: Array, fit: Fit, degree: int) -> float:
    logs, z = np.log(x) - np.log(x).mean(), np.log(fit.observations.losses)
    return float(np.sum((z - np.polyval(np.polyfit(logs, z, degree), logs)) ** 2))


def test_lack_of_fit_of_a_line_is_the_f_test_of_its_second_and_third_power() -> None:
    x, noise = np.geomspace(1e6, 1e9, 12), 0.01 * np.random.default_rng(0).standard_normal(12)
    fit = line(x, noise)
    straight, cubic = squares(x, fit, 1), squares(x, fit, 3)
    found = lack_of_fit(points(fit), SPREAD).numbers
    f = (straight - cubic) / 2 / (cubic / 8)
    assert (found["terms"], found["degrees_of_freedom"]) == (2, 8)
    assert found["f"] == pytest.approx(f, rel=1e-6)
    assert found["p_value"] == pytest.approx(stats.f.sf(f, 2, 8), rel=1e-6)
    assert found["misfit_of_loss"] == pytest.approx(np.sqrt((straight - cubic) / 12), rel=1e-6)
    assert found["noise_of_loss"] == pytest.approx(np.sqrt(cubic / 8), rel=1e-6)
    noncentral = 12 * (found["detectable_of_loss"] / found["noise_of_loss"]) ** 2
    assert stats.ncf.sf(stats.f.isf(0.01, 2, 8), 2, 8, noncentral) == pytest.approx(
        0.9, abs=1e-5
    )  # as exactly as SciPy inverts it


@pytest.mark.parametrize(("rows", "terms"), [(5, None), (6, 1), (7, 2)])
def test_few_rows_are_tested_for_fewer_terms(rows: int, terms: int | None) -> None:
    """Three degrees of freedom are left for the noise, or nothing is tested."""
    found = lack_of_fit(points(line(np.geomspace(1e6, 1e9, rows), 0.01 * np.cos(np.arange(rows)))), SPREAD)
    assert found.numbers.get("terms") == terms
    assert (found.verdict == "unknown") == (terms is None)


def test_replicates_are_fishers_test_of_pure_error() -> None:
    x = np.repeat(np.geomspace(1e6, 1e9, 6), 3)
    fit = line(x, 0.01 * np.random.default_rng(1).standard_normal(18))
    here, z = points(fit), np.log(fit.observations.losses).reshape(6, 3)
    pure = float(np.sum((z - z.mean(axis=1, keepdims=True)) ** 2))
    lack = squares(x, fit, 1) - pure
    assert here.pure_squares == pytest.approx(pure, rel=1e-6)
    assert (here.pure_freedom, here.relative, here.params, len(here.residual)) == (12, 1.0, 2, 6)
    assert here.weight.tolist() == [3.0] * 6
    found = replicates(here, SPREAD)
    assert found is not None
    assert (found.numbers["terms"], found.numbers["degrees_of_freedom"]) == (4, 12)
    assert found.numbers["f"] == pytest.approx(lack / 4 / (pure / 12), rel=1e-6)
    assert found.numbers["noise_of_loss"] == pytest.approx(np.sqrt(pure / 12), rel=1e-6)
    assert found.numbers["misfit_of_loss"] == pytest.approx(np.sqrt(lack / 18), rel=1e-6)


def test_residuals_in_the_raw_loss_become_parts_of_the_median_loss() -> None:
    x = np.geomspace(1e6, 1e9, 9)
    losses = 2 + 1e3 * x**-0.4 + 0.001 * np.cos(np.arange(9))
    fit = analysis.fit({"x": x, "loss": losses}, "power_asymptote", "ls", space="raw", all_rows=True)
    assert points(fit).relative == pytest.approx(1 / np.median(losses))


def test_losses_below_the_asymptote_are_counted() -> None:
    x = np.geomspace(1e3, 1e6, 30)
    losses = 3.28 + 30 / x**0.5
    losses[[7, 20]] = 3.2, 3.1
    found = asymptote(analysis.fit({"x": x, "loss": losses}, "power_asymptote", space="log"), 0.001)
    assert found is not None
    assert (found.numbers["losses_below"], found.numbers["lowest_loss"]) == (2, 3.1)
    assert "is above 2 observed losses, the lowest 3.1" in found.sentence


def surface() -> tuple[Array, Array, Array]:
    flops = np.repeat(np.geomspace(1e18, 1e21, 5), 9)
    n = 0.1 * (flops / 6) ** 0.5 * np.exp(np.tile(np.linspace(-1.5, 1.5, 9), 5))
    d = flops / 6 / n
    return n, d, 1.69 + 406.4 / n**0.34 + 410.7 / d**0.28


@pytest.mark.heavy
def test_budgets_whose_best_run_beats_the_law_are_counted_and_measured() -> None:
    n, d, losses = surface()
    exact = analysis.fit({"N": n, "D": d, "loss": losses}, space="log", all_rows=True)
    best = 9 * np.arange(5) + np.argmin(losses.reshape(5, 9), axis=1)
    c = 6 * n[best] * d[best]
    sizes = np.exp(np.linspace(-3, 3, 4001))[:, None] * n[best]
    least = np.min(1.69 + 406.4 / sizes**0.34 + 410.7 / (c / 6 / sizes) ** 0.28, axis=0)
    above = below_best_loss(exact, 0.003)
    assert above is not None
    assert above.numbers["budgets_beaten"] == 0
    assert above.numbers["lowest_gap_of_loss"] == pytest.approx(np.log(losses[best] / least).min(), abs=1e-5)
    for beaten, verdict in ((1, "passed"), (2, "failed")):
        low = losses.copy()
        low[best[1 : 1 + beaten]] *= 0.97
        found = below_best_loss(analysis.fit({"N": n, "D": d, "loss": low}, space="log", all_rows=True), 0.001)
        assert found is not None
        assert (found.numbers["budgets_beaten"], found.verdict) == (beaten, verdict)


def test_the_errors_on_the_largest_budget_are_those_of_both_laws() -> None:
    n, d, losses = surface()
    fit = analysis.fit({"N": n, "D": d, "loss": losses}, space="log", all_rows=True)
    logs = np.stack([np.ones(45), np.log(n), np.log(d)], axis=1)
    plain = np.linalg.lstsq(logs[:36], np.log(losses[:36]), rcond=None)[0]
    found = held_out_budget(fit, 0.001)
    assert found is not None
    assert (found.verdict, found.numbers["rows"]) == ("passed", 9)
    assert found.numbers["error_of_loss"] < 1e-5
    error = np.sqrt(np.mean((logs[36:] @ plain - np.log(losses[36:])) ** 2))
    assert found.numbers["plain_power_law_error_of_loss"] == pytest.approx(error, rel=1e-6)


def test_budgets_repeat_within_a_tenth_of_a_log_or_are_thirds_of_a_decade() -> None:
    step = np.array([0.0, 0.099, 0.198, 0.297])  # of one budget: each is within .1 of the one before
    repeated = np.exp(np.concatenate([step, 5 + step]))
    assert budgets({"N": repeated, "D": np.ones(8)}).tolist() == [0] * 4 + [1] * 4
    wide = np.exp(np.concatenate([0.0999 * np.arange(7), 5 + step]))  # a chain of .6 is no budget
    assert budgets({"N": wide, "D": np.ones(11)}).tolist() == [0] * 7 + [1] * 4
    apart = 10.0 ** np.array([0, 0.3, 0.34, 0.6, 0.67, 5.0])
    assert budgets({"N": apart, "D": np.ones(6)}).tolist() == [0, 0, 1, 1, 2, 3]
    twelve = np.geomspace(1, 1e3, 12)
    assert along(np.repeat(twelve, 2)).tolist() == np.repeat(np.arange(12), 2).tolist()
    assert along(np.geomspace(1, 1e3, 13)).max() == 9, "more than twelve are thirds of three decades"


def test_robust_scales_and_bases() -> None:
    assert robust_scale(np.array([1.0, -1.0] * 4), 1) == pytest.approx(np.sqrt(8 / 7) / 0.6745)
    assert robust_scale(np.array([0.0, 0.0, 0.0, 4.0]), 0) == pytest.approx(2.0), "most rows have no residual"
    assert robust_scale(np.array([1.0, -1.0]), 5) == pytest.approx(np.sqrt(2) / 0.6745)
    twice = orthonormal(np.array([[1.0, 2.0], [0.0, 0.0], [1.0, 2.0]]))
    assert np.abs(twice).ravel() == pytest.approx([0.5**0.5, 0, 0.5**0.5])
    assert orthonormal(np.zeros((3, 0))).shape == (3, 0)


@pytest.mark.parametrize(("p", "words"), [(0.0234, "= 0.02"), (1e-4, "= 0.0001"), (9.9e-5, "< 0.0001")])
def test_p_values_in_words(p: float, words: str) -> None:
    assert chance(p) == words


def test_how_far_beyond_the_runs_bands_and_laws_reach() -> None:
    assert distance(np.array([4.0, 0.25, 1.0])).tolist() == [4.0, 4.0, 1.0]
    assert [unchecked(factor) for factor in (100.0, 0.01)] == ["", ""]
    assert unchecked(101.0) == unchecked(1 / 101) == " (bands have been checked up to 100x)"
    assert too_far(1e4) == ""
    assert "20000 times" in too_far(2e4).replace("2e+04", "20000")
    ends = {"N": (2.0, 8.0)}
    require_reach({"N": np.array([1e4, 1e-4]), "C": np.array(1.0)}, ends)
    with pytest.raises(
        InputError, match=r"N is 2e\+04 times above the runs \(at most 10,000 times, so N up to 8e\+04\)"
    ):
        require_reach({"N": np.array([1.0, 2e4])}, ends)
    with pytest.raises(
        InputError, match=r"N is 2e\+04 times below .* so N down to 0.0002\)\n  - C is 3e\+04 times above .*s\)"
    ):
        require_reach({"N": np.array([5e-5, 1.5e4]), "C": np.array([3e4])}, ends)


def test_an_input_needs_to_span_a_factor_of_two() -> None:
    def remarks(factor: float) -> tuple[str, ...]:
        return narrow(line(np.geomspace(1e6, factor * 1e6, 6), 0.001 * np.cos(np.arange(6))))

    assert remarks(2.0) == ()
    assert remarks(1.9) == ("x spans only a factor 1.9, and the law needs 2 to say how the loss depends on it",)
