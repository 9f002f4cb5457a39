"""Runs read for a study: odd values are refused in one message, unless no run has them that is used."""

from __future__ import annotations

import polars as pl
import pytest

from sweeplaw.analysis.recipes.limits.columns import read_runs
from sweeplaw.trials.errors import InputError


def table(**odd: list[float]) -> pl.DataFrame:
    sound = {"N": [1e6] * 6, "U": [1e7] * 6, "K": [1.0] * 6, "loss": [3.0] * 6}
    return pl.DataFrame(sound | odd)


def test_every_odd_value_is_said_in_one_message():
    inf, nan = float("inf"), float("nan")
    runs = table(
        loss=[nan, -1.0, inf, 3.0, 3.0, 3.0], N=[1e6, 1e6, 1e6, -5.0, 1e6, 1e6], U=[1e7, 1e7, 1e7, 1e7, 0.0, inf],
        K=[1.0, 1.0, 1.0, 1.5, 0.0, 1.0],
    )  # fmt: skip
    with pytest.raises(InputError) as caught:
        read_runs(runs)
    assert [fault.split(" (")[0] for fault in caught.value.faults] == [
        "loss = -1 in 1 row", "N = -5 in 1 row", "U = 0, inf in 2 rows", "K = 1.5, 0 in 2 rows",
    ]  # fmt: skip
    assert caught.value.hints == ("2 rows without N, U, loss or a finite loss left out",)


def test_infinite_n_and_k_are_limits_and_whole_k_is_accepted():
    inf = float("inf")
    assert read_runs(table(N=[inf, 1e6, 1e6, 1e6, 1e6, 1e6], K=[1.0, inf, 2.0, 3.0, 4.0, 5.0])).frame.height == 6


def test_malformed_texts_of_all_columns_are_said_in_one_message():
    runs = table().with_columns(N=pl.lit("big"), U=pl.Series(["1M", "much", "1M", "more", "1M", "much"]))
    with pytest.raises(InputError) as caught:
        read_runs(runs)
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["N", "U", "U"]
