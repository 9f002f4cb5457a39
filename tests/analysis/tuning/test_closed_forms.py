"""Numbers of tuning that are known in closed form, and the values at which its rules turn."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import polars as pl
import pytest
from scipy import stats

from sweeplaw.analysis.report.family import families
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.analysis.tuning.anova import Shares, filled, shares, without_noise
from sweeplaw.analysis.tuning.certificate import certificate
from sweeplaw.analysis.tuning.importance import importance
from sweeplaw.analysis.tuning.plateau import widths
from sweeplaw.analysis.tuning.selection_bias import expected_lowest, selection_bias


def test_the_lowest_of_two_or_three_equal_settings_is_low_by_what_order_statistics_say() -> None:
    """E min of two and three standard normal values: -1/sqrt(pi) and -3/(2 sqrt(pi))."""
    for count, low in ((2, 1 / math.sqrt(math.pi)), (3, 1.5 / math.sqrt(math.pi))):
        means, errors = np.full(count, 3.0), np.full(count, 0.01)
        assert expected_lowest(means, errors) == pytest.approx(3 - 0.01 * low, abs=1e-7)
        assert selection_bias(means, errors) == pytest.approx(0.01 * low, abs=1e-7)


def test_one_contender_or_a_known_loss_is_not_flattered() -> None:
    assert selection_bias(np.array([3.0]), np.array([0.01])) == 0.0
    assert selection_bias(np.array([3.0, 3.0]), np.array([0.0, 0.01])) == 0.0
    errors = np.full(2, 0.01)
    assert selection_bias(np.array([3.0, 3.0401]), errors) == 0.0  # four standard errors away
    assert selection_bias(np.array([3.0, 3.03]), errors) > 0.0


def test_noise_is_taken_from_each_share_by_its_degrees_of_freedom() -> None:
    grid = np.array([[1.0, 2.0, 3.0], [2.0, 3.0, 7.0]])
    plain, variance = shares(grid), 0.03
    each = variance / (6 * grid.var())
    found = without_noise(plain, grid, variance, 6, 10)
    assert found.axes == pytest.approx((plain.axes[0] - each, plain.axes[1] - 2 * each))
    assert found.pairs[0, 1] == pytest.approx(plain.pairs[0, 1] - 2 * each)
    assert found.rest == pytest.approx(plain.rest)  # no degree of freedom is left
    assert found.noise == pytest.approx(5 * each)
    chances = [stats.f.sf(share / (k * each), k, 10) for share, k in zip(plain.axes, (1, 2), strict=True)]
    assert found.within_noise == tuple(chance > 0.05 for chance in chances)
    much = without_noise(plain, grid, 100.0, 6, 10)
    assert (much.axes, much.pairs, much.noise, much.within_noise) == ((0.0, 0.0), {(0, 1): 0.0}, 1.0, (True, True))
    level = np.ones((2, 3))
    assert shares(level) == Shares((0.0, 0.0), {(0, 1): 0.0}, 0.0)
    assert without_noise(shares(level), level, 1.0, 6, 10) == shares(level)
    line = without_noise(shares(grid[0]), grid[0], variance, 3, 10)
    assert line.axes[0] == pytest.approx(1 - 2 * variance / (3 * grid[0].var()))
    assert line.pairs == {}


def test_a_missing_point_of_an_additive_grid_is_filled_with_its_value() -> None:
    a, b, c = np.meshgrid([1.0, 2.0, 4.0], [0.0, 3.0, 5.0], [0.0, 1.0, 7.0], indexing="ij")
    grid = a + b + c + a * b
    missing = np.zeros(grid.shape, bool)
    missing[1, 1, 1] = True
    assert filled(np.where(missing, np.nan, grid), missing) == pytest.approx(grid, abs=1e-4)
    assert filled(np.array([1.0, np.nan, 5.0]), np.array([False, True, False])).tolist() == [1.0, 3.0, 5.0]


def test_a_default_is_a_level_within_a_hundredth() -> None:
    rows = [(lr, batch, 2 + lr + 0.001 * batch) for lr, batch in product((1.0, 2.0, 3.0), (1, 2, 3))]
    frame = pl.DataFrame(rows, schema=["lr", "batch", "val_loss"], orient="row")
    for default, cost in (
        (1.0, 0.0), (2.0, 1 / 3.001), (2.018, 1 / 3.001), (1.982, 1 / 3.001), (2.03, None), (1.97, None),
    ):  # fmt: skip
        (found,), _ = importance(frame, ("lr", "batch"), defaults={"lr": default})
        value, freezing = found.frozen["lr"]
        assert freezing == (None if cost is None else pytest.approx(cost)), default
        assert value == (default if cost is None else round(default))


def test_two_settings_are_ties_up_to_two_standard_deviations_of_their_difference() -> None:
    margin = 2.0 * 0.25 * 2**0.5
    near: dict[tuple[int, ...], float | None] = {(0,): 1.0, (1,): 1.0 + margin}
    far: dict[tuple[int, ...], float | None] = {(0,): 1.0, (1,): 1.0 + margin + 1e-9}
    found, other, exact = (
        certificate(near, (2,), noise=0.25),
        certificate(far, (2,), noise=0.25),
        certificate(near, (2,)),
    )
    assert found is not None
    assert other is not None
    assert exact is not None
    assert (found.ties, other.ties, exact.ties) == (((1,),), (), ())
    assert (found.edges, other.worse, exact.worse) == ({0: -1}, ((1,),), ((1,),))
    assert (
        found.sentence(["lr"])
        == "no neighbour of 1 is better; 1 within the noise of it; at the lowest lr of the ladder"
    )
    alone = certificate({(2, 0): 1.0, (1, 0): None}, (3, 1))
    assert alone is not None
    assert alone.sentence(["lr", "wd"]) == (
        "no neighbour of 1 is better; 1 without a loss, counted as worse; at the highest lr of the ladder"
    )
    open_ = certificate({(1,): 1.0, (0,): 2.0}, (4,))
    assert open_ is not None
    assert (open_.sentence(["lr"]), open_.edges) == ("1 of 2 neighbours have not run", {})


def test_a_plateau_is_that_of_the_quadratic() -> None:
    """Along one knob log(1 + t) = h d^2 / 2; with the other retuned the curvature is h11 - h12^2 / h22."""
    one, other = widths(np.array([[2.0, 1.0], [1.0, 1.0]]), ("lr", "wd"), (0.01,))
    for found, curvature, retuned in ((one, 2.0, 1.0), (other, 1.0, 0.5)):
        assert found.factor == pytest.approx(math.exp(math.sqrt(2 * math.log(1.01) / curvature)))
        assert found.retuned == pytest.approx(math.exp(math.sqrt(2 * math.log(1.01) / retuned)))
    assert (one.knob, one.threshold, other.knob) == ("lr", 0.01, "wd")


def test_settings_of_a_family_stand_by_point_and_knob_with_unknown_values_last() -> None:
    table = pl.DataFrame({
        "N": [2.0, 1.0, 1.0, 1.0, 1.0, 1.0], "D": 9.0, "lr": [0.1, None, 0.2, 0.1, 0.2, 0.1],
        "loss": [2.0, 3.5, 3.25, 3.0, 3.75, None],
    })  # fmt: skip
    (family,) = families(table, Axes("N", "D", "loss", (), ("lr",), notes=("a note",)))
    assert family.settings.select("N", "lr", "loss", "seeds").rows() == [
        (1.0, 0.1, 3.0, 1), (1.0, 0.2, 3.5, 2), (1.0, None, 3.5, 1), (2.0, 0.1, 2.0, 1),
    ]  # fmt: skip
    assert family.settings["seed_std"].to_list() == [None, pytest.approx(0.5**0.5 / 2), None, None]
    assert family.best.select("N", "lr", "loss").rows() == [(1.0, 0.1, 3.0), (2.0, 0.1, 2.0)]
    assert (family.name, family.trials.height, family.seeds.height) == ("all trials", 5, 2)
    assert "a note" in family.notes
