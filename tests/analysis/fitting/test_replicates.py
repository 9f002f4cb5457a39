"""Rows that share their inputs: the law is evaluated once for them, and nothing else changes."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import sweeplaw as sl
from sweeplaw.analysis.fitting.solver import replicates
from sweeplaw.analysis.fitting.solver.derivatives import BatchProblem, differentiate
from sweeplaw.analysis.laws.catalog import LAWS

THETA = np.array([[1.7, 400.0, 410.0, 0.34, 0.28], [1.5, 300.0, 500.0, 0.3, 0.3], [0.2, 10.0, 90.0, 0.1, 0.2]])


def problem(space: str, per_point: int, members: int = 0) -> BatchProblem:
    """Return the additive law on 250 inputs in a mixed order, with weights shared or of each member."""
    rng = np.random.default_rng(3)
    n, d = (10 ** rng.uniform(low, low + 2, 250) for low in (7.0, 9.0))
    order = rng.permutation(np.repeat(np.arange(250), per_point))
    law = LAWS["additive"]
    losses = 1.7 + 400 * n[order] ** -0.34 + 410 * d[order] ** -0.28 + rng.normal(0, 0.05, len(order))
    weights = rng.integers(0, 4, (members, len(order)) if members else len(order)).astype(float)
    assert law.inputs == ("N", "D")
    return BatchProblem(law.function.bind([n[order], d[order]]), losses, weights, space)  # type: ignore[arg-type]


@pytest.mark.parametrize("members", [0, 3])
@pytest.mark.parametrize("delta", [np.inf, 0.02])
@pytest.mark.parametrize("space", ["raw", "log"])
def test_derivatives_are_the_same(space: str, delta: float, members: int) -> None:
    plain = problem(space, 5, members)
    joined = plain.by_inputs()
    assert joined.replicates is not None
    assert joined.replicates.bound.rows == 250
    assert LAWS["additive"].names == ("E", "A", "B", "alpha", "beta")
    one, other = (differentiate(each, THETA, np.full(3, delta)) for each in (plain, joined))
    for name in ("value", "gradient", "curvature", "majorant"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-11, atol=1e-13, err_msg=name)


def test_few_rows_or_few_replicates_stay_as_they_are() -> None:
    assert problem("raw", 3).by_inputs().replicates is None  # 750 rows
    many = problem("raw", 5)
    single = many.bound.function.bind([np.linspace(1e7, 1e9, 1250), np.linspace(1e9, 1e11, 1250)])
    assert BatchProblem(single, many.losses, many.weights, "raw").by_inputs().replicates is None
    own = many.bound.function.bind([np.tile([1e7], (2, 1250)), np.tile([1e9], (2, 1250))])  # of each member
    assert BatchProblem(own, many.losses, many.weights, "raw").by_inputs().replicates is None


@pytest.mark.heavy
def test_a_fit_of_many_seeds_has_the_optimum_and_the_intervals_of_all_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"N": n, "D": d, "val_loss": (1.7 + 400 * n**-0.34 + 410 * d**-0.28) * np.exp(0.02 * rng.standard_normal())}
        for n in (1e7, 1e8, 1e9)
        for d in (1e9, 1e10, 1e11)
        for _ in range(120)
    ]
    found = []
    for least in (replicates.LEAST_ROWS, 10**9):
        monkeypatch.setattr(replicates, "LEAST_ROWS", least)
        found.append(
            sl.fit(pl.DataFrame(rows), "additive", x={"N": "N", "D": "D"}, y="val_loss", all_rows=True, bootstrap=20)
        )
    for name, value in found[0].params.items():
        assert value == pytest.approx(found[1].params[name], rel=1e-9)
        for end in ("low", "high"):
            ends = [getattr(one.intervals[name], end) for one in found]
            assert ends[0] == pytest.approx(ends[1], rel=1e-6)
