"""The command `compare-searches`, run on files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from sweeplaw.orchestrator.cli import app
from sweeplaw.trials.errors import InputError
from tests.orchestrator.search.rehearsal.planted import planted

pytestmark = pytest.mark.heavy

KNOBS = ("--cell", "N,D", "--knob", "lr", "--knob", "batch", "--y", "loss")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "runs.csv"
    planted(noise=0.0005).write_csv(path)
    return path


def run(*words: str | Path) -> str:
    result = CliRunner().invoke(app, ["compare-searches", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_json_has_a_row_for_each_search_and_share(table: Path) -> None:
    words = ("--searches", "law,tpe,random", "--budget", "0.05", "--seeds", "2", "--json")
    found = json.loads(run(table, *KNOBS, *words))
    rows = {(row["search"], row["share"]) for row in found["searches"]}
    assert rows == {(name, share) for name in ("law", "tpe", "random") for share in (0.01, 0.02, 0.03, 0.05)}
    wanted = {"search", "share", "mean_regret", "worst_cell_regret", "recommended_regret", "seconds"}
    assert all(wanted <= row.keys() for row in found["searches"])
    assert found["noise"]["sd"] == pytest.approx(0.0005, rel=0.25)
    assert {one["knob"] for one in found["exponents"]} == {"lr", "batch"}


def test_the_text_has_the_table_the_laws_and_the_noise_and_the_figure_is_drawn(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "regret.svg"
    text = run(table, *KNOBS, "--searches", "local,random", "--seeds", "2", "--slots", "3", "--out", out)
    assert text.startswith("6 cells, 432 settings, ")
    (law,) = re.findall(r"^whole table +lr ~ D\^(\S+) N\^(\S+)$", text, flags=re.MULTILINE)
    assert [float(power) for power in law] == pytest.approx([0.5, -0.5], abs=0.15)
    assert text.splitlines()[-1].startswith("differences below 0.0")
    assert out.read_text().startswith("<?xml")


def test_the_cost_may_be_a_formula_and_changes_what_a_share_pays_for(table: Path) -> None:
    words = ("--searches", "random", "--budget", "0.2", "--seeds", "1", "--json")
    by_default, flat = (json.loads(run(table, *KNOBS, *words, "--cost", cost)) for cost in ("6 * N * D", "1 + 0 * N"))
    assert flat["flops"] == 432
    assert flat["searches"][-1]["trials"] == 86  # a fifth of 432
    assert by_default["searches"][-1]["trials"] != 86


def test_a_tuned_knob_that_is_not_named_is_held_at_its_best_in_each_cell(tmp_path: Path) -> None:
    runs = planted(noise=0.0005)
    runs.write_csv(tmp_path / "runs.csv")
    words = ("--cell", "N,D", "--knob", "lr", "--y", "loss", "--searches", "random", "--budget", "1", "--seeds", "1")
    found = json.loads(run(tmp_path / "runs.csv", *words, "--json"))
    assert found["settings"] == 6 * 9
    assert found["notes"] == ["378 runs left out: not at the best batch of the cell"]


def test_runs_of_several_recipes_are_refused_until_one_is_chosen(tmp_path: Path) -> None:
    both = pl.concat([planted().with_columns(optimizer=pl.lit(name)) for name in ("adamw", "muon")])
    both.write_csv(tmp_path / "runs.csv")
    with pytest.raises(InputError, match="differ in optimizer") as caught:
        run(tmp_path / "runs.csv", *KNOBS, "--searches", "random")
    where = str(caught.value).split('--where "')[1].split('"')[0]
    run(tmp_path / "runs.csv", *KNOBS, "--searches", "random", "--seeds", "1", "--where", where)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--searches", "tpo"), "search 'tpo' is not known .* did you mean 'tpe'"),
        (("--budget", "0.00001"), "less than one trial"),
        (("--budget", "nan"), "budget = nan"),
        (("--cost", "6 * M * D"), "reads M, of which the table has no column"),
        (("--curve", "losses"), "losses"),
        (("--searches", "halving"), "halving"),
        (("--out", "regret.jpg"), "regret.jpg"),
        (("--knob", "wd"), "wd"),
        (("--knob", "lr"), "lr is named 2 times"),
        (("--knob", "loss"), "loss is named 2 times"),
    ],
)
def test_bad_input_is_refused_in_one_message(table: Path, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(table, *KNOBS, *words)


ODD: dict[str, tuple[pl.Expr | None, pl.Expr | None, str]] = {
    "one level": (pl.col("lr") == pl.col("lr").median(), None, "nuisance.lr has 1 values"),
    "one cell": ((pl.col("N") == pl.col("N").min()) & (pl.col("D") == pl.col("D").min()), None, "1 cell over 2 axes"),
    "nothing left": (pl.lit(False), None, "the table has no rows"),
    "no loss": (None, pl.lit(float("nan")).alias("loss"), "no run has a finite loss"),
    "negative": (None, -pl.col("loss"), "is not positive"),
    "text": (None, pl.lit("x").alias("loss"), "column 'loss' holds 'x'"),
    "no size": (None, pl.lit(0.0).alias("N"), "gives no positive number of FLOPs"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_tables_are_refused_with_what_is_odd(tmp_path: Path, name: str) -> None:
    condition, change, message = ODD[name]
    rows = planted() if condition is None else planted().filter(condition.cast(pl.Boolean))
    (rows if change is None else rows.with_columns(change)).write_parquet(tmp_path / "odd.parquet")
    with pytest.raises(InputError, match=message):
        run(tmp_path / "odd.parquet", *KNOBS, "--searches", "law", "--seeds", "1")


def test_a_cell_without_a_loss_and_runs_that_diverged_are_left_out_and_counted(tmp_path: Path) -> None:
    lost = (pl.col("N") == pl.col("N").min()) | (pl.col("lr") == pl.col("lr").max())
    rows = planted().with_columns(pl.when(lost).then(float("nan")).otherwise("loss").alias("loss"))
    rows.write_parquet(tmp_path / "lost.parquet")
    result = CliRunner().invoke(
        app, ["compare-searches", str(tmp_path / "lost.parquet"), *KNOBS, "--searches", "law", "--seeds", "1", "--json"]
    )
    found = json.loads(result.stdout)
    cells = planted().filter(pl.col("N") > planted()["N"].min()).select("N", "D").n_unique()
    assert found["cells"] == cells
    assert any("left out: every run diverged" in note for note in found["notes"])
    assert all(row["mean_regret"] >= 0 for row in found["searches"])
