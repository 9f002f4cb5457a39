"""The prior of a forecaster's settings: a usual smooth part, and as few offsets as the runs allow."""

from __future__ import annotations

import numpy as np
import pytest

from sweeplaw.analysis.forecasting.process.settings import OFFSET_PENALTY, SMOOTH_SPREAD, USUAL_SMOOTH, ProcessScales


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
