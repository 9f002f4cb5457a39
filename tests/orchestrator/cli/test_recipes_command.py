"""`sweeplaw recipes`: tables for people, JSON for programs, and refusals in a sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from sweeplaw.orchestrator.cli import app
from sweeplaw.trials.errors import InputError
from tests.analysis.recipes.study.planted import runs

pytestmark = pytest.mark.heavy  # half a second a test, or many of them


@pytest.fixture
def losses(tmp_path: Path) -> Path:
    """A table of three recipes and a student, under foreign names."""
    student = pl.DataFrame({"recipe": ["student"], "N": [3e8], "U": [2e8], "K": [1], "loss": [3.4], "seed": [0]})
    table = pl.concat([runs(0.0005, 2), student], how="vertical_relaxed")
    path = tmp_path / "losses.csv"
    table.rename({"N": "size", "loss": "nats"}).with_columns(flops=6 * pl.col("size") * pl.col("U")).write_csv(path)
    return path


def run(*words: str | Path) -> str:
    """Return what the command prints."""
    result = CliRunner().invoke(app, ["recipes", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


COLUMNS = ("--column", "N=size", "--column", "loss=nats", "--draws", "100")


def test_a_table_prints_limits_multiples_laws_sensitivity_and_compute(losses):
    text = run(losses, *COLUMNS, "--retained", "student=joint", "--crossing", "joint,regularized,compute")
    for heading in (
        "What each recipe reaches", "Laws C + A x^-alpha", "Sensitivity", "Compute", "Distillation", "joint (A) and",
    ):  # fmt: skip
        assert heading in text
    assert "of the gain retained" in text
    assert re.search(r"^joint +200M +limit in N .*\dx +\[", text, re.MULTILINE)


def test_json_has_every_level(losses):
    found = json.loads(run(losses, *COLUMNS, "--json", "--retained", "student=joint"))
    assert found["standard"] == "standard"
    assert found["recipes"]["joint"]["limits"] == ["K", "N"]
    assert len(found["recipes"]["joint"]["K"]) == 16
    assert found["retained"][0]["student"] == 3.4
    assert found["draws"] == 100


def test_each_source_can_be_a_recipe(losses, tmp_path):
    table = pl.read_csv(losses)
    words = []
    for name in ("standard", "joint"):
        table.filter(recipe=name).drop("recipe").write_csv(tmp_path / f"{name}.csv")
        words.append(f"{name}={tmp_path / name}.csv")
    found = json.loads(run(*words, *COLUMNS, "--json", "--limit", "joint=K"))
    assert found["recipes"].keys() == {"standard", "joint"}
    assert found["recipes"]["joint"]["limits"] == ["K"]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--limit", "standard=K"), "standard: no limit in K"),
        (("--limit", "joint=Q"), "(accepted: K, N)"),
        (("--crossing", "joint"), "accepted: A,B,N"),
        (("--column", "N=sise"), "sise"),
        (("--retained", "student=teacher"), "no recipe 'teacher'"),
    ],
)
def test_refusals_say_what_would_be_accepted(losses, words, message):
    with pytest.raises(InputError) as caught:
        run(losses, *COLUMNS[2:] if words[0] == "--column" else COLUMNS, *words)
    assert message in caught.value.render()


def test_several_sources_without_names_are_refused(losses):
    with pytest.raises(InputError, match="accepted: NAME=SOURCE"):
        run(losses, losses)


def test_several_malformed_options_are_refused_together(losses):
    with pytest.raises(InputError) as caught:
        run(losses, "--crossing", "joint", "--retained", "student", "--limit", "joint")
    assert [fault.split()[0] for fault in caught.value.faults] == ["--limit", "--retained", "--crossing"]


@pytest.mark.heavy
def test_what_cannot_be_had_is_named_and_the_page_is_written(losses, tmp_path):
    page = tmp_path / "page.html"
    asked = ("--retained", "student=regularized", "--crossing", "joint,student,U")
    text = run(losses, *COLUMNS, *asked, "--page", page)
    assert "crossing of joint and student along U left out" in text
    assert "crossing of joint and student along U left out" in page.read_text()


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (("recipes",), "--draws"),
        (("fit",), "--bootstrap"),
        (("fit",), "--simulate"),
        (("hyperlaw", "--knob", "lr"), "--resamples"),
    ],
)
def test_a_count_that_would_run_for_ever_is_refused(command, option):
    result = CliRunner().invoke(app, [*command, "runs.csv", option, "1000000000"])
    assert result.exit_code == 2
    assert "less than or equal to 100000" in result.output
