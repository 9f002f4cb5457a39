"""The commands `compare` and `rungs`, run on files."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from sweeplaw.orchestrator.cli import app
from sweeplaw.trials.errors import InputError

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs with two optimizers, of which muon has 1.5 times the compute; the third size is 3 % too high."""
    rng = np.random.default_rng(0)
    rows = []
    for n, d, seed, (name, gain) in product(
        [1e6 * 3.0**k for k in range(7)], (1e8, 4e8, 16e8), range(3), (("adamw", 1.0), ("muon", 1.5))
    ):
        loss = 1.7 + 400 / (n * gain**0.5) ** 0.34 + 410 / (d * gain**0.5) ** 0.28
        rows.append((n, d, seed, name, 1e-3, loss * (1 + 0.03 * (n == 9e6)) + 0.004 * rng.normal()))
    path = tmp_path_factory.mktemp("runs") / "runs.csv"
    pl.DataFrame(rows, schema=["N", "D", "seed", "optimizer", "lr", "loss"], orient="row").write_csv(path)
    return path


def run(*words: str | Path) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def answer(*words: str | Path) -> Any:
    return json.loads(run(*words, "--json"))


def test_compare_by_a_knob_says_which_is_better_and_what_it_is_worth(table):
    (found,) = answer("compare", table, "--by", "optimizer", "--y", "loss")
    assert found["first"] == "optimizer = adamw"
    assert found["differing"] == {"optimizer": ["adamw", "muon"]}
    assert found["paired"] is True
    assert found["speed_up"]["value"] == pytest.approx(1.5, rel=0.1)
    text = run("compare", table, "--by", "optimizer", "--y", "loss")
    assert "the second is better" in text
    assert "N = 81M" in text


def test_compare_two_files(table, tmp_path):
    frame = pl.read_csv(table)
    paths = []
    for name in ("adamw", "muon"):
        paths.append(tmp_path / f"{name}.csv")
        frame.filter(pl.col("optimizer") == name).write_csv(paths[-1])
    (found,) = answer("compare", *paths, "--y", "loss")
    assert (found["first"], found["second"]) == tuple(map(str, paths))
    assert found["overall"]["points"] == 21
    with pytest.raises(InputError, match="second source"):
        run("compare", table, "--y", "loss")


def test_rungs_names_the_size_that_is_off_and_the_knob_at_its_edge(table, tmp_path):
    words = ("--x", "N=N", "--x", "D=D", "--y", "loss", "--where", "optimizer = 'adamw'")
    found = answer("rungs", table, *words)
    off = [rung for rung in found["rungs"] if rung["off"]]
    assert [rung["value"] for rung in off] == [pytest.approx(9e6)]
    assert off[0]["excess"] == pytest.approx(0.03, abs=0.01)
    frame = pl.read_csv(table)
    worse = [frame.with_columns(lr=rate, loss=pl.col("loss") * factor) for rate, factor in ((1e-3, 1.02), (2e-3, 1.0))]
    pl.concat(worse).write_csv(tmp_path / "rates.csv")
    text = run("rungs", tmp_path / "rates.csv", *words, "--knob", "lr")
    assert "N = 9M is" in text
    assert "the best lr is the highest tried in 3 of 3 cells (0.002)" in text


@pytest.mark.heavy
def test_rungs_of_columns_that_only_the_words_name_are_those_of_columns_named_n_and_d(table, tmp_path):
    renamed = pl.read_csv(table).rename({"N": "first", "D": "second"})
    renamed.write_csv(tmp_path / "renamed.csv")
    words = ("--y", "loss", "--where", "optimizer = 'adamw'")
    plain = answer("rungs", table, *words)
    found = answer("rungs", tmp_path / "renamed.csv", "--x", "N=first", "--x", "D=second", *words)
    assert found["rungs"] == plain["rungs"]
