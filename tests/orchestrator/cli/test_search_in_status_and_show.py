"""What `sweeplaw status` and `sweeplaw show` say of a sweep that searches."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.launch.adaptive import published_search
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.store_format import search_state

SWEEP = """
name = "searched"
workload = "surrogate"
[search]
kind = "local"
[budget]
trials = 6
[scientific]
params = [1e6]
tokens = [1e8]
[nuisance]
lr = { log = [1e-4, 1e-1], num = 7 }
batch_sequences = [16, 32, 64, 128, 256]
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store.open(tmp_path / "s", create=True)
    launch(plan(parse(SWEEP)), opened, Profile(kind="inline"))
    return opened


def output(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.output


def trials(store: Store) -> pl.DataFrame:
    return load(store.location.uri, states=None).trials.sort("search_number").collect()


@pytest.mark.heavy
def test_status_says_where_the_search_stands(store: Store) -> None:
    text = output("status", store.location.uri)
    assert "local search of searched: 6 proposals, 6 settings known; budget left: 0 trials" in text
    assert "  ended: budget.trials = 6 is spent" in text
    (values,) = json.loads(output("status", store.location.uri, "--json"))["searches"]
    assert (values["kind"], values["proposals"], values["left"]) == ("local", 6, {"trials": 0.0})


@pytest.mark.heavy
def test_show_says_why_a_trial_was_proposed(store: Store) -> None:
    first, second = trials(store).head(2).to_dicts()
    assert (
        f"proposal 0 of the local search, which knew 0 results: {first['search_reason']}"
        in output("show", store.location.uri, first["trial_id"]).splitlines()
    )
    values = json.loads(output("show", store.location.uri, second["trial_id"], "--json"))
    assert values["proposed"].startswith("proposal 1 of the local search, which knew 1 result: neighbour of the best")


@pytest.mark.heavy
def test_show_finds_a_trial_of_a_search_that_has_no_row_yet(store: Store) -> None:
    ((launched, state),) = search_state.load(store.location).items()
    running: dict[str, Any] = {"abcdef": {"number": 9, "reason": "to look here"}}
    published_search.publish(store.location, launched, replace(state, running=running))
    assert "proposal 9 of the local search: to look here" in output("show", store.location.uri, "abc")


@pytest.mark.heavy
def test_a_store_whose_search_never_published_still_gives_the_reason_of_its_rows(store: Store) -> None:
    for path in (Path(store.location.uri) / "searches").iterdir():
        path.unlink()
    assert "search of" not in output("status", store.location.uri)
    row = trials(store).row(0, named=True)
    assert "proposal 0 of a search, which knew 0 results" in output("show", store.location.uri, row["trial_id"])
