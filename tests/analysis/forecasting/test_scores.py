"""Scores of forecasts, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sweeplaw.analysis.forecasting.scores import Bands, bands, probabilities, score


def test_the_quantiles_asked_for_are_the_median_and_the_ends_of_each_level() -> None:
    assert probabilities() == pytest.approx((0.5, 0.25, 0.75, 0.1, 0.9, 0.025, 0.975))
    found = bands(np.arange(14.0).reshape(7, 2))
    assert found.median.tolist() == [0, 1]
    assert {level: [end.tolist() for end in ends] for level, ends in found.ends.items()} == {
        0.5: [[2, 3], [4, 5]], 0.8: [[6, 7], [8, 9]], 0.95: [[10, 11], [12, 13]],
    }  # fmt: skip


def test_errors_and_widths_are_relative_and_a_band_includes_its_ends() -> None:
    losses = np.array([2.0, 4.0, 5.0, 10.0])
    ends = {
        0.5: (np.array([2.0, 4.5, 5.5, 8.0]), np.array([2.1, 5.0, 6.0, 9.0])),  # the first loss is its lower end
        0.8: (np.array([1.9, 3.5, 5.5, 8.0]), np.array([2.1, 4.0, 6.0, 9.0])),  # the second its upper end
        0.95: (np.array([1.8, 3.0, 5.5, 8.0]), np.array([2.2, 5.0, 6.0, 9.0])),
    }
    found = score(Bands(np.array([2.0, 4.4, 4.5, 10.0]), ends), losses)
    assert found == pytest.approx(
        {
            "mean_abs_error": (0 + 0.1 + 0.1 + 0) / 4,
            "coverage_50": 0.25,
            "coverage_80": 0.5,
            "coverage_95": 0.5,
            "width_95": (0.2 + 0.5 + 0.1 + 0.1) / 4,
            "interval_score": (0.2 + 0.5 + 0.1 + 0.1 + 40 * (0.5 / 5 + 1.0 / 10)) / 4,
        }
    )
