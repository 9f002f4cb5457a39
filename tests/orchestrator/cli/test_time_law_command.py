"""The command `time-law`, run on files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from sweeplaw.analysis.tables import tables
from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.monitor.column_reference import with_null_metrics
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError

pytestmark = pytest.mark.process
GROKKING = """
name = "grokking"
workload = "modular_arithmetic"
[scientific]
weight_decay = [0.5, 1.0]
[fixed]
modulus = 5
width = 16
lr = 0.01
steps = {steps}
evaluations = 20
train_fraction = 0.8
"""
RUN = ("--x", "weight_decay", "--x", "train_fraction")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trials whose time is 300 / decay / fraction^2 / 4, seen until 1000; one of them failed."""
    rng, rows = np.random.default_rng(0), []
    for decay in (0.25, 0.5, 1.0, 2.0):
        for fraction in (0.3, 0.5, 0.7):
            for seed in range(3):
                time = 75 / decay / fraction**2 * np.exp(0.1 * rng.normal())
                rows.append((decay, fraction, seed, *((time, None) if time <= 1000 else (None, 1000.0))))
    rows.append((1.0, 0.5, 3, None, None))
    names = ["weight_decay", "train_fraction", "seed", "grok_step", "grok_censored_step"]
    path = tmp_path_factory.mktemp("runs") / "runs.csv"
    pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=None).write_csv(path)
    return path


def run(*words: str | Path) -> str:
    result = CliRunner().invoke(app, ["time-law", *(str(word) for word in words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_planted_law_is_found_and_the_failed_trial_is_named(table):
    found = json.loads(run(table, *RUN, "--at", "weight_decay=1,train_fraction=0.5", "--json"))
    assert (found["status"], found["rows"]) == ("verified", 36)
    assert 3 <= found["rows"] - found["events"] <= 9
    assert found["notes"] == ["1 row left out: neither grok_step nor grok_censored_step"]
    for name, truth in (("weight_decay", -1.0), ("train_fraction", -2.0)):
        one = found["exponents"][name]
        assert one["interval"]["low"] < truth < one["interval"]["high"]
        assert one["value"] == pytest.approx(truth, abs=0.15)
    (prediction,) = found["predictions"]
    assert prediction["value"] == pytest.approx(300, rel=0.1)


def test_the_text_says_the_law_its_intervals_and_what_was_left_out(table):
    text = run(table, *RUN, "--residuals", "weibull")
    assert "grok_step: 36 trials" in text
    assert "the time before which 63 % have the event" in text
    assert "exponent of weight_decay = -" in text
    assert "1 row left out" in text


def test_without_events_a_bound_is_said(table):
    text = run(table, *RUN, "--where", "grok_step IS NULL")
    assert "no event, so no law; the longest time without one is 1k" in text


@pytest.mark.parametrize(
    ("steps", "words", "said"),
    [
        (20, ("grok_step", "grok_censored_step"), "2 trials, 0 with the event, 2 censored\nno event, so no law"),
        (400, ("memorized_step", "memorized_censored_step"), "2 trials, 2 with the event, 0 censored"),
    ],
)
def test_a_store_in_which_no_trial_or_every_trial_had_the_event_has_a_law_or_a_bound(tmp_path, steps, words, said):
    opened = Store.open(str(tmp_path / "s"), create=True)
    launch(plan(parse(GROKKING.format(steps=steps))), opened, profile.load("inline"))
    time, censored = words
    assert said in run(tmp_path / "s", "--x", "weight_decay", "--time", time, "--censored", censored)


def test_queries_name_a_metric_that_no_trial_has(tmp_path, capfd):
    opened = Store.open(str(tmp_path / "s"), create=True)
    launch(plan(parse(GROKKING.format(steps=20))), opened, profile.load("inline"))

    def rows(*words: str) -> list[dict[str, object]]:
        done = CliRunner().invoke(app, ["query", str(tmp_path / "s"), *words, "--json"], catch_exceptions=False)
        return json.loads(done.output or capfd.readouterr().out)

    assert rows("SELECT count(*) AS runs, count(grok_step) AS grokked FROM trials") == [{"runs": 2, "grokked": 0}]
    assert rows("--where", "grok_step IS NULL", "--columns", "weight_decay,grok_step", "--sort", "weight_decay") == [
        {"weight_decay": 0.5, "grok_step": None},
        {"weight_decay": 1.0, "grok_step": None},
    ]
    loaded = tables.load(str(tmp_path / "s"))
    assert with_null_metrics(loaded, "grok_step + 1").trials.collect_schema()["grok_step"] == pl.Int64
    assert with_null_metrics(loaded, "nope, val_loss, grok_steps") is loaded


def test_a_column_that_is_not_there_and_an_unknown_name_are_refused(table):
    for words, said in (
        (("--x", "decay"), "decay"),
        ((*RUN, "--residuals", "normal"), "residuals = 'normal' is not known"),
        ((*RUN, "--at", "weight_decay=1"), "a value of each of weight_decay, train_fraction"),
    ):
        with pytest.raises(InputError, match=said):
            CliRunner().invoke(app, ["time-law", str(table), *words], catch_exceptions=False)
