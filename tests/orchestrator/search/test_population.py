"""Population-based training: schedules that were lived through can be read and trained again, bit for bit."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from sweeplaw.analysis.tables import tables
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.search import registry
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.changes import parse as changes_of
from sweeplaw.trials.errors import InputError

SWEEP = """
name = "population"
workload = "language_model"
[search]
kind = "population"
members = 4
intervals = 3
[scientific]
unique_tokens = [8192]
[nuisance]
{axes}
[fixed]
corpus = "markov:states=8,order=1"
tokenizer = "none"
depth = 1
width = 8
heads = 1
ffn = 8
context = 16
epochs = 1
batch_sequences = 8
evaluations = 6
validation_tokens = 1024
schedule = "constant"
{fixed}
"""
AXES = "lr = { log = [1e-4, 1e-1] }\nweight_decay = { log = [1e-3, 1.0] }"


@pytest.mark.heavy
def test_a_learnt_schedule_is_in_the_store_and_trains_again_to_the_same_loss(tmp_path: Path) -> None:
    sweep = parse(SWEEP.format(axes=AXES, fixed=""))
    done = launch(plan(sweep), Store.open(tmp_path / "s", create=True), Profile(kind="inline"))
    assert done.search_end == "every member has trained to its end"
    rows = tables.load(str(tmp_path / "s"), states=None).trials.collect()
    completed = rows.filter(pl.col("state") == "completed")
    assert completed.height == 4
    changed = completed.filter(pl.col("changes") != "")
    assert changed.height >= 1
    row = changed.sort("val_loss").row(0, named=True)
    assert changes_of(row["changes"])
    assert row["resumed_step"] > 0  # it began from another's checkpoint, and may have paused and gone on since
    curves = (
        tables.load(str(tmp_path / "s"), states=None).curves.filter(pl.col("trial_id") == row["trial_id"]).collect()
    )
    assert curves["step"].min() < row["resumed_step"]

    again = SWEEP.format(
        axes=f"lr = [{row['lr']!r}]",
        fixed=f'weight_decay = {row["weight_decay"]!r}\nchanges = "{row["changes"]}"',
    ).replace('kind = "population"\nmembers = 4\nintervals = 3', 'kind = "grid"')
    launch(plan(parse(again)), Store.open(tmp_path / "again", create=True), Profile(kind="inline"))
    (fresh,) = tables.load(str(tmp_path / "again")).trials.collect().to_dicts()
    assert fresh["trial_id"] == row["trial_id"]
    assert fresh.get("resumed_step") is None
    assert fresh["val_loss"] == row["val_loss"]


@pytest.mark.heavy
def test_the_best_member_is_found_with_the_schedule_it_lived_through(tmp_path: Path) -> None:
    done = launch(
        plan(parse(SWEEP.format(axes=AXES, fixed=""))), Store.open(tmp_path / "s", create=True), Profile(kind="inline")
    )
    found = tables.load(str(tmp_path / "s"))
    rows = found.trials.collect().sort("val_loss")
    (best,) = found.best(["unique_tokens"]).to_dicts()
    assert (best["trial_id"], best["seeds"], best["changes"]) == (rows["trial_id"][0], 1, rows["changes"][0])
    assert best["val_loss"] == rows["val_loss"][0]
    (recommended,) = done.recommended
    assert (recommended["value"], recommended.get("changes", "")) == (best["val_loss"], best["changes"])


def test_fewer_evaluations_than_intervals_are_refused() -> None:
    text = SWEEP.format(axes=AXES, fixed="").replace("evaluations = 6", "evaluations = 2")
    with pytest.raises(InputError, match=r"intervals = 3 with evaluations = 2: .* at least 3"):
        registry.check(parse(text))


def test_intervals_of_fewer_than_two_steps_are_refused() -> None:
    text = SWEEP.format(axes=AXES, fixed="").replace("evaluations = 6", "evaluations = 64")
    registry.check(parse(text.replace("intervals = 3", "intervals = 32")))  # 64 steps
    with pytest.raises(InputError, match=r"intervals = 33 of trials of 64 steps \(accepted: two steps in each\)"):
        registry.check(parse(text.replace("intervals = 3", "intervals = 33")))


def test_knobs_that_cannot_change_are_refused_and_the_others_named() -> None:
    with pytest.raises(InputError, match=r"batch_sequences cannot change .*lr, weight_decay"):
        registry.check(
            parse(SWEEP.format(axes=AXES + "\nbatch_sequences = [4, 8]", fixed="").replace("batch_sequences = 8\n", ""))
        )
    with pytest.raises(InputError, match="which surrogate cannot"):
        registry.check(
            parse(
                'name = "x"\nworkload = "surrogate"\n[search]\nkind = "population"\n'
                "[scientific]\nparams = [1e6]\n[nuisance]\nlr = { log = [1e-3, 1e-1] }\n[fixed]\ntokens = 1e6\n"
            )
        )


@pytest.mark.heavy
def test_a_malformed_schedule_is_refused_by_the_plan() -> None:
    text = SWEEP.format(axes="lr = [0.1]", fixed='changes = "5: momentum=1"')
    with pytest.raises(InputError, match="'momentum=1' is no change of a knob"):
        plan(parse(text.replace('kind = "population"\nmembers = 4\nintervals = 3', 'kind = "grid"')))
