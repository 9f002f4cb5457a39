"""`sweeplaw plan` subtracts a store and prints what is known; `sweeplaw status` prints a rate while a launch lives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError

pytestmark = pytest.mark.process

SWEEP = """
name = "small"
workload = "surrogate"
seeds = 2
[scientific]
params = [1e7, 1e8]
tokens = [1e9]
[nuisance]
lr = [1e-3, 1e-2]
"""
UNKNOWN = """
name = "unknown"
[workload]
kind = "command"
argv = ["true", "{lr}", "{depth}"]
[scientific]
depth = [2]
[nuisance]
lr = [1e-3, 1e-2]
"""


@pytest.fixture
def sweep(tmp_path: Path) -> str:
    path = tmp_path / "small.toml"
    path.write_text(SWEEP)
    return str(path)


def shown(*words: str) -> str:
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_store_that_does_not_exist_has_no_trials_to_subtract(sweep: str, tmp_path: Path) -> None:
    assert shown("plan", sweep, "--store", str(tmp_path / "none")) == shown("plan", sweep)
    assert not (tmp_path / "none").exists()


def test_a_folder_that_is_not_a_store_is_refused(sweep: str, tmp_path: Path) -> None:
    for place in (tmp_path, sweep):
        with pytest.raises(InputError, match="is not a sweeplaw store"):
            CliRunner().invoke(app, ["plan", sweep, "--store", str(place)], catch_exceptions=False)


def test_a_complete_store_leaves_nothing_to_run(sweep: str, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    shown("launch", sweep, "--store", store, "--cluster", "inline")
    assert shown("plan", sweep, "--store", store) == "nothing to run: 8 of 8 trials are in the store\n"
    assert json.loads(shown("plan", sweep, "--store", store, "--json"))["trials"] == 0


def test_totals_that_are_not_known_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "unknown.toml").write_text(UNKNOWN)
    text = shown("plan", str(tmp_path / "unknown.toml"))
    assert "unknown: 2 trials of command" in text
    assert "total:" not in text
    (tmp_path / "some.toml").write_text(UNKNOWN + "[fixed]\ntokens = 1000\n")
    assert "total: 2k tokens\n" in shown("plan", str(tmp_path / "some.toml"))


def test_a_rate_is_printed_only_while_a_launch_lives(sweep: str, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    shown("launch", sweep, "--store", store, "--cluster", "inline")
    assert "trials a minute" not in shown("status", store)
    assert json.loads(shown("status", store, "--json"))["rate"] > 0
    Store.open(store).claim(["another"], "next", 60.0)
    assert "trials a minute" in shown("status", store)
