"""Runs of one setting become one row, against the formulas of means and variances."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from sweeplaw.analysis.tuning.repeats import LOG_VARIANCE, SEED_STD, SEEDS, between_seeds, settings

RUNS = pl.DataFrame(
    {
        "N": [1, 1, 1, 2, 1],
        "lr": [0.1, 0.2, 0.1, 0.1, 0.1],
        "host": ["a", "b", "c", "d", "e"],
        "loss": [2.0, 3.0, 4.0, 5.0, 3.0],
    }
)


def test_losses_of_repeats_are_averaged_in_the_order_of_first_runs() -> None:
    found = settings(RUNS, ["N"], ["lr"], "loss", ["host"])
    assert found.select("N", "lr", "loss", SEEDS, SEED_STD, "host").rows() == [
        (1, 0.1, 3.0, 3, 1.0, "a"), (1, 0.2, 3.0, 1, None, "b"), (2, 0.1, 5.0, 1, None, "d"),
    ]  # fmt: skip
    logs = np.log([2, 4, 3])
    assert found[LOG_VARIANCE].to_list() == pytest.approx([((logs - logs.mean()) ** 2).sum(), 0, 0])


def test_values_that_differ_by_rounding_are_one_where_asked_for() -> None:
    close = RUNS.with_columns(lr=pl.Series([0.1, 0.2, 0.1 * (1 + 1e-9), 0.1, 0.1]))
    assert settings(close, ["N"], ["lr"], "loss")[SEEDS].to_list() == [2, 1, 1, 1]
    rounded = settings(close, ["N"], ["lr"], "loss", rounded=True)
    assert rounded.select("N", "lr", SEEDS).rows() == [(1, 0.1, 3), (1, 0.2, 1), (2, 0.1, 1)]
    assert set(rounded.columns) == {"N", "lr", "loss", SEEDS, SEED_STD, LOG_VARIANCE}


def test_the_noise_of_a_run_is_pooled_over_settings_with_repeats() -> None:
    deviation, freedom = between_seeds(settings(RUNS, ["N"], ["lr"], "loss"))
    assert freedom == 2
    assert deviation == pytest.approx(np.std(np.log([2, 4, 3]), ddof=1))
    single = settings(RUNS.head(2), ["N"], ["lr"], "loss")
    assert between_seeds(single) == (None, 0)
    equal = settings(RUNS.with_columns(loss=pl.lit(2.0)), ["N"], ["lr"], "loss")
    assert between_seeds(equal) == (None, 0), "equal losses tell nothing of the noise"
