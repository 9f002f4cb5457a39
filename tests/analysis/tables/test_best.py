"""The table `best` against a search in plain Python: seeds, unknown knobs, families, diverged runs, ties."""

from __future__ import annotations

import math
import statistics
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeplaw.analysis.tables.query import Query, run_query
from sweeplaw.analysis.tables.roles import best as module
from sweeplaw.analysis.tables.tables import Tables

SCHEMA: dict[str, Any] = {
    "trial_id": pl.String, "workload": pl.String, "source": pl.String, "state": pl.String, "N": pl.Int64, "D": pl.Int64,
    "lr": pl.Float64, "optimizer": pl.String, "dropout": pl.Float64, "seed": pl.Int64, "host": pl.String,
    "tags": pl.List(pl.Int64), "val_loss": pl.Float64,
}  # fmt: skip
ROW = st.fixed_dictionaries(
    {
        "workload": st.sampled_from(["a", "b", None]),
        "source": st.just(None),
        "state": st.sampled_from(["completed", "completed", "completed", "diverged", None]),
        "N": st.sampled_from([1, 2, None]),
        "D": st.integers(1, 2),
        "lr": st.sampled_from([0.1, 0.2, 0.0, -0.0, math.nan, None]),
        "optimizer": st.sampled_from(["adamw", "muon", None]),
        "dropout": st.sampled_from([0.5] * 5 + [None]),
        "seed": st.sampled_from([0, 1, None]),
        "host": st.sampled_from(["n1", "n2", None]),
        "tags": st.sampled_from([[1], [1, 2], None]),
        # Sums of these are exact, so that means tie; both signs, so that they cancel.
        "val_loss": st.sampled_from([2.0, 2.25, 2.5, 3.0, -2.0, -2.5, 1e6, math.nan, math.inf, None]),
    }
)
LAUNCHES = [{"workload": name, "scientific": ["N", "D"], "nuisance": ["lr", "optimizer", "dropout"]} for name in "ab"]
KNOBS = {True: ("lr", "optimizer", "dropout"), False: ("workload", "lr", "optimizer", "dropout")}


def alike(value: Any) -> Any:
    """Return what equals the value in a comparison of keys: NaN is one value."""
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def last(value: Any) -> tuple[int, Any]:
    """Return the place of a value in an ascending order: NaN after numbers, null at the end."""
    return (2, 0) if value is None else (1, 0) if alike(value) == "NaN" else (0, value)


def reference(rows: list[dict[str, Any]], points: tuple[str, ...], knobs: tuple[str, ...]) -> list[dict[str, Any]]:
    found: dict[Any, dict[Any, list[dict[str, Any]]]] = {}
    for row in rows:
        known = row["state"] == "completed" and None not in (row["N"], row["D"], row["val_loss"])
        if known and math.isfinite(row["val_loss"]):
            at = tuple(row[name] for name in points)
            found.setdefault(at, {}).setdefault(tuple(alike(row[name]) for name in knobs), []).append(row)
    return [one_row(min(cell.values(), key=lambda runs: order(runs, knobs))) for cell in found.values()]


def order(runs: list[dict[str, Any]], knobs: tuple[str, ...]) -> Any:
    return statistics.fmean(run["val_loss"] for run in runs), *(last(runs[0][name]) for name in knobs)


def one_row(runs: list[dict[str, Any]]) -> dict[str, Any]:
    losses = [run["val_loss"] for run in runs]
    same = {name: all(alike(run[name]) == alike(runs[0][name]) for run in runs) for name in SCHEMA}
    row = {name: alike(runs[0][name]) if same[name] else None for name in SCHEMA}
    std = pytest.approx(statistics.stdev(losses), rel=1e-12, abs=1e-12) if len(losses) > 1 else None
    return row | {"val_loss": statistics.fmean(losses), "seeds": len(runs), "seed_std": std}


def in_order(rows: list[dict[str, Any]], points: tuple[str, ...]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: [last(row[name]) for name in points])


@pytest.mark.parametrize("recorded", [True, False])
@settings(deadline=None, max_examples=30)
@given(rows=st.lists(ROW, max_size=40))
@pytest.mark.heavy
def test_best_is_what_a_search_in_plain_python_finds(recorded, rows):
    rows = [row | {"trial_id": f"t{number}"} for number, row in enumerate(rows)]
    launches = LAUNCHES if recorded else []
    points = ("N", "D", "workload") if recorded else ("N", "D")
    tables = Tables(pl.LazyFrame(rows, SCHEMA), pl.LazyFrame(), {}, "here", tuple(launches))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_SEARCHED", -1)  # names decide
        found = run_query(tables, Query(best_per=("N", "D"))).frame
    assert found.columns == [*SCHEMA, "seeds", "seed_std"]
    plain = [{name: alike(value) for name, value in row.items()} for row in found.to_dicts()]
    assert plain == in_order(reference(rows, points, KNOBS[recorded]), points)


@pytest.mark.heavy
def test_means_are_compared_and_shown_independently_of_the_order_of_the_runs():
    runs = pl.DataFrame({"N": [1] * 60, "D": [1] * 60, "lr": [0.1, 0.2, 0.3] * 20, "val_loss": [2.0] * 60})
    noise = pl.Series([0.1 + number // 3 * 0.7 % 1 for number in range(60)])  # the same losses at each lr: a tie
    runs = runs.with_columns(val_loss=pl.col("val_loss") + noise)
    answers = [module.best(runs.sample(fraction=1, shuffle=True, seed=seed).lazy(), ("N", "D")) for seed in range(20)]
    assert all(answer.equals(answers[0]) for answer in answers)
    assert answers[0].select("lr", "seeds").rows() == [(0.1, 20)]


def test_a_knob_of_one_value_but_for_a_row_after_the_sample_is_a_knob():
    rows = module.SAMPLE + 2
    lr = [0.1] * (rows - 1) + [0.2]
    runs = pl.LazyFrame({"N": [1] * rows, "D": [1] * rows, "lr": lr, "val_loss": [3.0] * (rows - 1) + [2.0]})
    launches = [{"workload": "w", "scientific": ["N", "D"], "nuisance": ["lr"]}]
    assert module.best(runs, ("N", "D"), launches=launches).select("lr", "val_loss", "seeds").rows() == [(0.2, 2.0, 1)]


@pytest.mark.parametrize("own", [["seeds"], ["seed_std"], ["seeds", "best_seeds"]])
@pytest.mark.parametrize("cell", [True, False])
def test_columns_that_the_table_has_keep_their_names_and_values(own, cell):
    rows = {"N": [1, 1, 2], "D": [1, 1, 1], "val_loss": [3.0, 2.0, 4.0], **{name: [7, 7, 9] for name in own}}
    found = module.best(pl.LazyFrame(rows), ["N", own[0]] if cell else ["N", "D"])
    assert found["N"].to_list() == [1, 2]
    assert all(found[name].to_list() == [7, 9] for name in own)
    assert found[module.seed_columns(rows)[0]].to_list() == [2, 1]
    assert not {*module.seed_columns(rows)} & rows.keys()
