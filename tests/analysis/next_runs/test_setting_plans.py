"""Plans about settings, from planted bowls: at an edge, with a level too few, without repeats."""

import math
from typing import Any

import polars as pl
import pytest

from sweeplaw.analysis.next_runs.run_plan import RunPlan
from sweeplaw.analysis.next_runs.setting_plans import endless, setting_plans
from sweeplaw.analysis.tuning.optimum import optima

LEVELS = [1e-3, 3e-3, 9e-3]


def rows(best: dict[float, float], levels: dict[float, list[float]], knob: str = "lr") -> pl.DataFrame:
    """Return a table in which the loss of each size is least at ``best``, tried at ``levels``."""
    found: list[dict[str, Any]] = [
        {"n": n, "d": 1e9, knob: level, "loss": 3 + math.log(level / best[n]) ** 2, "flops": 6e9 * n}
        for n in best
        for level in levels[n]
    ]
    return pl.DataFrame(found)


def plans(frame: pl.DataFrame, knob: str = "lr", seeds: int = 2) -> list[RunPlan]:
    return setting_plans(frame, ["n", "d"], optima(frame, ["n", "d"], [knob], "loss"), seeds)


def test_a_best_value_at_the_end_asks_for_two_values_beyond_in_the_same_ratio() -> None:
    levels = {1e7: LEVELS, 1e8: LEVELS}
    (plan,) = plans(rows({1e7: 3e-3, 1e8: 1e-4}, levels))
    assert plan.points == ((1e8, 1e9),)
    assert plan.knobs is not None
    assert plan.knobs["lr"] == pytest.approx((1e-3 / 3, 1e-3 / 9), rel=5e-3)
    assert (plan.trials, plan.narrower) == (2, None)
    assert plan.flops == pytest.approx(2 * 6e9 * 1e8)
    assert "lowest tried" in plan.why
    (high,) = plans(rows({1e7: 3e-3, 1e8: 1.0}, levels))
    assert high.knobs is not None
    assert high.knobs["lr"] == pytest.approx((27e-3, 81e-3))
    assert "highest tried" in high.why


def test_whole_numbers_stay_whole_and_below_one_there_is_nothing_to_try() -> None:
    batches = rows({1e7: 512.0}, {1e7: [32.0, 64.0, 128.0]}, "batch")
    (plan,) = plans(batches, "batch")
    assert plan.knobs == {"batch": (256.0, 512.0)}
    (down,) = plans(rows({1e7: 0.5}, {1e7: [2.0, 4.0, 8.0]}, "batch"), "batch")
    assert down.knobs == {"batch": (1.0,)}
    assert plans(rows({1e7: 0.5}, {1e7: [1.0, 4.0, 8.0]}, "batch"), "batch") == []


@pytest.mark.parametrize("highest", [math.inf, 1e308])
def test_nothing_lies_beyond_an_infinite_best_value_or_one_near_the_largest_number(highest: float) -> None:
    lrs = [1.0, 1e150, highest]
    frame = pl.DataFrame({"n": [1e6] * 3 + [2e6] * 3, "d": 1e9, "lr": lrs * 2, "loss": [3.2, 3.1, 3.0] * 2})
    assert plans(frame) == []
    found = endless(optima(frame, ["n", "d"], ["lr"], "loss"))
    value = "inf" if highest == math.inf else "1e+308"
    assert found == [f"lr = {value} is the best tried in 2 cells, and no finite value lies beyond to try"]


def test_there_is_no_such_note_where_a_value_lies_beyond_or_within() -> None:
    for best in (3e-3, 3e-2, 1e-3):
        frame = rows({1e6: best}, {1e6: [1e-3, 3e-3, 1e-2, 3e-2]})
        assert endless(optima(frame, ["n", "d"], ["lr"], "loss")) == []


def test_a_cell_of_two_levels_asks_for_those_of_the_others() -> None:
    levels = {1e7: [1e-3, 3e-3, 9e-3, 27e-3], 1e8: [3e-3, 9e-3]}
    found = plans(rows({1e7: 4e-3, 1e8: 5e-3}, levels))
    (plan,) = [one for one in found if "other levels" in one.title]
    assert plan.points == ((1e8, 1e9),)
    assert plan.trials == 2
    assert plan.flops == pytest.approx(2 * 6e9 * 1e8)
    assert plan.knobs == {"lr": (1e-3, 3e-3, 9e-3, 27e-3)}


def test_values_that_single_cells_have_of_their_own_are_not_asked_of_the_others() -> None:
    grid = [1e-3, 3e-3, 9e-3]
    levels = {1e7: [*grid, 4e-3], 2e7: [*grid, 5e-3], 1e8: [6e-3], 2e8: [7e-3]}
    found = plans(rows(dict.fromkeys(levels, 0.004), levels))
    (plan,) = [one for one in found if "other levels" in one.title]
    assert plan.knobs == {"lr": tuple(grid)}
    assert plan.trials == 6


def test_without_repeats_the_cheapest_cell_is_run_again_and_an_unknown_price_is_none() -> None:
    frame = rows({1e7: 3e-3, 1e8: 3e-3}, {1e7: LEVELS, 1e8: LEVELS})
    (plan,) = plans(frame, seeds=1)
    assert plan.points == ((1e7, 1e9),) * 2  # a point for each trial, so that a sweep file has as many seeds
    assert plan.trials == 2
    assert plan.flops == pytest.approx(2 * 6e9 * 1e7)
    assert plans(frame, seeds=2) == []
    (unknown,) = plans(frame.drop("flops"), seeds=1)
    assert unknown.flops is None
    assert unknown.narrower_per_flop == 0
