"""Units of columns: those of the schema for our own workloads, those that sweep files declare for the user's."""

from __future__ import annotations

import polars as pl
import pytest

from sweeplaw.analysis.report.labels import axis_label, loss_label
from sweeplaw.analysis.tables.families import Axes, axes
from sweeplaw.analysis.tables.tables import Tables
from sweeplaw.analysis.tables.units import declared, units
from sweeplaw.trials.errors import InputError

SWEEP = """
name = "mine"
[workload]
kind = "python:o:train"
[workload.knobs]
params_embedding = 0
tokens = { type = "int", unit = "examples", meaning = "each seen once" }
width = { type = "int", meaning = "of the hidden layer" }
[workload.metrics]
val_loss = { unit = "squared error" }
"""
LAUNCH = {"workload": "python:o:train", "sweep_file": SWEEP}
COLUMNS = ("val_loss", "tokens", "width", "params")


def test_declared_units_replace_those_of_the_schema() -> None:
    found = units(COLUMNS, [LAUNCH], ["python:o:train"])
    assert found == {"val_loss": "squared error", "tokens": "examples", "width": "", "params": "parameters"}
    declarations = declared([LAUNCH])
    assert (declarations["width"].unit, declarations["width"].meaning) == ("", "of the hidden layer")
    assert "params_embedding" not in declarations


def test_a_loss_of_the_users_own_trials_has_no_unit_unless_it_is_declared() -> None:
    assert units(COLUMNS, [], ["command"])["val_loss"] == ""
    assert units(COLUMNS, [], ["language_model", "imported", None])["val_loss"] == "nats/token"


def test_the_loss_of_a_workload_of_ours_has_its_own_unit() -> None:
    assert units(["val_loss", "tokens"], [], ["ridge"]) == {"val_loss": "squared error", "tokens": "tokens"}
    assert units(["val_loss"], [], ["surrogate", None]) == {"val_loss": "nats/token"}
    assert units(["train_loss"], [], ["surrogate", "ridge"]) == {"train_loss": "nats/token or squared error"}
    assert units(["val_loss"], [], ["ridge", "command"]) == {"val_loss": ""}


def test_sweeps_that_disagree_are_both_named() -> None:
    other = {**LAUNCH, "sweep_file": SWEEP.replace("squared error", "bits")}
    assert units(["val_loss"], [LAUNCH, other, LAUNCH], [])["val_loss"] == "squared error or bits"


@pytest.mark.parametrize(
    "text",
    [None, 5, "not = [toml", "workload = 5", "[workload]\nknobs = 5\nmetrics.val_loss.unit = 3", "a = " + "[" * 9999],
)
def test_a_launch_record_that_is_not_a_sweep_declares_nothing(text: object) -> None:
    assert declared([{"workload": "command", "sweep_file": text}]) == {}


def test_labels_name_the_quantity_its_unit_and_its_column() -> None:
    models = Axes("params_non_embedding", "tokens", "val_loss", (), (), units(["tokens", "val_loss"], [], []))
    assert axis_label(models, "N") == "N, parameters (params_non_embedding)"
    assert axis_label(models, "D") == "D, training tokens"
    assert loss_label(models) == "validation loss (nats/token)"
    mine = Axes("width", "tokens", "mse", (), (), units([*COLUMNS, "mse"], [LAUNCH], ["python:o:train"]))
    assert [axis_label(mine, "N"), axis_label(mine, "D")] == ["N (width)", "D, examples (tokens)"]
    assert loss_label(mine) == "mse"


TRIALS = pl.DataFrame({"width": [1, 2], "examples": [3, 4], "mse": [0.5, 0.4], "lr": [0.1, 0.1]})


def test_a_report_takes_the_columns_it_is_given_and_names_every_missing_one() -> None:
    tables = Tables(TRIALS.lazy(), pl.LazyFrame(), {}, "runs.csv")
    by = axes(tables, TRIALS, loss="mse", x={"N": "width", "D": "examples"})
    assert (by.n, by.d, by.loss) == ("width", "examples", "mse")
    with pytest.raises(InputError) as error:
        axes(tables, TRIALS, x={"N": "widht", "Q": "lr"})
    assert "'widht'; did you mean 'width'?; give --x N=COLUMN" in str(error.value)
    assert "no column 'tokens'; give --x D=COLUMN" in str(error.value)
    assert "no column 'val_loss'; give --y COLUMN" in str(error.value)
    assert "'Q' is no input of a report" in str(error.value)
