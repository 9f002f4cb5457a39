"""Optima of cells: planted optima are recovered, and unsupported ones have a verdict that says so."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from sweeplaw.analysis.tables.levels import levels, snap
from sweeplaw.analysis.tuning.optimum import optima, unmeasured_cells
from sweeplaw.trials.errors import InputError
from tests.paths import SHARED

TABLE = SHARED / "step_law_dense.csv"


def bowl(
    lr: float = 0.002, batch: float = 2.0**18, noise: float = 0.0, seed: int = 0, lrs: np.ndarray | None = None
) -> pl.DataFrame:
    """Return a 10 x 8 grid whose log loss is a tilted quadratic about (lr, batch), diverged at large lr."""
    rng = np.random.default_rng(seed)
    steps = 2.0 ** np.arange(-12, -5.1, 0.75) if lrs is None else lrs
    grid = [(a, b) for a in steps for b in 2.0 ** np.arange(14.0, 22.0)]
    a, b = np.log([row[0] for row in grid]) - np.log(lr), np.log([row[1] for row in grid]) - np.log(batch)
    loss = 2.5 * np.exp(0.004 * a**2 + 0.003 * b**2 - 0.003 * a * b + noise * rng.standard_normal(len(a)))
    loss = np.where(a - 0.5 * b > 3.0, 7.5, loss)  # diverged corner: large steps at small batches
    return pl.DataFrame({"N": 1e8, "lr": [r[0] for r in grid], "batch": [r[1] for r in grid], "val_loss": loss})


def test_the_best_setting_is_that_of_the_lowest_mean_over_seeds() -> None:
    """The lowest single run, of seed 2 at lr = 0.01, flatters its setting."""
    rows = [(0.003, seed, loss) for seed, loss in enumerate((3.66, 3.67, 3.68))]
    rows += [(0.01, seed, loss) for seed, loss in enumerate((3.80, 3.90, 3.48))]
    runs = pl.DataFrame(rows, schema=["lr", "seed", "val_loss"], orient="row").with_columns(N=pl.lit(1e8))
    (found,) = optima(runs, ["N"], ["lr"])
    assert found.knob("lr").best == 0.003
    assert found.loss == pytest.approx(3.67)
    assert (found.rows, found.unmeasured) == (6, 0)


def test_two_roundings_of_one_grid_are_the_same_levels() -> None:
    values = np.array([0.000345, 0.0003453, 0.01105, 0.0111, 0.0156, 0.01562, 0.01562])
    distinct, index = levels(values)
    assert distinct.tolist() == [0.000345, 0.01105, 0.01562]
    assert index.tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert snap(values).tolist() == [0.000345, 0.000345, 0.01105, 0.01105, 0.01562, 0.01562, 0.01562]


def test_a_dense_random_sample_is_not_merged_into_one_level() -> None:
    values = np.exp(np.random.default_rng(0).uniform(0, 1, 5000))
    distinct, index = levels(values)
    assert len(distinct) > 80
    assert np.all(np.abs(distinct[index] / values - 1) <= 0.0101)


def test_zero_is_a_separate_level() -> None:
    assert levels(np.array([0.0, 0.1, 0.0, 1e-9]))[0].tolist() == [0.0, 1e-9, 0.1]


def test_the_planted_optimum_of_a_noiseless_quadratic_is_recovered() -> None:
    (cell,) = optima(bowl(lr=0.0031, batch=3e5), ["N"], ["lr", "batch"])
    assert cell.supported, cell.verdict
    assert cell.knob("lr").fitted == pytest.approx(0.0031, rel=1e-3)
    assert cell.knob("batch").fitted == pytest.approx(3e5, rel=1e-3)
    assert cell.fitted_loss == pytest.approx(2.5, rel=1e-6)
    with pytest.raises(InputError, match=r"no optimum of 'decay' \(knobs: lr, batch\)"):
        cell.knob("decay")
    losses = bowl(lr=0.0031, batch=3e5)["val_loss"].to_numpy()
    assert cell.fitted_rows == (losses <= losses.min() * (1 + (cell.window or 0))).sum() > 6


@pytest.mark.heavy
def test_intervals_cover_the_planted_optimum_at_about_their_nominal_level() -> None:
    covered = 0
    for seed in range(60):
        table = bowl(0.0023, 2.6e5, noise=0.001, seed=seed).sample(fraction=0.8, seed=seed)
        (cell,) = optima(table, ["N"], ["lr", "batch"])
        knob = cell.knob("lr")
        covered += knob.low is not None and knob.high is not None and knob.low <= 0.0023 <= knob.high
    assert covered >= 51  # 95 % of 60 is 57; fewer than 51 has probability 0.003 at the nominal level


def test_diverged_rows_do_not_move_the_optimum() -> None:
    table = bowl()
    unknown = table.with_columns(val_loss=pl.when(pl.col("val_loss") > 7).then(None).otherwise(pl.col("val_loss")))
    (with_values,), (without,) = optima(table, ["N"], ["lr", "batch"]), optima(unknown, ["N"], ["lr", "batch"])
    assert without.unmeasured == table.filter(pl.col("val_loss") > 7).height
    assert without.knob("lr").fitted == pytest.approx(with_values.knob("lr").fitted, rel=1e-6)


def test_an_optimum_outside_the_grid_is_not_supported_and_its_edge_is_reported() -> None:
    (cell,) = optima(bowl(lr=0.02, lrs=2.0 ** np.arange(-12, -7.9, 0.5)), ["N"], ["lr", "batch"])
    assert cell.knob("lr").edge == "high"
    assert cell.knob("lr").touches_edge
    assert not cell.knob("batch").touches_edge
    assert not cell.supported
    assert "above the grid" in cell.verdict


def test_too_few_levels_give_a_best_value_without_an_interval() -> None:
    table = bowl().filter(pl.col("lr").is_in([2.0**-9, 2.0**-8.25]))
    (cell,) = optima(table, ["N"], ["lr", "batch"])
    assert not cell.knob("lr").touches_edge or cell.knob("lr").levels[0] == 2.0**-9
    assert cell.knob("lr").fitted is None
    assert cell.fitted_knobs == ("batch",)
    assert "lr held" in cell.verdict


def test_knobs_that_moved_together_are_reported() -> None:
    lr = 2.0 ** np.arange(-12, -6, 0.25)
    table = pl.DataFrame({"N": 1.0, "lr": lr, "batch": lr * 1e8, "val_loss": 2 + 0.01 * np.log(lr / 0.002) ** 2})
    (cell,) = optima(table, ["N"], ["lr", "batch"])
    assert not cell.supported
    assert "moved together" in cell.verdict


def test_a_concave_cell_has_no_optimum() -> None:
    lr = 2.0 ** np.arange(-12, -6, 0.25)
    table = pl.DataFrame({"lr": lr, "val_loss": 2 - 0.01 * np.log(lr / 0.002) ** 2 + 0.2})
    (cell,) = optima(table, [], ["lr"])
    assert not cell.supported
    assert cell.knob("lr").fitted is None


def test_text_knobs_and_zero_weight_decay_have_levels_but_no_quadratic() -> None:
    table = pl.DataFrame(
        {"wd": [0.0, 0.1, 0.2, 0.4] * 2, "schedule": ["cosine"] * 4 + ["linear"] * 4, "val_loss": np.arange(8) + 2.0}
    )
    (cell,) = optima(table, [], ["wd", "schedule"])
    assert cell.knob("wd").levels == (0.0, 0.1, 0.2, 0.4)
    assert cell.knob("wd").edge == "low"
    assert cell.knob("schedule").levels == ("cosine", "linear")
    assert not cell.knob("schedule").touches_edge
    assert not cell.supported


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinite_value_of_a_knob_is_a_level_without_a_log(value: float) -> None:
    rates = np.array([0.001, 0.003, 0.01, 0.03, value])
    loss = 3 + 0.01 * np.log(np.where(np.isfinite(rates), rates, 1.0) / 0.006) ** 2
    frame = pl.DataFrame({"N": 1e6, "D": 1e7, "lr": rates, "val_loss": loss})
    found = optima(frame, ("N", "D"), ("lr",), "val_loss")[0].knob("lr")
    assert (len(found.levels), found.best) == (5, 0.003 if loss[1] < loss[2] else 0.01)
    assert found.fitted == pytest.approx(0.006, rel=0.02)


def test_cells_without_a_measured_loss_have_no_optimum_and_are_listed() -> None:
    table = pl.DataFrame({"N": [1, 1, 2], "lr": [0.1, 0.2, 0.1], "val_loss": [3.0, 2.9, None]})
    assert [cell.cell for cell in optima(table, ["N"], ["lr"])] == [{"N": 1}]
    assert unmeasured_cells(table, ["N"]).rows() == [(2, 1)]


def test_every_unknown_column_is_reported_with_the_nearest_one() -> None:
    with pytest.raises(InputError, match=r"(?s)no column 'tokns'.*no column 'lrr'; did you mean 'lr'"):
        optima(bowl(), ["N", "tokns"], ["lrr"])


@pytest.mark.skipif(not TABLE.exists(), reason="the released dense table is not available")
def test_every_cell_of_the_released_dense_table_supports_an_optimum() -> None:
    table = pl.read_csv(TABLE).with_columns(batch_tokens=pl.col("bs") * 2048)
    found = optima(table, ["N", "D"], ["lr", "batch_tokens"], "smooth loss")
    assert len(found) == 17
    assert all(cell.supported for cell in found), [cell.verdict for cell in found]
    assert max(len(cell.knob("lr").levels) for cell in found) == 12
    assert min(cell.rows for cell in found) == 47


def test_a_setting_that_diverged_bounds_the_optimum():
    frame = pl.DataFrame(
        {"N": [1.0] * 5, "lr": [0.001, 0.003, 0.01, 0.03, 0.1], "val_loss": [3.0, 2.5, 2.2, 2.1, None],
         "state": ["completed"] * 4 + ["diverged"]}
    )  # fmt: skip
    (found,) = optima(frame, ["N"], ["lr"])
    assert (found.knob("lr").best, found.knob("lr").edge) == (0.03, "")
    failed = frame.with_columns(state=pl.col("state").replace("diverged", "failed"))
    assert optima(failed, ["N"], ["lr"])[0].knob("lr").edge == "high"


@pytest.mark.parametrize("best", [0.004, 0.01, 0.03])
def test_where_the_loss_moves_little_the_window_narrows_to_where_it_is_as_steep_on_both_sides(best: float) -> None:
    """Few steps of SGD: the loss is a parabola of lr, so that its logarithm rises faster above the best than below."""
    lrs = np.geomspace(0.001, 0.1, 19)
    rng, held, middles = np.random.default_rng(3), 0, []
    for _ in range(20):
        losses = 2 - 0.02 * (2 * lrs / best - (lrs / best) ** 2) + 2e-5 * rng.standard_normal(len(lrs))
        (found,) = optima(pl.DataFrame({"N": 1e6, "lr": lrs, "val_loss": losses}), ["N"], ["lr"])
        knob = found.knob("lr")
        assert found.supported
        assert found.window is not None
        assert found.window < 0.015
        assert knob.fitted is not None
        assert knob.low is not None
        assert knob.high is not None
        middles.append(knob.fitted / best)
        held += knob.low <= best <= knob.high
    assert np.median(middles) == pytest.approx(1, abs=0.15), "half a step of the ladder"
    assert held >= 19, "over a window of 1.5 % no interval holds the best"


def test_a_window_whose_loss_is_as_steep_on_both_sides_stays() -> None:
    lrs, rng, windows = np.geomspace(0.001, 0.1, 19), np.random.default_rng(4), []
    for _ in range(20):
        losses = 2 * np.exp(0.004 * np.log(lrs / 0.01) ** 2 + 2e-4 * rng.standard_normal(len(lrs)))
        (found,) = optima(pl.DataFrame({"N": 1e6, "lr": lrs, "val_loss": losses}), ["N"], ["lr"])
        windows.append(found.window)
    assert windows.count(0.015) >= 18


def test_a_table_without_noise_that_is_a_quadratic_keeps_its_window() -> None:
    """What the cubes explain of rounding errors is nothing."""
    lrs = np.geomspace(0.001, 0.1, 19)
    for best in np.geomspace(0.005, 0.02, 12):
        losses = 2 * np.exp(0.004 * np.log(lrs / best) ** 2)
        (found,) = optima(pl.DataFrame({"N": 1e6, "lr": lrs, "val_loss": losses}), ["N"], ["lr"])
        assert found.window == 0.015
        assert found.knob("lr").fitted == pytest.approx(best, rel=1e-6)
