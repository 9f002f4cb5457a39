"""Digits of values and of the ends of their intervals in the text of a fit."""

from __future__ import annotations

import math

import pytest

from sweeplaw.analysis.fitting.display.digits import in_step


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((1.69012345, 1.6532, 1.7214), ("1.69", "1.653", "1.721")),
        ((0.34123456, 0.3198, 0.3611), ("0.341", "0.32", "0.361")),
        ((406.41234, 120.3, 1370.9), ("410", "120", "1370")),
        ((1.69012345, None, None), ("1.69", "", "")),
        ((1.69412345, 1.2, math.inf), ("1.694", "1.2", "inf")),
        ((1.69412345, 1.69412345, 1.69412345), ("1.694", "1.694", "1.694")),
        ((1.234567890123, 1.234567890122, 1.234567890124), ("1.2345679",) * 3),
        ((0.001, -5.0, 5.0), ("0.001", "-5", "5")),
        ((0.0, -0.5, 0.5), ("0", "-0.5", "0.5")),
    ],
)
def test_a_value_has_the_digits_that_its_interval_deserves(
    values: tuple[float, float | None, float | None], shown: tuple[str, str, str]
) -> None:
    assert in_step(*values) == shown
