"""A derived sweep of students names the text that was sampled from the best setting of each point, or its weights."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.launch.evaluation.synthesis import request_of, requests_of_best, sample
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.estimate import absent_data
from sweeplaw.orchestrator.plan.new_sweeps.derived_sweep import best_runs, derive
from sweeplaw.orchestrator.plan.plan import Plan, plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.sampling.corpora import SamplingOptions, SamplingRequest

pytestmark = pytest.mark.heavy

SWEEP = """
name = "teachers"
workload = "language_model"
keep = "final"
seeds = 2
[scientific]
unique_tokens = [512, 1024]
[nuisance]
lr = [1e-4, 1e-2]
[fixed]
corpus = "markov:spread=1.5,states=12,tokens=65536"
context = 16
width = 16
depth = 1
epochs = 2
validation_tokens = 512
"""
STUDENTS = {"synthetic": "sampled", "synthetic_weight": "0.5"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teachers") / "s"
    launch(plan(parse(SWEEP)), Store.open(folder, create=True), Profile(kind="inline"))
    return folder


def ids(place: Path) -> list[str]:
    """The trials of the best learning rate of each budget, by their rows."""
    rows = load(place).trials.collect()
    means = rows.group_by("unique_tokens", "lr").agg(pl.col("val_loss").mean()).sort("val_loss")
    best = means.unique("unique_tokens", keep="first").sort("unique_tokens")
    found = []
    for point in best.iter_rows(named=True):
        own = rows.filter(unique_tokens=point["unique_tokens"], lr=point["lr"]).sort("seed")
        found.append(",".join(own["trial_id"]))
    return found


def by_budget(made: Plan, knob: str) -> list[str]:
    """The values of a knob in a plan of one trial for each budget, the smallest first."""
    specs = sorted((group.spec(0) for group in made.groups), key=lambda spec: int(spec["unique_tokens"]))
    return [spec[knob] for spec in specs]


def test_students_learn_from_the_best_of_each_point(place, tmp_path):
    assert [row["trial_id"] for row in best_runs(load(place))] == ids(place)
    with pytest.raises(InputError, match=rf"2 faults[^$]*sample {place} --trial \w+ --trial \w+ --tokens N"):
        derive(load(place), STUDENTS, store=str(place))
    done = CliRunner().invoke(app, ["sample", str(place), "--best", "--tokens", "2 * unique_tokens"])
    assert done.exit_code == 0, done.output
    names = done.stdout.split()
    text = derive(load(place), STUDENTS, store=str(place))
    made = plan(parse(text))
    made.sweep.workload.check([group.spec(0) for group in made.groups])
    assert by_budget(made, "synthetic") == names
    assert launch(made, Store.open(tmp_path / "s", create=True), Profile(kind="inline")).states == {"completed": 2}
    assert absent_data(made) == []
    elsewhere = plan(parse(text.replace(str(place), str(tmp_path / "none"))))
    assert [sentence.split(" (")[0] for sentence in absent_data(elsewhere)] == [
        f"{tmp_path}/none has no synthetic corpus {name.removeprefix('synthetic:').split('?')[0]}" for name in names
    ]
    again = sample(Store.open(place), SamplingRequest(ids(place)[0], 1024, SamplingOptions(seed=1)))
    with pytest.raises(InputError, match=f"has 2 texts of .*{again.name.split('?')[0]}"):
        derive(load(place), STUDENTS, store=str(place))


def test_students_begin_from_the_best_of_each_point(tmp_path):
    one = tmp_path / "one"
    launch(plan(parse(SWEEP.replace("= 2\n[sci", "= 1\n[sci"))), Store.open(one, create=True), Profile(kind="inline"))
    text = derive(
        load(one), {"init_from": "trial_id", "corpus": "'markov:seed=1,states=12,tokens=65536'"}, store=str(one)
    )
    made = plan(parse(text))
    assert by_budget(made, "init_from") == ids(one)
    made.sweep.workload.check([group.spec(0) for group in made.groups])


def test_tokens_are_a_number_or_a_formula_over_the_setting(place):
    options = SamplingOptions(temperature=0.5)
    assert request_of("a", "1.5k", options) == SamplingRequest("a", 1500, options)
    found = requests_of_best(Store.open(place), "3 * unique_tokens * epochs", options)
    assert found == [
        SamplingRequest(teachers, 6 * size, options) for teachers, size in zip(ids(place), (512, 1024), strict=True)
    ]
    for tokens, message in (
        ("3 * unique_tokens", "unique_tokens is not known"),
        ("0 - 5", "accepted: a positive number"),
    ):
        with pytest.raises(InputError, match=message):
            request_of("a", tokens, options)


def test_teachers_are_named_or_the_best(place):
    for arguments in ([], ["--best", "--trial", "abc"]):
        done = CliRunner().invoke(app, ["sample", str(place), "--tokens", "1k", *arguments])
        assert isinstance(done.exception, InputError)
        assert "accepted: --trial ID, once for each teacher, or --best" in str(done.exception)
