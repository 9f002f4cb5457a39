"""The comparison of families in a report: parameters, differences, and why two laws may have no crossing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sweeplaw import analysis
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.report.comparison import _differences, _sentence, compared


def fitted(scale: float, bootstrap: int = 0) -> Fit:
    """A fit to noise-free losses E + A / N^alpha + B / D^beta with A = ``scale``."""
    size, tokens = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 5)))
    losses = 1.7 + scale / size**0.34 + 410.7 / tokens**0.28
    return analysis.fit({"N": size, "D": tokens, "loss": losses}, "additive", bootstrap=bootstrap)


@pytest.mark.heavy
def test_laws_without_draws_are_compared_by_their_parameters_and_the_missing_crossing_is_explained() -> None:
    found = compared({"adamw": fitted(400.0), "muon": fitted(300.0), "sgd": None})
    assert found is not None
    assert [law["family"] for law in found["laws"]] == ["adamw", "muon"]
    assert found["without_law"] == ["sgd"]
    (pair,) = found["pairs"]
    assert (pair["first"], pair["second"], pair["crossing"]) == ("adamw", "muon", None)
    assert "needs bootstrap draws" in pair["why_not"]
    assert pair["sentence"] == "adamw and muon: where they cross is not known"
    differences = {one["parameter"]: one["value"] for one in pair["differences"]}
    assert differences["A"] == pytest.approx(100.0, rel=1e-3)
    assert differences["E"] == pytest.approx(0.0, abs=1e-4)
    assert (pair["from_flops"], pair["to_flops"]) == pytest.approx((6 * 1e7 * 1e9, 10 * 6 * 1e9 * 1e11))


def test_one_family_is_compared_with_none() -> None:
    assert compared({"adamw": None}) is None


CROSSING = {"estimate": 2e20, "low": 1e18, "high": 5e21, "interval": {"low": 1e20, "high": 4e20}, "probability": 0.9,
            "a_better_at_high": 0.25}  # fmt: skip
CROSS = "a and b cross at 2e+20 FLOPs (1e+20 to 4e+20, in 90 % of the draws)"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, f"{CROSS}; at 5e+21 FLOPs the loss of b is lower in 75 % of the draws"),
        ({"a_better_at_high": 0.6}, f"{CROSS}; at 5e+21 FLOPs the loss of a is lower in 60 % of the draws"),
        ({"estimate": None}, "a and b do not cross between 1e+18 and 5e+21 FLOPs; at 5e+21 FLOPs the loss of b is "
                             "lower in 75 % of the draws"),
    ],
)  # fmt: skip
def test_where_two_laws_cross_is_said_with_which_is_lower_beyond(changed: dict[str, Any], said: str) -> None:
    assert _sentence("a", "b", {**CROSSING, **changed}) == said


def test_the_difference_of_a_parameter_has_the_interval_of_independent_draws() -> None:
    """Of E uniform on [1, 2] and [3, 4]: triangular on [-3, -1], whose outer tenths end at -2 -+ (1 - sqrt(.2))."""
    uniform = np.linspace(0.0, 1.0, 4001)

    def fit(e: float, **more: float) -> Any:
        names = ("E", *more)
        draws = np.column_stack([e + uniform, *(np.full(len(uniform), value) for value in more.values())])
        return SimpleNamespace(
            params={"E": e + 0.5, **more, "fixed": 1.0}, draws=SimpleNamespace(params=draws), level=0.8,
            law=SimpleNamespace(names=names),
        )  # fmt: skip

    first, *others = _differences(fit(1.0, A=2.0), fit(3.0, B=5.0))
    assert (first["parameter"], first["value"]) == ("E", -2.0)
    assert first["interval"] == pytest.approx([-2 - (1 - 0.2**0.5), -2 + (1 - 0.2**0.5)], abs=0.02)
    assert others == [{"parameter": "fixed", "value": 0.0, "interval": None}]
    bare = fit(3.0)
    bare.draws = None
    assert [one["interval"] for one in _differences(fit(1.0), bare)] == [None, None]
