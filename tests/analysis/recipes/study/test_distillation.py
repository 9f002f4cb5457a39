"""The share of an ensemble's gain that a student keeps: its value, its interval, and when there is none."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from sweeplaw import analysis
from sweeplaw.analysis.recipes.study.distillation import retained_shares, student_steps
from sweeplaw.analysis.recipes.study.study import recipe_limits
from sweeplaw.trials.errors import InputError
from tests.analysis.recipes.study.planted import known


def test_the_interval_is_that_of_the_delta_method_where_errors_are_small():
    single, student, teacher, errors = 3.57, 3.3635, 3.32, np.array([0.002, 0.001, 0.0015])
    found = analysis.retained_share(single, student, teacher, errors, draws=40_000)
    gain = single - teacher
    slopes = np.array([(student - teacher) / gain**2, -1 / gain, (single - student) / gain**2])
    half = 1.96 * np.sqrt(np.sum((slopes * errors) ** 2))
    assert [known(found.interval).low, known(found.interval).high] == pytest.approx(
        [found.share - half, found.share + half], abs=4e-4
    )


def test_planted_shares_are_covered_at_the_nominal_rate():
    rng, hits = np.random.default_rng(0), []
    truth, errors = np.array([3.6, 3.45, 3.4]), np.full(3, 0.01)
    for seed in range(300):
        losses = truth + errors * rng.standard_normal(3)
        single, student, teacher = losses
        found = analysis.retained_share(single, student, teacher, errors, draws=400, seed=seed + 1)
        hits.append(known(found.interval).low <= 0.75 <= known(found.interval).high)
    assert 0.91 <= np.mean(hits) <= 0.98


def test_no_share_of_no_gain_and_no_interval_of_a_gain_within_noise():
    none = analysis.retained_share(3.4, 3.35, 3.45)
    assert (none.share, none.interval) == (None, None)
    assert "no better than the single model" in none.summary()
    noisy = analysis.retained_share(3.4, 3.38, 3.39, (0.02, 0.02, 0.02))
    assert noisy.interval is None
    assert "beyond noise" in noisy.note
    assert analysis.retained_share(3.4, 3.35, 3.3).note == "no errors are known"


def test_a_student_is_set_against_the_largest_ensemble_and_the_best_single_model_of_its_size():
    rows = [
        ("tuned", 1e8, 1, 3.60), ("other", 1e8, 1, 3.70), ("tuned", 2e8, 1, 3.50), ("student", 1e8, 1, 3.42),
        *(("ensemble", 1e8, k, 3.35 + 0.4 / k) for k in (1, 2, 4, 8)),
    ]  # fmt: skip
    table = pl.DataFrame(rows, schema=["recipe", "N", "K", "loss"], orient="row").with_columns(U=pl.lit(1e8))
    study = recipe_limits(table, noise=0.002, draws=200)
    (found,) = retained_shares(study, "student", "ensemble")
    assert (found.single, found.student, found.teacher) == (3.60, 3.42, 3.40)
    assert found.share == pytest.approx(0.9)
    assert known(found.interval).low < 0.9 < known(found.interval).high
    (other,) = retained_shares(study, "student", "ensemble", "other")
    assert other.share == pytest.approx(0.28 / 0.3)
    (alone,) = retained_shares(study, "student", "ensemble", students=["tuned"])
    assert alone.single == 3.70, "another student is no single model"
    taught = pl.when(pl.col("recipe") == "tuned").then(1e18)
    (found,) = retained_shares(recipe_limits(table.with_columns(teacher_flops=taught), draws=0), "student", "ensemble")
    assert found.single == 3.70, "nor is what had teachers"
    with pytest.raises(InputError, match="no N and U in common"):
        retained_shares(recipe_limits(table.filter(pl.col("N") == 2e8).vstack(table.filter(
            pl.col("recipe") == "student")).vstack(table.filter(pl.col("recipe") == "ensemble")), draws=0),
            "student", "ensemble")  # fmt: skip
    with pytest.raises(InputError, match="did you mean 'student'"):
        retained_shares(study, "studnet", "ensemble")


def test_a_weight_that_leaves_no_real_data_is_refused():
    assert student_steps(100, 4, 0.0) == 400
    with pytest.raises(InputError, match="leaves no real data"):
        student_steps(100, 4, 1.0)
