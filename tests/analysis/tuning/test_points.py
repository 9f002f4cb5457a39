"""The loss of a point is unbiased where the lowest of many noisy settings is not; the noise of a run is recovered."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest
from scipy import stats

from sweeplaw.analysis.tuning.points import best_points
from sweeplaw.analysis.tuning.selection_bias import expected_lowest, selection_bias
from tests.paths import SHARED

NOISE = 0.004  # of the logarithm of the loss of one run; losses are about 2.5 nats
LRS, BATCHES = np.geomspace(1e-4, 1e-1, 9), np.geomspace(64, 8192, 7)


def runs(curvature: float, seeds: int, points: int = 20, noise: float = NOISE, random: int = 0) -> pl.DataFrame:
    """Return a grid of settings at each point, whose loss at the best ones is `truth`."""
    rng = np.random.default_rng(random)
    rows = []
    for n in np.geomspace(1e7, 1e9, points):
        truth = 1.8 + 480 / n**0.35
        for lr, batch, seed in itertools.product(LRS, BATCHES, range(seeds)):
            off = np.log(lr / (30 * n**-0.5)) ** 2 + 0.3 * np.log(batch / 800) ** 2
            rows.append((n, lr, batch, seed, (truth + curvature * off) * np.exp(noise * rng.normal()), truth))
    return pl.DataFrame(rows, schema=["N", "lr", "bs", "seed", "loss", "truth"], orient="row")


def errors(frame: pl.DataFrame, column: str) -> np.ndarray:
    """Return the error of the loss of each point."""
    found = best_points(frame, ["N"], ["lr", "bs"], "loss").frame.join(frame.select("N", "truth").unique(), on="N")
    return np.asarray((found[column] - found["truth"]).to_numpy())


@pytest.mark.heavy
@pytest.mark.parametrize(("curvature", "seeds"), [(0.05, 1), (0.05, 2), (0.0, 1), (0.0, 3)])
def test_the_loss_of_a_point_is_unbiased_where_the_lowest_mean_is_not(curvature, seeds):
    frame = runs(curvature, seeds)
    used, lowest = errors(frame, "used"), errors(frame, "lowest")
    assert abs(used.mean()) < 3 * used.std(ddof=1) / np.sqrt(len(used))
    assert abs(used.mean()) < 0.4 * 2.5 * NOISE / np.sqrt(seeds)
    if curvature == 0:  # 63 equal settings: 2.3 standard errors
        assert lowest.mean() < -2 * 2.5 * NOISE / np.sqrt(seeds)


def test_where_settings_truly_differ_nothing_is_added():
    frame = runs(curvature=3.0, seeds=2).filter(pl.col("bs") == pl.Series(BATCHES)[3])
    found = best_points(frame, ["N"], ["lr"], "loss").frame
    shift = (found["used"] - found["lowest"]).to_numpy()[(found["how"] == "corrected").to_numpy()]
    assert (np.abs(shift) < 2.5 * NOISE).all()


@pytest.mark.parametrize(("seeds", "origin"), [(3, "seeds"), (1, "neighbours")])
def test_the_noise_of_a_run_is_that_of_seeds_or_else_of_a_grid(seeds, origin):
    found = best_points(runs(0.02, seeds, points=10), ["N"], ["lr", "bs"], "loss")
    assert found.noise_origin == origin
    assert found.noise == pytest.approx(NOISE, rel=0.15)
    if seeds == 3:
        assert found.noise_freedom == 10 * len(LRS) * len(BATCHES) * 2


@pytest.mark.heavy
def test_the_noise_of_random_settings_is_that_about_quadratics():
    rng = np.random.default_rng(0)
    log_lr, log_batch = rng.uniform(-1, 1, (2, 8, 60))
    losses = 2.5 * np.exp(0.01 * log_lr**2 + 0.02 * log_batch**2 + NOISE * rng.normal(size=(8, 60)))
    columns = {"lr": np.exp(log_lr).ravel(), "bs": np.exp(log_batch).ravel(), "loss": losses.ravel()}
    found = best_points(
        pl.DataFrame({"N": np.repeat(np.geomspace(1e7, 1e9, 8), 60), **columns}), ["N"], ["lr", "bs"], "loss"
    )
    assert found.noise_origin == "residuals"
    assert found.noise == pytest.approx(NOISE, rel=0.1)


def test_without_seeds_or_a_grid_the_lowest_is_used_and_said_to_flatter():
    frame = pl.DataFrame({"N": [1e6, 1e6, 1e7, 1e7], "lr": [1.0, 2.0] * 2, "loss": [3.0, 3.1, 2.5, 2.4]})
    found = best_points(frame, ["N"], ["lr"], "loss")
    assert (found.noise, found.frame["how"].to_list()) == (None, ["lowest", "lowest"])
    assert found.losses.tolist() == [3.0, 2.4]
    assert "biased low" in found.notes()[1]
    repeated = best_points(pl.concat([frame, frame]), ["N"], ["lr"], "loss")  # equal repeats are no noise
    assert (repeated.noise, repeated.noise_freedom, repeated.noise_origin) == (None, 0, "")


def test_the_notes_name_no_range_of_nothing():
    far = runs(curvature=3.0, seeds=2, points=4, noise=1e-4).filter(pl.col("lr").is_in(LRS[::3].tolist()))
    notes = " ".join(best_points(far, ["N"], ["lr", "bs"], "loss").notes())
    assert "is raised by nothing to correct for its selection" in notes
    assert "0 to 0" not in notes


def test_seeds_are_averaged_before_the_best_setting_is_chosen_and_all_are_kept():
    losses = {1.0: [3.0, 3.0], 2.0: [2.8, 3.4], 4.0: [3.2, 3.3]}  # the lowest run is of the second setting
    rows = [(1e6, lr, seed, loss) for lr, each in losses.items() for seed, loss in enumerate(each)]
    frame = pl.DataFrame(rows, schema=["N", "lr", "seed", "loss"], orient="row")
    found = best_points(frame, ["N"], ["lr"], "loss")
    assert (found.frame["lr"][0], found.frame["seeds"][0], found.frame["lowest"][0]) == (1.0, 2, 3.0)
    assert found.rows.tolist() == [0, 1]
    assert np.ptp(found.losses) == 0  # moved by one amount, so the seeds differ as before


def test_without_knobs_every_run_is_used_as_it_is():
    frame = runs(0.02, 2, points=3)
    found = best_points(frame, ["N", "lr", "bs"], [], "loss")
    assert np.array_equal(found.rows, np.arange(frame.height))
    assert np.array_equal(found.losses, frame["loss"].to_numpy())
    assert (found.selected, found.notes()) == (False, ())


def test_a_quadratic_that_misses_its_settings_is_not_used():
    """The valley is a cusp, |log lr|, whose quadratic has its minimum above it by many times the noise."""
    rng = np.random.default_rng(0)
    rows = [
        (n, lr, seed, 2 + 0.03 * abs(np.log(lr / 3e-3)) + 1e-4 * rng.normal())
        for n in (1e6, 1e7)
        for lr in np.geomspace(1e-3, 1e-2, 15)
        for seed in (0, 1)
    ]
    frame = pl.DataFrame(rows, schema=["N", "lr", "seed", "loss"], orient="row")
    found = best_points(frame, ["N"], ["lr"], "loss").frame
    assert found["how"].to_list() == ["corrected", "corrected"]
    assert ((found["used"] - found["lowest"]).abs() < 3e-4).all()


def test_the_expected_lowest_of_equal_normal_values_is_the_tabulated_one():
    # Expected smallest order statistics of the standard normal distribution (Harter 1961, table 1).
    for count, expected in {2: -0.56419, 5: -1.16296, 10: -1.53875, 50: -2.24907}.items():
        assert expected_lowest(np.zeros(count), np.ones(count)) == pytest.approx(expected, abs=2e-5)
    means, spreads = np.array([0.3, 0.0]), np.array([1.0, 2.0])  # two values: Clark 1961, eq. 2
    gap = np.hypot(*spreads)
    exact = 0.3 * stats.norm.cdf(-0.3 / gap) - gap * stats.norm.pdf(0.3 / gap)
    assert expected_lowest(means, spreads) == pytest.approx(exact, abs=1e-5)


def test_a_single_setting_is_not_flattered():
    assert selection_bias(np.array([1.0]), np.array([0.1])) == 0
    assert selection_bias(np.array([1.0, 50.0]), np.array([0.1, 0.1])) == 0


@pytest.mark.heavy
def test_the_noise_of_the_dense_grid_of_the_step_law_is_a_tenth_of_a_percent():
    path = SHARED / "step_law_dense.csv"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    found = best_points(pl.read_csv(path), ["N", "D"], ["lr", "bs"], "loss")
    assert found.frame.height == len(found.rows) == 17
    assert found.noise == pytest.approx(0.001, rel=0.3)
    assert (found.frame["used"] >= found.frame["lowest"]).all()
    assert ((found.frame["used"] / found.frame["lowest"] - 1) < 0.002).all()


def test_points_whose_best_value_is_the_last_one_tried_are_counted():
    narrow = runs(curvature=0.5, seeds=2, points=10).filter(pl.col("lr") > 5e-3)  # the best of the larger half is below
    found = best_points(narrow, ["N"], ["lr", "bs"], "loss")
    edge = sum(row["how"] != "fitted" and row["lr"] == narrow["lr"].min() for row in found.frame.to_dicts())
    assert edge >= 5
    assert found.at_edge["lr"] == edge == found.values()["at_edge"]["lr"]
    assert any(f"has the lowest or highest lr tried at {edge} points" in note for note in found.notes())
    wide = best_points(runs(curvature=0.5, seeds=2, points=10), ["N"], ["lr", "bs"], "loss")
    assert not wide.at_edge
