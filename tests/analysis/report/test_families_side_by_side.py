"""The comparison of families in a report: parameters, differences, and why two laws may have no crossing."""

from __future__ import annotations

import numpy as np
import pytest

from sweeplaw import analysis
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.report.comparison import compared


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
    assert pair["sentence"] == "adamw and muon: where they cross is not told"
    differences = {one["parameter"]: one["value"] for one in pair["differences"]}
    assert differences["A"] == pytest.approx(100.0, rel=1e-3)
    assert differences["E"] == pytest.approx(0.0, abs=1e-4)
    assert (pair["from_flops"], pair["to_flops"]) == pytest.approx((6 * 1e7 * 1e9, 10 * 6 * 1e9 * 1e11))


def test_one_family_is_compared_with_none() -> None:
    assert compared({"adamw": None}) is None
