"""Mistuned rungs: a planted one is found with its size, and equal rungs are rarely named."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from sweeplaw.analysis.fitting.fit import fit
from sweeplaw.analysis.recipes.rungs import rungs
from sweeplaw.analysis.tuning.optimum import optima
from sweeplaw.trials.errors import InputError

SIZES = tuple(1e6 * 3.0**k for k in range(7))
DATA = tuple(1e8 * 3.0**k for k in range(5))


def table(off: float = 0.0, noise: float = 0.002, draw: int = 0, size: float = SIZES[4], lr: bool = False) -> Any:
    rng = np.random.default_rng(draw)
    rows = []
    for n, d in product(SIZES, DATA):
        bad = n == size
        loss = (1.7 + 400 / n**0.34 + 410 / d**0.28) * np.exp(noise * rng.normal() + off * bad)
        rates = (1e-4, 2e-4, 4e-4, 8e-4) if lr else (2e-4,)
        best = 8e-4 if bad and lr else 2e-4  # at the edge of what was tried in the rung that is off
        rows += [(n, d, rate, loss * (1 + 0.01 * np.log(rate / best) ** 2)) for rate in rates]
    return pl.DataFrame(rows, schema=["N", "D", "lr", "loss"], orient="row")


def fitted(frame: pl.DataFrame, law: str = "additive") -> Any:
    return fit(frame.select("N", "D", "loss"), law, "huber:0.001", x={"N": "N", "D": "D"}, y="loss", space="log")


def held(frame: pl.DataFrame, axis: str = "N", *others: Any) -> Any:
    return rungs(fitted(frame), axis, *others)


def test_a_mistuned_size_is_named_with_its_excess():
    found = held(table(off=0.02))
    (off,) = found.off
    assert off.value == pytest.approx(SIZES[4])
    assert off.excess == pytest.approx(0.02, abs=3 * off.error)
    assert off.errors_off > 4
    assert off.corrected == pytest.approx(7 * 2 * stats.t.sf(off.errors_off, 5))  # Holm: the least of seven p-values
    assert "N = 81M is 2." in found.summary() or "N = 81M is 1." in found.summary()
    assert "above the law fitted without it" in repr(found)


@pytest.mark.heavy
def test_the_size_of_the_excess_has_its_error():
    draws = [held(table(off=0.01, draw=draw)).rungs[4] for draw in range(20)]
    mean = np.mean([rung.excess for rung in draws])
    assert mean == pytest.approx(0.01, abs=0.001)
    assert np.std([rung.excess for rung in draws], ddof=1) == pytest.approx(
        np.mean([one.error for one in draws]), rel=0.6
    )


@pytest.mark.heavy
def test_equal_rungs_are_rarely_named():
    named = [bool(held(table(draw=draw)).off) for draw in range(60)]
    assert np.mean(named) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)


@pytest.mark.heavy
def test_the_knob_at_its_edge_is_named():
    frame = table(off=0.02, lr=True)
    best = frame.sort("loss").unique(["N", "D"], keep="first")
    found = held(best, "N", optima(frame, ["N", "D"], ["lr"], "loss"))
    (off,) = found.off
    assert off.edges == ("the best lr is the highest tried in 5 of 5 cells (0.0008)",)
    assert all(not rung.edges for rung in found.rungs if not rung.off)


def test_budgets_are_rungs_too():
    found = held(table(), "C")
    assert [rung.rows for rung in found.rungs] == [1, 2, 3, 4, 5, 5, 5, 4, 3, 2, 1]
    assert not found.off
    assert "no C stands out" in repr(found)


@pytest.mark.heavy
def test_a_path_and_a_frame_answer_as_their_fit_does(tmp_path):
    frame = table(off=0.02, lr=True)
    frame.write_csv(tmp_path / "runs.csv")
    whole = rungs(tmp_path / "runs.csv", y="loss", knobs=["lr"])
    assert whole.to_dict() == rungs(frame, y="loss", knobs=["lr"]).to_dict()
    (off,) = whole.off
    assert off.edges == ("the best lr is the highest tried in 5 of 5 cells (0.0008)",)
    plain, of_fit = (one.to_dict()["rungs"] for one in (rungs(frame, y="loss"), rungs(fit(frame, y="loss"))))
    assert [{**rung, "edges": []} for rung in plain] == of_fit  # a Fit has the best settings alone, and no edges
    assert any("runs at one point differ in lr" in warning for warning in whole.warnings)
    with pytest.raises(InputError, match="give a table instead"):
        rungs(fit(frame, y="loss"), where="N > 1e6")


def test_what_has_no_rungs_is_refused():
    with pytest.raises(InputError, match=r"'B' is no axis of additive .accepted: N, D, C"):
        held(table(), "B")
    few = table().filter(pl.col("N") < 1e7)
    with pytest.raises(InputError, match="3 values of N"):
        held(few)


def test_rungs_are_plain_values():
    values = held(table(off=0.02)).to_dict()
    assert values["rungs"][4]["off"] is True
    assert values["axis"] == "N"


@pytest.mark.heavy
def test_few_rungs_that_are_alike_are_not_named_by_a_residual_of_one_degree_of_freedom():
    rows = [(1e7, 2e8), (1e7, 1e9), (3e7, 1.5e8), (3e7, 6e8), (1e8, 5e8), (1e8, 2e9), (3e8, 6e9)]
    named = []
    for draw in range(5):
        rng = np.random.default_rng(draw)
        loss = [(1.7 + 400 / n**0.34 + 410 / d**0.28) * np.exp(0.001 * rng.normal()) for n, d in rows]
        found = held(pl.DataFrame({"N": [n for n, _ in rows], "D": [d for _, d in rows], "loss": loss}))
        named += found.off
        assert all(rung.corrected is None for rung in found.rungs)
        assert found.headline()[0].startswith("no N can be judged: without it, too few runs are left")
    assert not named


def test_exact_losses_leave_rungs_without_an_error_to_divide_by() -> None:
    sizes = [4] * 4 + [16] * 4 + [64] * 2 + [256] * 4
    data = [100, 100, 300, 300] * 2 + [100, 300] + [100, 100, 300, 300]
    exact = pl.DataFrame({"N": sizes, "D": data, "loss": [3.2 + 1 / size for size in sizes]})
    found = rungs(fit(exact, law="additive", space="log", all_rows=True), "N")
    assert all(one.errors_off is None or np.isfinite(one.errors_off) for one in found.rungs)


@pytest.mark.heavy
def test_the_knobs_of_a_foreign_table_are_those_of_its_fit(tmp_path):
    path = tmp_path / "runs.csv"
    table(off=0.02, noise=0.0005, lr=True).write_csv(path)
    found = rungs(str(path), x={"N": "N", "D": "D"}, y="loss")
    assert found.rungs[4].edges == ("the best lr is the highest tried in 5 of 5 cells (0.0008)",)
