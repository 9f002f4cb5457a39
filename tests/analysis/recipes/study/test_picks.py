"""Picks on one half of the validation set: their optimism against theory, and what they are reported as."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from sweeplaw import analysis
from sweeplaw.trials.errors import InputError


def equal_settings(noise: float, settings: int, places: int = 400, seeds: int = 1) -> pl.DataFrame:
    """Return settings that are all equally good, with independent noise on both halves."""
    rng = np.random.default_rng(0)
    n, lr, seed = (axis.ravel() for axis in np.meshgrid(range(places), range(settings), range(seeds), indexing="ij"))
    a, b = 3 + noise * rng.standard_normal((2, len(n)))
    return pl.DataFrame({"N": n, "lr": lr, "seed": seed, "val_loss_a": a, "val_loss_b": b})


def test_the_optimism_of_the_best_of_many_equals_the_expected_least_of_normal_draws():
    found = analysis.split_picks(equal_settings(0.01, 16), ["N"], ["lr"])
    assert found.optimism == pytest.approx(1.766 * 0.01, rel=0.05)  # E max of 16 standard normals
    assert np.mean([one.reported for one in found.picks]) == pytest.approx(3, abs=0.001)
    averaged = analysis.split_picks(equal_settings(0.01, 16, seeds=4), ["N"], ["lr"])
    assert averaged.optimism == pytest.approx(1.766 * 0.005, rel=0.05)


def test_a_clearly_best_setting_is_picked_by_both_halves_without_optimism():
    table = equal_settings(0.001, 5, 3).with_columns(
        pl.col("val_loss_a", "val_loss_b") + pl.when(pl.col("lr") == 2).then(0.0).otherwise(0.1)
    )
    found = analysis.split_picks(table, ["N"], ["lr"])
    assert all(one.agree and one.first == {"lr": 2} and one.tried == 5 for one in found.picks)
    assert abs(found.optimism) < 0.002
    assert "both halves pick the same setting at 3 of 3 places" in found.summary()
    assert found.to_dict()["picks"][0]["agree"]


def test_rows_without_both_halves_are_left_out_and_none_is_refused():
    table = equal_settings(0.01, 3, 2)
    assert analysis.split_picks(table.with_columns(val_loss_b=pl.when(pl.col("lr") > 0).then("val_loss_b")), ["N"],
                                ["lr"]).picks[0].tried == 2  # fmt: skip
    with pytest.raises(InputError, match="no run has a finite val_loss_a and val_loss_b"):
        analysis.split_picks(table.with_columns(val_loss_b=pl.lit(None, pl.Float64)), ["N"], ["lr"])
    with pytest.raises(InputError, match="val_loss_b"):
        analysis.split_picks(table.drop("val_loss_b"), ["N"], ["lr"])
