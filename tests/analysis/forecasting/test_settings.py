"""A forecaster's settings: their grids, and a prior of a usual smooth part and as few offsets as the runs allow."""

from __future__ import annotations

import numpy as np
import pytest

from sweeplaw.analysis.forecasting.process.settings import (
    LENGTHS,
    OFFSET_PENALTY,
    OFFSETS,
    SMOOTH,
    SMOOTH_SPREAD,
    START,
    TREND,
    USUAL_SMOOTH,
    ProcessScales,
    combined,
    offset_block,
    smooth_block,
)


def test_each_offset_costs_its_penalty_and_the_smooth_part_is_log_normal() -> None:
    usual = [0, 0, USUAL_SMOOTH]
    settings = ProcessScales(
        np.array(
            [
                [*usual, 0.0, 0.0],
                [*usual, 0.01, 0.0],
                [*usual, 0.0, 0.01],
                [*usual, 0.01, 0.02],
                [0, 0, USUAL_SMOOTH * np.exp(2 * SMOOTH_SPREAD), 0.0, 0.0],
            ]
        )
    )
    expected = [0, -OFFSET_PENALTY, -OFFSET_PENALTY, -2 * OFFSET_PENALTY, -2]
    assert settings.log_prior.tolist() == pytest.approx(expected)


def test_the_search_for_scales_begins_without_offsets_at_a_setting_of_its_own_grids() -> None:
    assert START.scales.tolist() == [[1, 0, 0]]
    for block in (smooth_block(START), offset_block(START, True, True), offset_block(START, False, False)):
        assert START.values[0].tolist() in block.values.tolist()


@pytest.mark.parametrize(("sizes", "budgets", "count"), [(True, True, 16), (True, False, 4), (False, False, 1)])
def test_only_offsets_that_the_runs_share_have_scales(sizes: bool, budgets: bool, count: int) -> None:
    block = offset_block(START, sizes, budgets)
    assert len(np.unique(block.values, axis=0)) == count
    assert (block.values[:, :3] == START.values[:, :3]).all()
    assert block.scales[:, 1:].any(axis=0).tolist() == [sizes, budgets]


def test_settings_of_one_length_and_trend_are_taken_together() -> None:
    both = combined(smooth_block(START), offset_block(START, True, False))
    assert len(both.values) == len(LENGTHS) * len(TREND) * len(SMOOTH) * len(OFFSETS)
    parts = both.by_length_and_trend()
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(both.values)))
    kinds = [{(int(one.length[0]), int(one.trend[0])) for one in map(both.take, part)} for part in parts]
    assert sorted(map(sorted, kinds)) == [[(length, trend)] for length in (0, 1) for trend in (0, 1)]
