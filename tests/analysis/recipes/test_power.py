"""Power and corrections: published tables of sample sizes, and Holm's own example."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sweeplaw.analysis.recipes.power import chance, detectable, half_width, holm, p_text, p_value, runs_needed


@pytest.mark.parametrize(("effect", "runs"), [(0.2, 199), (0.5, 34), (0.8, 15)])  # G*Power, paired t, two-sided .05
def test_the_number_of_pairs_is_that_of_the_usual_tables(effect, runs):
    assert runs_needed(effect, 1.0, 0.95) == runs
    assert chance(effect, 1.0, runs, 0.95) >= 0.8 > chance(effect, 1.0, runs - 1, 0.95)


def test_the_chance_is_the_share_of_simulated_tests_that_find_the_difference():
    draws = np.random.default_rng(0).normal(0.7, 1.0, (20_000, 12))
    found = np.mean(stats.ttest_1samp(draws, 0.0, axis=1).pvalue < 0.05)
    assert chance(0.7, 1.0, 12, 0.95) == pytest.approx(found, abs=0.01)


def test_the_detectable_difference_is_found_with_the_power_asked_for():
    found = detectable(2.0, 5, 0.95)
    assert found is not None
    assert chance(found, 2.0, 5, 0.95) == pytest.approx(0.8, abs=1e-6)
    assert detectable(2.0, 1, 0.95) is None
    assert detectable(0.0, 4, 0.95) == 0.0


@pytest.mark.heavy
def test_there_is_a_chance_for_every_difference_and_number_of_runs():
    """scipy's noncentral t has no number for some of them (NaN)."""
    rng = np.random.default_rng(0)
    for runs in (2, 3, 6, 16, 32, 80, 400, 5000):
        found = [chance(effect, 1.0, runs, 0.95) for effect in np.sort(10 ** rng.uniform(-6, 1, 60))]
        assert np.all(np.isfinite(found))
        assert np.all(np.diff(found) > -0.02)
        smallest = detectable(0.01, runs, 0.95)
        assert smallest is not None
        assert chance(smallest, 0.01, runs, 0.95) == pytest.approx(0.8, abs=0.01)


def test_a_difference_out_of_reach_has_no_number_of_runs():
    assert runs_needed(1e-6, 1.0, 0.95) is None
    assert runs_needed(0.0, 1.0, 0.95) is None
    assert runs_needed(1.0, 0.0, 0.95) == 2


def test_intervals_and_p_values_agree_with_scipy():
    values = np.array([0.3, 0.1, 0.5, 0.2])
    known = stats.ttest_1samp(values, 0.0)
    error = values.std(ddof=1) / 2
    assert p_value(values.mean(), error, 3) == pytest.approx(known.pvalue)
    assert values.mean() + half_width(error, 3, 0.95) == pytest.approx(known.confidence_interval(0.95).high)
    assert p_value(0.0, 0.0, 3) == 1.0
    assert p_value(0.1, 0.0, 3) == 0.0


def test_holm_multiplies_by_the_number_of_hypotheses_left():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, None, 0.9]) == [1.0, None, 1.0]
    assert holm([]) == []


def test_a_p_value_is_never_zero_in_a_table() -> None:
    smallest = p_value(-0.0216, 0.0002, 1749)
    assert smallest == 0.0, "of 108 standard errors, which no float holds"
    assert [p_text(p) for p in (None, smallest, 1e-93, 0.0414)] == ["–", "< 1e-300", "1e-93", "0.041"]
