"""Ensembles of finished trials, from the weights that a store keeps of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from typer.testing import CliRunner

from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.launch.evaluation.ensembles import evaluate
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.corpus import open_corpus
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.kept import ensembles
from sweeplaw.trials.kept.members import MemberName
from sweeplaw.trials.training.evaluation import ensemble as evaluation
from sweeplaw.trials.workloads.ensemble import Ensemble

pytestmark = pytest.mark.heavy

SWEEP = """
name = "singles"
keep = "evaluations"
seeds = 3
[scientific]
width = [16]
[fixed]
corpus = "markov:states=12,spread=1.5,tokens=65536"
context = 16
unique_tokens = 2048
validation_tokens = 1024
evaluations = 2
lr = 1e-2
"""


def run(text: str, place: Path) -> tuple[Store, list[str]]:
    made, store = plan(parse(text)), Store.open(place, create=True)
    assert launch(made, store, profile.load("inline")).states == {"completed": made.trials}
    return store, [trial for group in made.groups for trial in group.ids]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept") / "s"
    run(SWEEP, folder)
    run(SWEEP.replace("singles", "packed").replace("seeds = 3", "") + "members = 3\n", folder)
    run(SWEEP.replace("singles", "longer").replace("seeds = 3", "").replace("= 16\n", "= 8\n"), folder)
    return folder


def rows(place: Path, **values: Any) -> pl.DataFrame:
    return load(place).trials.filter(workload="language_model", **values).collect().sort("seed")


def test_ensembles_of_finished_trials_equal_the_ensemble_trained_as_one(place):
    singles, (packed,) = rows(place, sweep="singles"), rows(place, sweep="packed").to_dicts()
    found = evaluate(Store.open(place), singles["trial_id"].to_list())
    assert found["members"].to_list() == [1, 1, 1, 2, 2, 2, 3]
    assert found["val_loss"][:3].to_list() == singles["val_loss"].to_list()  # to the bit
    means = found.group_by("members", maintain_order=True).agg(pl.col("val_loss").mean())["val_loss"].to_list()
    assert means == pytest.approx([packed[f"ensemble_loss_{k}"] for k in (1, 2, 3)], abs=1e-6)
    assert found["val_loss"][6] == pytest.approx(packed["val_loss"], abs=1e-6)
    assert found["member_loss"][6] == pytest.approx(packed["member_loss"], abs=1e-6)


def test_rows_have_what_laws_read_of_their_members(place):
    singles, (packed,) = rows(place, sweep="singles"), rows(place, sweep="packed").to_dicts()
    last = evaluate(Store.open(place), singles["trial_id"].to_list()).to_dicts()[-1]
    for name in ("params", "params_non_embedding", "tokens", "unique_tokens", "lr", "weight_decay", "corpus"):
        assert last[name] == packed[name], name
    assert (last["members"], last["flops"]) == (3, pytest.approx(3 * singles["flops"][0]))
    assert (last["workload"], last["subset"]) == ("ensemble", ",".join(singles["trial_id"]))
    assert json.loads(last["spec"])["knobs"]["subset"] == last["subset"]
    assert last["flops"] == pytest.approx(packed["flops"])


def test_what_is_recorded_is_not_evaluated_again(place, monkeypatch):
    ids = rows(place, sweep="singles")["trial_id"].to_list()
    first = evaluate(Store.open(place), ids)
    monkeypatch.setattr(Ensemble, "run", None)
    assert evaluate(Store.open(place), ids).equals(first)


def test_members_of_one_trial_and_snapshots_of_one_run_are_models_too(place):
    (packed,) = rows(place, sweep="packed").to_dicts()
    found = evaluate(Store.open(place), [packed["trial_id"]], nested=True)
    assert found["subset"][1] == f"{packed['trial_id']}:0,{packed['trial_id']}:1"
    assert found["val_loss"].to_list() == pytest.approx([packed[f"nested_loss_{k}"] for k in (1, 2, 3)], abs=1e-6)
    single = rows(place, sweep="singles").to_dicts()[0]
    both = evaluate(Store.open(place), [f"{single['trial_id']}@8", f"{single['trial_id']}@16"])
    curve = load(place).curves.filter(trial_id=single["trial_id"]).collect()
    for step, loss in ((8, both["val_loss"][0]), (16, both["val_loss"][1])):
        assert loss == curve.filter(step=step)["val_loss"][0]
    assert both["val_loss"][2] <= both["member_loss"][2]
    assert both["flops"].to_list() == pytest.approx([single["flops"] / 2, single["flops"], single["flops"]])


def test_averaged_probabilities_are_other_rows(place):
    ids = rows(place, sweep="singles")["trial_id"].to_list()
    logits, probabilities = (evaluate(Store.open(place), ids, combine) for combine in ("logits", "probabilities"))
    assert not set(logits["trial_id"]) & set(probabilities["trial_id"])
    assert probabilities["val_loss"][:3].to_list() == logits["val_loss"][:3].to_list()
    assert (probabilities["val_loss"] <= probabilities["member_loss"] + 1e-9).all()
    assert probabilities["val_loss"][6] != logits["val_loss"][6]
    assert probabilities["val_loss"][6] == pytest.approx(logits["val_loss"][6], abs=0.05)


def test_a_sweep_file_evaluates_ensembles_through_a_launch(place, tmp_path):
    ids = rows(place, sweep="singles")["trial_id"].to_list()
    text = f"""
name = "e"
workload = {{ kind = "ensemble", store = "{place}" }}
[scientific]
subset = ["{ids[0]}", "{ids[0]},{ids[2]}"]
[nuisance]
combine = ["logits", "probabilities"]
"""
    run(text, tmp_path / "elsewhere")
    there = load(tmp_path / "elsewhere").trials.collect()
    here = evaluate(Store.open(place), [ids[0], ids[2]])
    shared = there.join(here, on="trial_id", suffix="_here")
    assert shared.height == 2
    assert shared["val_loss"].to_list() == pytest.approx(shared["val_loss_here"].to_list(), abs=1e-6)
    assert there["members"].dtype == pl.Int64


def test_models_that_do_not_fit_in_memory_are_read_for_every_batch(place, monkeypatch):
    ids = rows(place, sweep="singles")["trial_id"].to_list()
    names = [MemberName.of(trial) for trial in ids]
    store = Store.open(place)
    (spec,) = plan(parse(SWEEP.replace("seeds = 3", ""))).groups
    held_out = open_corpus(str(spec.shared["corpus"]), "none").held_out(16, 1024)
    windows = torch.from_numpy(held_out.read(torch.arange(held_out.size).numpy()))
    held = ensembles.evaluate(store.location, names, windows, [1, 3, 7])
    monkeypatch.setattr(ensembles, "HELD_VALUES", 1)
    monkeypatch.setattr(ensembles, "STREAMED_LOGITS", 3 * 12 * 16 * 5)
    loads: list[int] = []
    real = ensembles.Models._load

    def load_noted(models: Any, index: int) -> Any:
        loads.append(index)
        return real(models, index)

    monkeypatch.setattr(ensembles.Models, "_load", load_noted)
    assert ensembles.evaluate(store.location, names, windows, [1, 3, 7]) == pytest.approx(held, abs=1e-6)
    assert len(loads) == 1 + 3 * -(-64 // 5)
    assert evaluation.batch_windows("cpu", 8, 256, 128) == 4


def test_faults_say_what_is_wrong_and_what_would_be_accepted(place):
    store = Store.open(place)
    ids = rows(place, sweep="singles")["trial_id"].to_list()
    (packed,), (longer,) = (rows(place, sweep=name)["trial_id"].to_list() for name in ("packed", "longer"))
    faults = {
        (): "no trial was named",
        ("x",): "accepted are TRIAL_ID",
        (ids[0], ids[0]): "named twice",
        ("0" * 20,): "keeps no weights of trial 00000000000000000000",
        (f"{ids[0]}@5",): "at step 5 \\(accepted are the steps 8, 16\\)",
        (f"{packed}:3",): "has no member 3 \\(accepted: 0 to 2\\)",
        (f"{packed}:a",): "TRIAL_ID:MEMBER",
        (ids[0], longer): f"context = 16 in {ids[0]}, 8 in {longer} \\(accepted: members with the same",
    }
    for names, message in faults.items():
        with pytest.raises(InputError, match=message):
            evaluate(store, names)
    with pytest.raises(InputError, match="logits, probabilities"):
        evaluate(store, ids, "votes")
    with pytest.raises(InputError, match=r"workload\.store: missing"):
        parse('name = "e"\nworkload = "ensemble"\n[scientific]\nsubset = ["x"]')
    with pytest.raises(InputError, match=r"has 3 members \(accepted: :0 to :2 after its id\)"):
        Ensemble(str(place)).check(
            [
                group.spec(0)
                for group in plan(
                    parse(f"""
name = "e"
workload = {{ kind = "ensemble", store = "{place}" }}
[scientific]
subset = ["{packed}"]""")
                ).groups
            ]
        )


def test_the_command_prints_a_row_for_each_size_and_json_one_for_each_subset(place):
    ids = rows(place, sweep="singles")["trial_id"].to_list()
    named = [part for trial in ids for part in ("--trial", trial[:12])]
    result = CliRunner().invoke(app, ["evaluate", str(place), *named, "--json"])
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert [row["members"] for row in content["ensembles"]] == [1, 1, 1, 2, 2, 2, 3]
    table = CliRunner().invoke(app, ["evaluate", str(place), *named]).stdout.splitlines()
    assert table[0].split() == ["members", "subsets", "mean_loss", "nested_loss", "member_loss"]
    assert [line.split()[:2] for line in table[1:]] == [["1", "3"], ["2", "3"], ["3", "1"]]
