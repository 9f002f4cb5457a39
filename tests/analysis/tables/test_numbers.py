"""A column or an expression as numbers, the columns that it reads, and what is no source or filter of a table."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from sweeplaw.analysis.forecasting.forecaster import forecaster
from sweeplaw.analysis.recipes.comparison import compare_recipes
from sweeplaw.analysis.recipes.rungs import rungs
from sweeplaw.analysis.recipes.study.picks import split_picks
from sweeplaw.analysis.recipes.study.study import recipe_limits
from sweeplaw.analysis.tables.arguments import address, check_filters
from sweeplaw.analysis.tables.sql.numbers import columns_read, numbers_of
from sweeplaw.analysis.tables.tables import Tables
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import STATES
from sweeplaw.trials.store_format.location import locate

FRAME = pl.DataFrame(
    {
        "N": [1, 2, None],
        "a b": [0.5, math.nan, 2.0],
        "on": [True, None, False],
        "text": ["1", "x", None],
        "N * 2": [7, 8, 9],
    }
)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("N", [1, 2, math.nan]),
        ("a b", [0.5, math.nan, 2]),  # a column, though it is no expression
        ("on", [1, math.nan, 0]),
        ("N / 4", [0.25, 0.5, math.nan]),
        ("N * 2", [7, 8, 9]),  # a column of that name comes first
        ("3", [3, 3, 3]),
        ("N > 1", [0, 1, math.nan]),
    ],
)
def test_values_are_floats_with_nan_for_null(text: str, numbers: list[float]) -> None:
    found = numbers_of(FRAME, text)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, numbers)


def test_what_holds_no_numbers_is_refused_with_rows_and_by_name() -> None:
    with pytest.raises(InputError, match=r"^'text': row 2 holds 'x'; expected numbers$"):
        numbers_of(FRAME, "text")
    with pytest.raises(InputError, match=r"^loss = 'text': row 30 holds 'x'; expected numbers$"):
        numbers_of(FRAME, "text", "loss", pl.Series([20, 30, 40]))
    with pytest.raises(InputError, match="nothing"):
        numbers_of(FRAME, "nothing * 2")
    written = pl.DataFrame({"t": [None, "0.5", "2"]})
    with pytest.raises(InputError, match=r"^'t' holds numbers written as text, such as '0\.5'; expected numbers$"):
        numbers_of(written, "t")
    many = pl.DataFrame({"t": list("abcdefgh")})
    with pytest.raises(InputError, match=r"row 1 holds 'a', .* and \d more; expected numbers"):
        numbers_of(many, "t")


def test_the_columns_that_expressions_read() -> None:
    assert columns_read(FRAME, ["N", '"a b" * N', "a b"]) == {"N", "a b"}
    assert columns_read(FRAME, ["N * 2"]) == {"N * 2"}
    assert columns_read(FRAME, iter(["N + 1"])) == {"N"}


def test_the_address_of_a_source(tmp_path: Path) -> None:
    place = locate(str(tmp_path))
    assert address(SimpleNamespace(location=place)) == place.uri
    assert (address("runs.csv"), address(tmp_path)) == ("runs.csv", tmp_path)
    for wrong in ("", 3, None, SimpleNamespace(location="elsewhere")):
        with pytest.raises(InputError, match="accepted: the path of a store or a file, the URI of a store, a Store"):
            address(wrong)


@pytest.mark.parametrize("states", [None, [], ["failed"], {"completed", "diverged"}, tuple(STATES)])
@pytest.mark.parametrize("where", [None, "N > 1", pl.col("N") > 1])
def test_states_and_conditions_that_are_accepted(states: Any, where: Any) -> None:
    check_filters(states, where)


@pytest.mark.parametrize(
    ("states", "where", "faults"),
    [
        ("failed", None, ["states = 'failed' (accepted: None for all, or a list of "]),
        (3, True, ["states = 3 (accepted: None", "where = True (accepted: an SQL condition, a Polars expression)"]),
        (["lost", "failed", "gone"], None, ["states: gone, lost not known (accepted: "]),
    ],
)
def test_all_faults_of_filters_are_named_at_once(states: Any, where: Any, faults: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        check_filters(states, where)
    assert len(caught.value.faults) == len(faults)
    assert all(found.startswith(begin) for found, begin in zip(caught.value.faults, faults, strict=True))


RUNS = pl.DataFrame({"N": [1.0, 2.0], "lr": [0.1, 0.2], "val_loss": [3.0, 2.0], "text": ["1", "x"]})


def runs_of(frame: pl.DataFrame) -> Tables:
    return Tables(frame.lazy(), pl.LazyFrame(), {}, "runs")


def test_the_best_by_a_column_that_no_trial_has_is_refused_and_the_axes_of_the_sweep_are_named() -> None:
    rows = pl.DataFrame({"N": [None, None], "D": [None, None], "width": [8, 16], "val_loss": [3.0, 2.0]})
    with pytest.raises(InputError) as caught:
        runs_of(rows).best()
    assert tuple(caught.value.faults) == ("N is null in all 2 trials", "D is null in all 2 trials")
    facts = {"workload": "mine", "scientific": {"width": [8, 16]}}
    with pytest.raises(InputError, match=r"the axes of the sweep are best\(\['width'\]\)"):
        replace(runs_of(rows), launches=(facts,)).best()
    assert runs_of(rows).best(["width"])["width"].to_list() == [8, 16]
    assert runs_of(rows.clear()).best().is_empty()


LISTS: list[tuple[Callable[[], Any], list[str]]] = [
    (lambda: runs_of(RUNS).best("lr"), ["cells = 'lr' (accepted: a list of columns)"]),
    (lambda: runs_of(RUNS).best([]), ["the best settings: no column of a cell is named (accepted: at least one)"]),
    (lambda: runs_of(RUNS).best(["N", "val_loss", "N"]),
     ["'N' is named twice, as a column of the cells or as the loss",
      "'val_loss' is named twice, as a column of the cells or as the loss"]),
    (lambda: split_picks(RUNS, "N", "lr", ("N", "val_loss")),
     ["at = 'N' (accepted: a list of columns)", "knobs = 'lr' (accepted: a list of columns)"]),
    (lambda: compare_recipes(RUNS, by="lr", on="N", also="text"),
     ["on = 'N' (accepted: a list of columns)", "also = 'text' (accepted: a list of columns)"]),
    (lambda: recipe_limits(RUNS, knobs="lr"), ["knobs = 'lr' (accepted: a list of columns)"]),
    (lambda: rungs(RUNS, knobs="lr"), ["knobs = 'lr' (accepted: a list of columns)"]),
    (lambda: forecaster(RUNS, knobs="lr"), ["knobs = 'lr' (accepted: a list of columns)"]),
]  # fmt: skip


@pytest.mark.parametrize(("call", "faults"), LISTS)
def test_the_text_of_one_column_is_no_list_of_columns(call: Callable[[], Any], faults: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert list(caught.value.faults) == faults


def test_the_best_settings_of_a_loss_that_is_a_knob_by_its_name() -> None:
    assert runs_of(RUNS).best(["N"], "lr")["lr"].to_list() == [0.1, 0.2]
