"""Multiples of data by a law with known parameters, and where a law lies at a bound."""

from __future__ import annotations

import numpy as np
import pytest

from sweeplaw.analysis.recipes.limits.asymptote import AT_BOUND, STEEP, Asymptotes, at_bound, shape_fault
from sweeplaw.analysis.recipes.limits.multiples import data_multiple, effective_data
from sweeplaw.analysis.recipes.limits.scenarios import central

LAW = np.array([2.0, 3.0, 0.5])  # 2 + 3 / sqrt(D)


def test_the_data_at_which_a_law_reaches_a_loss() -> None:
    losses = np.array([3.0, 2.5, 2.0, 1.5, np.nan])
    assert effective_data(LAW, losses).tolist() == pytest.approx([9.0, 36.0, np.inf, np.inf, np.nan], nan_ok=True)
    assert effective_data(np.array([np.nan, 3.0, 0.5]), losses[:1]) == pytest.approx([np.nan], nan_ok=True)
    assert Asymptotes(LAW[None], "").at(np.array([9.0, 36.0])).tolist() == [[3.0, 2.5]]
    multiples = data_multiple(LAW, losses, np.full(5, 3.0))
    assert multiples.tolist() == pytest.approx([1.0, 4.0, np.inf, np.inf, np.nan], nan_ok=True)


def test_which_parameter_lies_at_its_bound() -> None:
    endless = "runs to 0: the losses fall without an end in sight"
    rows = [
        (2.0, 3.0, 0.5, ""),
        (2.0, 3.0, AT_BOUND, f"the exponent {endless}"), (2.0, 3.0, 1.01 * AT_BOUND, ""),
        (AT_BOUND, 3.0, 0.5, f"the limit {endless}"), (1.01 * AT_BOUND, 3.0, 0.5, ""),
        (2.0, 3.0, STEEP, f"the exponent runs to its bound ({STEEP:.3g}): the losses fall once and then no more"),
        (2.0, 3.0, STEEP - 1e-9, ""),
        (2.0, 2 * AT_BOUND, 0.5, "the coefficient runs to 0: the losses do not fall"), (2.0, 2.1 * AT_BOUND, 0.5, ""),
    ]  # fmt: skip
    assert at_bound(np.array([row[:3] for row in rows])) == [row[3] for row in rows]


@pytest.mark.parametrize(
    ("losses", "fault"),
    [
        ([4.0, 3.0, 2.5, 2.25], ""),
        ([4.0, 3.0, 3.0, 2.5], "not falling: 3 at 3 after 3 at 2"),
        ([4.0, 3.0, 2.0, 1.5], "not convex at 2"),
        ([4.0, 3.0, 2.5, 1.5], "not convex at 3"),
    ],
)
def test_the_first_fault_of_a_shape_is_named(losses: list[float], fault: str) -> None:
    assert shape_fault(np.array([1.0, 2.0, 3.0, 4.0]), np.array(losses)) == fault


def test_draws_carry_an_error_where_they_differ_and_infinite_ones_count() -> None:
    assert central(np.full(3, np.nan), 0.9, "m") is None
    assert central(np.array([2.0, 2.0, np.nan]), 0.9, "m") is None
    found = central(np.array([1.0, 2.0, 3.0, np.inf, np.nan]), 0.5, "m")
    assert found is not None
    assert (found.low, found.high, found.level, found.method) == (1.0, 3.0, 0.5, "m")
    assert found.note == "undefined in 1 of 5 draws"
    wide = central(np.array([1.0, np.inf]), 0.9, "m")
    assert wide is not None
    assert (wide.low, wide.high, wide.note) == (1.0, np.inf, "")
