"""Whatever a foreign table holds, a command answers or refuses it in one message.

``SWEEPLAW_FUZZ=10`` draws ten times as many tables.
"""

from __future__ import annotations

import datetime as dt
import os
import random

import polars as pl
import pytest
from typer.testing import CliRunner

from sweeplaw.analysis.tables import tables
from sweeplaw.orchestrator.cli import app
from sweeplaw.trials.errors import InputError
from tests.analysis.tables import foreign_tables

TABLES = 8 * int(os.environ.get("SWEEPLAW_FUZZ", "1"))
PER_TABLE = 3
KNOBS = ["--knob", "lr", "--knob", "batch_tokens"]
FIT = ["fit", "{file}", "--x", "N=params_non_embedding", "--x", "D=tokens", "--y", "val_loss"]
COMMANDS = (
    FIT,
    [*FIT, "--approaches"],
    [*FIT, "--bootstrap", "20", "--by", "cell"],
    ["fit", "{file}", "power", "--x", "N=params_non_embedding", "--y", "val_loss", "--approaches"],
    ["hyperlaw", "{file}", *KNOBS, "--resamples", "5"],
    ["hyperlaw", "{file}", *KNOBS, "--resamples", "5", "--recipe", "state"],
    ["hyperlaw", "{file}", "--knob", "lr", "--resamples", "5", "--estimator", "pooled:0.01"],
    ["suggest", "--params", "1e8", "--tokens", "1e10", "--store", "{file}"],
    ["compare-laws", "{file}", *KNOBS],
    ["batch-lr", "{file}"],
    ["importance", "{file}", *KNOBS, "--cell", "N,D"],
    ["importance", "{file}", "--knob", "lr", "--knob", "state", "--figure", "{file}.svg"],
    ["transfer", "{file}", "--workload", "N,D", "--knob", "lr", "--evaluate-on", "N > 1e7"],
    ["query", "{file}"],
    ["query", "{file}", "--best-per", "N,D", "--json"],
    ["query", "{file}", "SELECT * FROM trials", "--ndjson"],
    ["query", "{file}", "SELECT AVG(val_loss) AS m, MAX(lr) FROM trials", "--csv"],
    ["query", "{file}", "--sort", "-lr", "--where", "lr > 0.001", "--out", "{file}.out.arrow"],
    ["report", "{file}", "--out", "{file}-report"],
    ["export", "{file}", "{file}.out.csv"],
    ["export", "{file}", "{file}.out.ndjson"],
    ["diff", "{file}", "{other}", "--tolerance", "0.1"],
)


def run(command, **paths):
    """Run a command on these files; return None where it refuses them."""
    try:
        return CliRunner().invoke(app, [part.format(**paths) for part in command], catch_exceptions=False)
    except InputError as refused:
        text = str(refused)
    assert len(text) < 10_000
    return None


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(TABLES))
def test_every_command_answers_or_refuses_a_foreign_table(tmp_path, seed):
    draw = random.Random(seed)
    (tmp_path / "other").mkdir()
    paths = {
        name: foreign_tables.write(draw, foreign_tables.spoiled(draw), folder)
        for name, folder in (("file", tmp_path), ("other", tmp_path / "other"))
    }
    for command in draw.sample(COMMANDS, PER_TABLE):
        done = run(command, **paths)
        assert done is None or done.exit_code in (0, 1, 2, 3), command


def test_decimals_durations_and_categories_are_read_in_types_that_every_command_takes(tmp_path):
    frame = pl.DataFrame({
        "cost": pl.Series(["1.5"]).cast(pl.Decimal(10, 2)),
        "took": [dt.timedelta(seconds=90)],
        "kind": pl.Series(["a"], dtype=pl.Categorical),
        "at": [dt.time(12, 30)],
        "none": [None],
        "state": [None],
        "attempt": pl.Series([1], dtype=pl.Int8),
        "trial_id": [7],
    })  # fmt: skip
    frame.write_parquet(tmp_path / "runs.parquet")
    read = tables.load(tmp_path / "runs.parquet", states=None).trials.collect()
    assert read.row(0) == (1.5, 90.0, "a", "12:30:00", None, None, 1, "7")
    assert [read[name].dtype for name in ("none", "state", "attempt")] == [pl.Float64, pl.String, pl.Int8]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pl.Series("ended", [2**62, None]).cast(pl.Datetime("us")), "'ended': 1 rows hold no date of the years 1 to"),
        (pl.Series("ended", [2**30, 0], dtype=pl.Int32).cast(pl.Date), "'ended': 1 rows hold no date"),
        (pl.Series("state", [["completed"], []]), "column 'state' holds List"),
        (pl.Series("trial_id", [b"\xff", b""]), "column 'trial_id' holds Binary"),
    ],
)
def test_a_column_that_no_command_can_take_is_refused_at_the_door(tmp_path, column, words):
    column.to_frame().write_parquet(tmp_path / "runs.parquet")
    with pytest.raises(InputError, match=words):
        tables.load(tmp_path / "runs.parquet", states=None)


def test_a_column_without_a_value_is_the_same_in_every_kind_of_file(tmp_path):
    frame = pl.DataFrame({"flops": [None, None], "source": [None, None], "label": [None, None], "loss": [1.5, 2.5]})
    frame.write_csv(tmp_path / "runs.csv")
    frame.write_parquet(tmp_path / "runs.parquet")
    frame.write_ndjson(tmp_path / "runs.ndjson")
    types = [tables.load(file, states=None).trials.collect_schema() for file in sorted(tmp_path.iterdir())]
    assert types == [{"flops": pl.Float64, "source": pl.String, "label": pl.Float64, "loss": pl.Float64}] * 3


def test_rows_without_a_state_are_left_out_and_counted(tmp_path):
    (tmp_path / "runs.csv").write_text("state,val_loss\ncompleted,2\n,3\nfailed,4\n")
    loaded = tables.load(tmp_path / "runs.csv")
    assert dict(loaded.dropped) == {"state failed": 1, "state null": 1}
    assert loaded.trials.collect()["val_loss"].to_list() == [2]


@pytest.mark.heavy
def test_a_report_draws_values_and_names_that_look_like_formulas(tmp_path):
    frame = foreign_tables.grid().with_columns(
        optimizer=pl.Series(["$\\frac{", "a$b$c", "<b>"] * 27), state=pl.lit("completed")
    )
    frame.write_parquet(tmp_path / "runs.parquet")
    made = ["hyperlaw", "{file}", *KNOBS, "--recipe", "optimizer", "--resamples", "5", "--figures", "{file}-figures"]
    bars = ["importance", "{file}", "--knob", "lr", "--cell", "optimizer", "--figure", "{file}.svg"]
    for command in (made, bars):
        done = run(command, file=tmp_path / "runs.parquet")
        assert done is None or done.exit_code == 0
    assert "a$b$c" in (tmp_path / "runs.parquet.svg").read_text()
