"""Weights that a sweep keeps: those at the end of the training, readable member by member, and by transformers."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from typer.testing import CliRunner

from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.launch.launch import Launched, launch
from sweeplaw.orchestrator.launch.retries import requeue
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store import garbage
from sweeplaw.orchestrator.store.compaction import compact
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.corpus import open_corpus
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.kept import huggingface
from sweeplaw.trials.kept.model import KeptModel
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.store_format import kept_weights, tensor_files
from sweeplaw.trials.store_format.kept_weights import Kept
from sweeplaw.trials.training.model import token_losses
from sweeplaw.trials.training.recipe import TrainingDevice
from sweeplaw.trials.training.stack import Stack
from sweeplaw.trials.training.weights import UnshardedWeights
from sweeplaw.trials.workloads.language_model import LanguageModel
from sweeplaw.trials.workloads.language_model.run import member_group, recipe_of

pytestmark = pytest.mark.heavy  # half a second a test, or many of them

MARKOV = "markov:states=12,spread=1.5,tokens=65536"
SWEEP = f"""
name = "t"
keep = "final"
[scientific]
width = [16]
[fixed]
corpus = "{MARKOV}"
context = 16
unique_tokens = 2048
validation_tokens = 1024
"""


def launched(text: str, place: str | Path) -> tuple[Store, Launched, tuple[str, ...]]:
    store, made = Store.open(str(place), create=True), plan(parse(text))
    return store, launch(made, store, profile.load("inline")), tuple(made.ids)


def validation() -> torch.Tensor:
    held_out = open_corpus(MARKOV, "none").held_out(16, 1024)
    return torch.from_numpy(held_out.read(torch.arange(held_out.size).numpy()))


def full_disk(path: str, write: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def row(store: Store, trial_id: str) -> dict[str, Any]:
    return store.outcomes(["val_loss", "message"]).filter(trial_id=trial_id).to_dicts()[0]


@pytest.mark.heavy
@pytest.mark.parametrize("extra", ["", "members = 3", 'tied_embeddings = true\nprecision = "bfloat16"'])
def test_kept_weights_are_those_at_the_end_of_the_training(tmp_path, extra):
    store, _, (trial_id,) = launched(SWEEP + extra, tmp_path / "s")
    (spec,) = [group.spec(0) for group in plan(parse(SWEEP + extra)).groups]
    budget = open_corpus(MARKOV, "none").budget(16, 2048)
    with kept_weights.opened(store.location, Kept(trial_id)) as weights:
        assert json.loads(weights.spec) == json.loads(spec.canonical())
        assert weights.members == spec["members"]
        for number, member in enumerate(member_group(spec).members):
            stack = Stack([member], recipe_of(spec), budget, TrainingDevice("cpu"))
            stack.advance(recipe_of(spec).steps)
            tensors = weights.member(number)
            assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
            assert isinstance(stack.model.weights, UnshardedWeights)
            for name, tensor in stack.model.weights.parameters.items():
                assert torch.equal(tensors[name], tensor[0].detach()), name


def test_a_kept_model_has_the_recorded_validation_loss(tmp_path):
    store, _, (trial_id,) = launched(SWEEP, tmp_path / "s")
    windows = validation()
    with kept_weights.opened(store.location, Kept(trial_id)) as weights:
        logits = KeptModel(weights, 0).predict(windows[:, :-1])
    loss = token_losses(logits[None], windows[None, :, 1:]).double().mean().item()
    assert loss == pytest.approx(row(store, trial_id)["val_loss"], abs=1e-6)


def test_keep_changes_no_id_and_without_it_nothing_is_kept(tmp_path):
    without = SWEEP.replace('keep = "final"', "")
    store, _, ids = launched(without, tmp_path / "s")
    assert ids == tuple(plan(parse(SWEEP)).ids)
    assert not (tmp_path / "s/weights").exists()
    with (
        pytest.raises(InputError, match=r"keeps no weights of trial .* sweeplaw retry"),
        kept_weights.opened(store.location, Kept(ids[0])),
    ):
        pass


def test_a_relaunch_names_finished_trials_whose_weights_are_wanted_and_missing(tmp_path):
    store, _, ids = launched(SWEEP.replace('keep = "final"', ""), tmp_path / "s")
    again = launched(SWEEP, tmp_path / "s")[1]
    assert (again.states, again.without_weights) == ({}, ids)
    (tmp_path / "t.toml").write_text(SWEEP)
    arguments = ["launch", str(tmp_path / "t.toml"), "--store", str(tmp_path / "s"), "--cluster", "inline"]
    assert f"sweeplaw retry {tmp_path}/s {ids[0]}, then launch" in CliRunner().invoke(app, arguments).output
    requeue(store, [], ids=ids)
    trained = launched(SWEEP, tmp_path / "s")[1]
    assert (trained.states, trained.without_weights) == ({"completed": 1}, ())


def test_snapshots_are_kept_at_every_evaluation(tmp_path):
    text = SWEEP.replace('"final"', '"evaluations"') + "evaluations = 4\n"
    store, _, (trial_id,) = launched(text, tmp_path / "s")
    assert sorted(os.listdir(tmp_path / "s/weights")) == sorted(
        [f"{trial_id}.safetensors", *(f"{trial_id}.{step}.safetensors" for step in (4, 8, 12, 16))]
    )
    with (
        kept_weights.opened(store.location, Kept.of(f"{trial_id}@16")) as last,
        kept_weights.opened(store.location, Kept(trial_id)) as final,
        kept_weights.opened(store.location, Kept(trial_id, 4)) as early,
    ):
        assert torch.equal(last.member(0)["0.qkv"], final.member(0)["0.qkv"])
        assert not torch.equal(early.member(0)["0.qkv"], final.member(0)["0.qkv"])
    with (
        pytest.raises(InputError, match=r"at step 5 \(accepted are the steps 4, 8, 12, 16\)"),
        kept_weights.opened(store.location, Kept(trial_id, 5)),
    ):
        pass


def test_compaction_and_garbage_collection_leave_kept_weights(tmp_path):
    store, _, ids = launched(SWEEP.replace("[16]", "[16, 24]"), tmp_path / "s")
    before = {path.name: path.read_bytes() for path in (tmp_path / "s/weights").iterdir()}
    compact(store.location)
    garbage.collect(store.location, garbage.GRACE * 0)
    assert {path.name: path.read_bytes() for path in (tmp_path / "s/weights").iterdir()} == before
    assert kept_weights.trials(store.location) == set(ids)


@pytest.mark.process
def test_weights_are_kept_in_a_bucket(bucket, tmp_path):
    store, done, (trial_id,) = launched(SWEEP + "members = 2\n", f"{bucket}/s")
    assert (done.states, done.without_weights) == ({"completed": 1}, ())
    local, _, _ = launched(SWEEP + "members = 2\n", tmp_path / "s")
    with (
        kept_weights.opened(store.location, Kept(trial_id)) as far,
        kept_weights.opened(local.location, Kept(trial_id)) as near,
    ):
        assert torch.equal(far.member(1)["embedding"], near.member(1)["embedding"])


def test_weights_that_cannot_be_written_leave_the_loss_and_a_message(tmp_path, monkeypatch):
    Store.open(tmp_path / "s", create=True)
    (tmp_path / "s/weights").write_text("no folder")
    with pytest.raises(InputError, match="weights: it is a file, not a folder"):
        launched(SWEEP, tmp_path / "s")
    (tmp_path / "s/weights").unlink()
    monkeypatch.setattr(tensor_files, "write_atomically", full_disk)
    store, done, ids = launched(SWEEP, tmp_path / "s")
    assert done.without_weights == ids
    assert row(store, ids[0])["message"] == "its weights are not kept: [Errno 28] No space left on device"
    assert row(store, ids[0])["val_loss"] > 0


def test_a_file_that_is_damaged_foreign_or_a_link_is_refused(tmp_path):
    store, _, (trial_id,) = launched(SWEEP, tmp_path / "s")
    path = tmp_path / f"s/weights/{trial_id}.safetensors"
    intact = path.read_bytes()

    def fault() -> str:
        with pytest.raises(InputError) as raised, kept_weights.opened(store.location, Kept(trial_id)) as weights:
            KeptModel(weights, 0)
        return str(raised.value)

    path.write_bytes(intact[:-3] + bytes([intact[-3] ^ 1]) + intact[-2:])
    assert "damaged in" in fault()
    path.write_bytes(intact[:100])
    assert "cannot be read" in fault()
    path.write_bytes(intact.replace(b"sweeplaw weights 1", b"sweeplaw weights 9"))
    assert "format 'sweeplaw weights 9'" in fault()
    path.unlink()
    path.symlink_to("/dev/zero")
    assert "symbolic link" in fault()
    for text in ("../x", "0" * 19, f"{trial_id}@x", f"{trial_id}@"):
        with pytest.raises(InputError, match="accepted are TRIAL_ID"):
            Kept.of(text)
    path.unlink()
    path.write_bytes(intact)
    with (
        kept_weights.opened(store.location, Kept(trial_id)) as weights,
        pytest.raises(InputError, match=r"no member 1 \(accepted: 0 to 0\)"),
    ):
        KeptModel(weights, 1)


def forged(store: Store, trial_id: str, tensors: dict[str, torch.Tensor], **metadata: str) -> Kept:
    """Write kept weights of this content as the trial whose spec they have; return their name."""
    path = Path(store.location.path(f"weights/{trial_id}.safetensors"))
    with safe_open(path, "pt") as file:
        checksums = json.dumps({key: tensor_files.checksum(tensor) for key, tensor in tensors.items()})
        written = {**file.metadata(), "checksums": checksums, **metadata}
    name = TrialSpec.unreadable(written["spec"]).trial_id
    save_file(tensors, path.with_name(f"{name}.safetensors"), written)
    return Kept(name)


KNOBS = {"depth": 1, "width": 4, "heads": 1, "ffn": 4, "tied_embeddings": True, "qk_norm": False, "corpus": MARKOV}
KNOBS |= {"tokenizer": "none", "context": 16, "unique_tokens": 64, "rope_base": 1e4, "precision": "float32"}


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"depth": 10**12}, "1000000000000 layers, but 1 tensors"),
        ({"heads": 0, "qk_norm": True}, "spec of no model"),
        ({"width": "x"}, "spec of no model"),
        ({"depth": None}, "spec of no model"),
        ({}, "have no '0.qkv'"),
    ],
)
def test_weights_that_somebody_made_up_are_refused(tmp_path, changed, words):
    store, _, (trial_id,) = launched(SWEEP, tmp_path / "s")
    spec = json.dumps({"workload": "language_model", "knobs": {**KNOBS, **changed}})
    kept = forged(store, trial_id, {"0.embedding": torch.zeros(3, 4)}, spec=spec)
    with pytest.raises(InputError, match=words), kept_weights.opened(store.location, kept) as weights:
        huggingface.export(weights, 0, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_under_the_name_of_another_trial_or_of_members_that_are_not_there_are_damage(tmp_path):
    store, _, ids = launched(SWEEP.replace("[16]", "[16, 24]"), tmp_path / "s")
    folder = tmp_path / "s/weights"
    (folder / f"{ids[0]}.safetensors").write_bytes((folder / f"{ids[1]}.safetensors").read_bytes())
    (folder / f"{ids[1]}.x.safetensors").write_bytes(b"")
    forged(store, ids[1], {"0.embedding": torch.zeros(3, 4)}, members="1000000000000")
    for kept, words in (
        (Kept(ids[0]), "spec of another trial"),
        (Kept(ids[1]), "1000000000000 members, 1 of them there"),
        (Kept(ids[1], 3), "at step 3 .keep = 'evaluations' does"),
    ):
        with pytest.raises(InputError, match=words), kept_weights.opened(store.location, kept):
            pass


def test_an_export_copies_no_file_that_a_store_names(tmp_path):
    """The spec is content of the store, which anyone may have written."""
    (tmp_path / "secret").write_text("of a user")
    store, _, (trial_id,) = launched(SWEEP, tmp_path / "s")
    with kept_weights.opened(store.location, Kept(trial_id)) as weights:
        spec, member = json.loads(weights.spec), weights.member(0)
    spec["knobs"]["tokenizer"] = str(tmp_path / "secret")
    kept = forged(store, trial_id, {f"0.{name}": tensor for name, tensor in member.items()}, spec=json.dumps(spec))
    with kept_weights.opened(store.location, kept) as weights:
        huggingface.export(weights, 0, tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == ["config.json", "model.safetensors", huggingface.NOTE]
    assert "secret: copy it here" in json.loads((tmp_path / "out" / huggingface.NOTE).read_text())["tokenizer"]


def test_a_workload_without_weights_refuses_keep():
    with pytest.raises(InputError, match="keep = 'final': workload 'surrogate' leaves no weights"):
        parse('name = "t"\nworkload = "surrogate"\nkeep = "final"\n[scientific]\nparams = [10]\ntokens = [10]')
    with pytest.raises(InputError, match=r"keep: 'all'; input should be 'final' or 'evaluations'"):
        parse(SWEEP.replace('"final"', '"all"'))
    assert LanguageModel.of("", {}).keeps


@pytest.mark.slow
@pytest.mark.parametrize(
    "extra", ["", "tied_embeddings = true", "qk_norm = true", "rope_base = 100.0\nheads = 1", "members = 2"]
)
def test_an_exported_model_has_equal_logits_in_transformers(tmp_path, extra):
    transformers = pytest.importorskip("transformers")
    store, _, (trial_id,) = launched(SWEEP.replace("[16]", "[64]") + extra, tmp_path / "s")
    arguments = ["export-checkpoint", str(tmp_path / "s"), trial_id[:8], "--out", str(tmp_path / "hf")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    windows = validation()[:, :-1]
    with kept_weights.opened(store.location, Kept(trial_id)) as weights:
        for number in range(weights.members):
            folder = tmp_path / "hf" if weights.members == 1 else tmp_path / f"hf/member-{number}"
            theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
            ours = KeptModel(weights, number).predict(windows)
            with torch.no_grad():
                assert torch.allclose(theirs(windows).logits, ours, atol=2e-5), number
            note = json.loads((folder / huggingface.NOTE).read_text())
            assert (note["trial_id"], note["member"]) == (trial_id, number)
    again = CliRunner().invoke(app, arguments)
    assert isinstance(again.exception, InputError)
    assert "is not empty" in str(again.exception)
