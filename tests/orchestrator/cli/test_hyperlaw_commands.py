"""The commands of hyperparameter laws, run on a file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from sweeplaw.analysis.hyperlaws.suggestion.suggest import from_law
from sweeplaw.analysis.report.hyperlaw_section import hyper_section
from sweeplaw.analysis.tables.display import finite
from sweeplaw.orchestrator.cli import app
from sweeplaw.trials.errors import InputError

pytestmark = pytest.mark.process

LETS = ["--let", "batch_tokens=bs*2048"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = []
    for n in (1e8, 4e8, 1.6e9):
        for d in (4e9, 1.6e10, 6.4e10):
            for lr in 0.5 * n**-0.6 * d**0.25 * 2.0 ** np.arange(-2, 2.1, 0.5):
                for bs in 2.0 ** np.arange(5, 12):
                    rise = 0.005 * np.log(lr / (0.5 * n**-0.6 * d**0.25)) ** 2
                    rise += 0.005 * np.log(bs * 2048 / (0.5 * d**0.55)) ** 2
                    rows.append((n, d, round(lr, 9), int(bs), int(d / bs / 2048), 2.5 * d**-0.02 * np.exp(rise)))
    path = tmp_path_factory.mktemp("runs") / "runs.csv"
    pl.DataFrame(rows, schema=["N", "D", "lr", "bs", "steps", "loss"], orient="row").write_csv(path)
    return str(path)


def answer(*words: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("estimator", ["pooled:0.0025", "cells", "joint"])
def test_hyperlaw_prints_each_law_with_rows_cells_and_evaluation(table: str, estimator: str) -> None:
    words = ["hyperlaw", table, "--cell", "N,D", "--knob", "lr", "--knob", "batch_tokens", *LETS, "--y", "loss"]
    found = answer(*words, "--estimator", estimator, "--resamples", "100")
    laws = found["laws"]
    assert laws["lr"]["exponents"]["N"] == pytest.approx(-0.6, abs=0.03)
    assert laws["batch_tokens"]["exponents"]["D"] == pytest.approx(0.55, abs=0.15)
    assert found["rows"]["in"] == 567
    assert found["cells"]["total"] == 9
    assert {"leave_one_cell_out", "train_small_test_large"} <= set(found["evaluation"])
    assert found["alternatives"][0]["laws"]["batch_tokens"]["exponents"].keys() == {"N", "D"}
    assert found["reading"] == ["batch_tokens counts tokens"]


def test_a_batch_size_in_the_wrong_unit_is_rejected(table: str) -> None:
    words = ["hyperlaw", table, "--knob", "lr", "--knob", "batch_tokens", "--let", "batch_tokens=bs", "--y", "loss"]
    with pytest.raises(InputError, match="batch_tokens counts sequences of 2048 tokens, not tokens"):
        CliRunner().invoke(app, words, catch_exceptions=False)


@pytest.mark.parametrize(
    ("lets", "message"),
    [(["bs"], "--let 'bs' (accepted: NAME=VALUE)"), (["a=bs", "a=lr"], "--let gives a twice")],
)
def test_a_malformed_or_repeated_column_is_rejected(table: str, lets: list[str], message: str) -> None:
    words = ["hyperlaw", table, "--knob", "lr", "--y", "loss", *(word for let in lets for word in ("--let", let))]
    with pytest.raises(InputError, match=re.escape(message)):
        CliRunner().invoke(app, words, catch_exceptions=False)


def test_suggestions_from_runs_and_from_a_law_have_the_same_keys(table: str) -> None:
    words = ["suggest", "--params", "3e9", "--tokens", "1.4e11"]
    runs, law = answer(*words, "--store", table, *LETS, "--y", "loss"), answer(*words, "--law", "step-law")
    assert runs.keys() == law.keys()
    for found in (runs, law):
        assert {"lr", "batch_tokens", "batch_sequences", "weight_decay", "steps"} == set(found["settings"])
        assert found["settings"]["lr"]["plateau_factor"] > 1
    assert runs["settings"]["lr"]["value"] == pytest.approx(0.5 * 3e9**-0.6 * 1.4e11**0.25, rel=0.05)


@pytest.mark.parametrize("law", [None, "step-law", "deepseek"])
def test_a_suggestion_is_that_of_the_law_asked_for_and_by_default_of_step_law(law: str | None) -> None:
    found = answer("suggest", "--params", "3e9", "--tokens", "1.4e11", *(["--law", law] if law else []))
    expected = from_law(law or "step-law", 3e9, 1.4e11, 2048)
    assert found["source"] == (law or "step-law")
    assert found["settings"] == json.loads(json.dumps(finite(expected.to_dict())))["settings"]


def test_suggest_rejects_two_sources(table: str) -> None:
    words = ["suggest", "--params", "3e9", "--tokens", "1.4e11", "--store", table, "--law", "step-law"]
    with pytest.raises(InputError, match="not both"):
        CliRunner().invoke(app, words, catch_exceptions=False)


def test_a_count_that_is_no_number_is_rejected_with_the_accepted_forms() -> None:
    shown = CliRunner().invoke(app, ["suggest", "--params", "abc", "--tokens", "1T"])
    assert shown.exit_code == 2
    assert "'--params': 'abc' is not a number (accepted: 7000000000, 7e9, 7B)" in shown.output


@pytest.mark.parametrize(
    "words", [["batch-lr", "--batch", "bs"], ["compare-laws", "--knob", "lr"], ["hyperlaw", "--knob", "lr"]]
)
def test_a_design_without_a_law_is_reported_alike_by_every_command(table: str, words: list[str]) -> None:
    cell = "N = 1e8 AND D = 4e9"
    with pytest.raises(InputError, match=r"^one cell only \(N = 1e\+08, D = 4e\+09\)"):
        CliRunner().invoke(app, [*words, table, "--y", "loss", "--where", cell], catch_exceptions=False)


def test_compare_laws_reports_that_no_cell_has_an_optimum(tmp_path: Path) -> None:
    rows = [(n, 1e9, lr, 3 - 1e-9 * n + lr) for n in (1e8, 2e8, 4e8) for lr in (0.001, 0.002)]
    pl.DataFrame(rows, schema=["N", "D", "lr", "loss"], orient="row").write_csv(tmp_path / "two.csv")
    words = ["compare-laws", str(tmp_path / "two.csv"), "--knob", "lr", "--y", "loss"]
    shown = CliRunner().invoke(app, words, catch_exceptions=False).output
    assert "no cell has a fitted optimum\n" in shown
    assert "(off: )" not in shown


def test_compare_laws_importance_transfer_and_batch_lr_print_json(table: str, tmp_path: Path) -> None:
    knobs = ["--knob", "lr", "--knob", "batch_tokens", *LETS, "--y", "loss"]
    laws = answer("compare-laws", table, *knobs)["laws"]
    assert len(laws) == 9
    shares = answer(
        "importance", table, "--knob", "bs", "--y", "loss", "--cell", "N,D", "--figure", f"{tmp_path}/a.svg"
    )
    assert len(shares["cells"]) == 9
    assert (tmp_path / "a.svg").exists()
    carried = answer("transfer", table, "--workload", "N,D", "--knob", "bs", "--y", "loss", "--evaluate-on", "N > 1e9")
    assert sum(one["phase"] == "evaluation" for one in carried["workloads"]) == 3
    assert "exponent" in answer("batch-lr", table, *LETS, "--y", "loss")


@pytest.fixture(scope="module")
def recipes(table: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    runs = pl.read_csv(table).with_columns(batch_tokens=pl.col("bs") * 2048)
    other = runs.with_columns(moe_name=pl.lit("moe8"), lr=pl.col("lr") * 2)
    path = tmp_path_factory.mktemp("recipes") / "recipes.csv"
    pl.concat([runs.with_columns(moe_name=pl.lit("dense")), other.select(*runs.columns, "moe_name")]).write_csv(path)
    return str(path)


def test_a_text_axis_is_a_recipe_in_every_command(recipes: str) -> None:
    cell = ["--cell", "moe_name,N,D", "--y", "loss"]
    knobs = ["--knob", "lr", "--knob", "batch_tokens"]
    found = answer("hyperlaw", recipes, *cell, *knobs, "--resamples", "20")
    assert found["axes"] == ["N", "D"]
    assert found["laws"]["lr"]["recipe_factors"]["moe_name=moe8"]["value"] == pytest.approx(2, rel=0.02)
    assert any("the same as --recipe" in note for note in found["notes"])
    for words in (["compare-laws", *knobs], ["batch-lr"]):
        ours = answer(*words, recipes, *cell)
        assert any("moe_name holds text or booleans" in note for note in ours["notes"])
        named = answer(*words, recipes, "--recipe", "moe_name", "--y", "loss")
        assert {**named, "notes": []} == {**ours, "notes": []}
    assert len(answer("importance", recipes, *cell, *knobs)["cells"]) == 18
    carried = answer("transfer", recipes, "--workload", "moe_name,N,D", "--knob", "batch_tokens", "--y", "loss")
    assert len(carried["workloads"]) == 18


def test_a_suggestion_from_two_recipes_is_refused_with_what_selects_one(recipes: str) -> None:
    words = ["suggest", "--store", recipes, "--params", "3e9", "--tokens", "1.4e11", "--y", "loss"]
    with pytest.raises(InputError, match=r"(?s)2 recipes.*moe_name = 'moe8'"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    lrs = [answer(*words, "--where", f"moe_name = '{name}'")["settings"]["lr"]["value"] for name in ("dense", "moe8")]
    assert lrs[1] == pytest.approx(2 * lrs[0], rel=0.02)


def test_a_knob_that_cannot_be_answered_is_refused_after_the_law_of_one_that_can(tmp_path: Path) -> None:
    rows = [
        (n, d, decay, 2 * n**-0.3, 3 * d**-0.02 * float(np.exp(0.004 * np.log(decay / (1e-4 * n**0.4)) ** 2)))
        for n in (1e8, 2e8, 4e8)
        for d in (4e9, 1.6e10)
        for decay in (0.05, 0.1, 0.2, 0.4, 0.8)
    ]
    names = ["N", "D", "weight_decay", "lr", "val_loss"]
    pl.DataFrame(rows, schema=names, orient="row").write_csv(tmp_path / "runs.csv")
    shown = CliRunner().invoke(app, ["hyperlaw", str(tmp_path / "runs.csv"), "--knob", "lr", "--resamples", "0"])
    assert "weight_decay = " in shown.stdout
    assert "N^0.400" in shown.stdout
    assert isinstance(shown.exception, InputError)
    assert "lr takes one value in each cell" in shown.exception.render()
    assert "1 level a cell, 3 are needed" in shown.exception.render()


def test_the_same_laws_are_printed_once_when_an_axis_does_not_vary(table: str) -> None:
    words = ["hyperlaw", table, "--knob", "lr", "--knob", "batch_tokens", *LETS, "--y", "loss", "--resamples", "0"]
    found = answer(*words, "--let", "size=1e8", "--cell", "size,D", "--where", "N = 1e8")
    assert found["alternatives"] == []
    assert any("size spans a factor of 1 only" in note for note in found["notes"])


def test_runs_of_two_recipes_are_never_averaged(table: str, tmp_path: Path) -> None:
    runs, file = pl.read_csv(table), f"{tmp_path}/recipes.csv"
    other = runs.with_columns(pl.col("loss") * 0.9, pl.lit("muon").alias("optimizer"))
    pl.concat([runs.with_columns(pl.lit("adamw").alias("optimizer")), other]).write_csv(file)
    knobs = ("--knob", "lr", "--knob", "bs", "--y", "loss")
    for command, cells in (("best-of", "places"), ("importance", "cells")):
        found = answer(command, file, "--cell", "N,D", *knobs)
        assert len(found[cells]) == 18
        assert "differ in optimizer: each value has cells of its own" in str(found)
    carried = ("transfer", file, "--knob", "bs", "--y", "loss", "--workload")
    assert "--workload N,D,optimizer" in str(CliRunner().invoke(app, [*carried, "N,D"]).exception)
    assert len(answer(*carried, "N,D,optimizer")["workloads"]) == 18


@pytest.mark.parametrize("command", ["hyperlaw", "compare-laws", "suggest", "importance", "transfer", "batch-lr"])
def test_help_has_an_example_of_the_command(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"]).output
    assert f"sweeplaw {command}" in shown


def test_figures_of_cells_and_laws_are_drawn_into_the_folder(table: str, tmp_path: Path) -> None:
    knobs = ["--knob", "lr", "--knob", "batch_tokens", *LETS, "--y", "loss", "--resamples", "10"]
    answer("hyperlaw", table, *knobs, "--figures", f"{tmp_path}/drawn")
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == {"hyperlaw_heatmaps.svg", "hyperlaw_lines.svg"}


def test_a_report_section_states_why_there_is_no_law() -> None:
    section = hyper_section(pl.DataFrame({"N": [1.0], "D": [1.0], "lr": [0.1], "val_loss": [2.0]}), ["N", "D"], ["lr"])
    assert section.values == {}
    assert "one cell only" in section.refused
