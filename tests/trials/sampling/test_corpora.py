"""Synthetic corpora are what their teachers write, the same for the same request, whole or not there at all."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from typer.testing import CliRunner

from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.launch.evaluation.synthesis import sample as sample_from
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.corpus import open_corpus
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.kept.members import MemberName
from sweeplaw.trials.kept.teachers import describe, load
from sweeplaw.trials.sampling import corpora
from sweeplaw.trials.sampling.corpora import SamplingOptions, SamplingRequest, open_synthetic, open_text, sample_corpus
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.store_format import kept_weights, synthetic_corpora, tensor_files
from sweeplaw.trials.store_format.kept_weights import Kept
from sweeplaw.trials.store_format.location import Location, locate
from sweeplaw.trials.training.keeping import named
from sweeplaw.trials.training.parametrization.groups import ParameterLayout
from sweeplaw.trials.training.weights import draw, generators
from sweeplaw.trials.workloads.language_model import LanguageModel
from sweeplaw.trials.workloads.language_model.resolve import shape_of

SMALL = {"corpus": "markov:states=12,tokens=65536", "context": 16, "unique_tokens": 512, "width": 16, "depth": 1}
WORKLOAD = LanguageModel.of("", {})


def keep(folder: Path, seed: int = 0, members: int = 1, **values: Any) -> str:
    """Keep weights drawn at random in a store and return the id of their trial."""
    spec = TrialSpec.of(WORKLOAD.name, WORKLOAD.knobs, WORKLOAD.resolve({**SMALL, **values}) | {"seed": seed})
    shape = shape_of(spec.knobs)
    rows = 3 * draw(ParameterLayout.of(shape).values, generators(range(10 * seed, 10 * seed + members)))
    kept_weights.save(f"{folder}/weights", Kept(spec.trial_id), spec.canonical(), [named(row, shape) for row in rows])
    return spec.trial_id


@pytest.fixture
def place(tmp_path: Path) -> Location:
    return locate(str(tmp_path))


def sampled(place: Location, *teachers: str, batch: int = 64, **options: Any) -> synthetic_corpora.SyntheticText:
    found = sample_corpus(place, SamplingRequest(",".join(teachers), 640, SamplingOptions(**options)), batch=batch)
    return synthetic_corpora.load(place.uri, found.corpus_id)


@pytest.mark.heavy
def test_the_same_request_has_one_name_and_is_sampled_once(place, tmp_path, monkeypatch):
    request = SamplingRequest(keep(tmp_path), 640)
    first = sample_corpus(place, request)
    monkeypatch.setattr(corpora, "_sample", None)
    again = sample_corpus(place, request, batch=3)
    assert (again.name, again.facts, again.anew) == (first.name, first.facts, False)
    assert first.anew
    assert first.name == f"synthetic:{first.corpus_id}?vocab=12"


@pytest.mark.heavy
def test_every_option_is_part_of_the_name(place, tmp_path):
    first, second = keep(tmp_path), keep(tmp_path, 1)
    requests = [SamplingRequest(first, 640), SamplingRequest(second, 640), SamplingRequest(f"{first},{second}", 640)]
    requests += [
        SamplingRequest(first, 640, SamplingOptions(temperature=0.5)),
        SamplingRequest(first, 640, SamplingOptions(prompt_tokens=3)),
    ]
    requests += [SamplingRequest(first, 640, SamplingOptions(seed=7))]
    requests += [SamplingRequest(first, 656), SamplingRequest(f"{first},{second}", 640, SamplingOptions(mix="logits"))]
    ids = [sample_corpus(place, request).corpus_id for request in requests]
    assert len(set(ids)) == len(ids)


@pytest.mark.heavy
def test_one_teacher_writes_the_same_text_in_both_mixes(place, tmp_path):
    teacher = keep(tmp_path)
    ids = {
        sample_corpus(place, SamplingRequest(teacher, 640, SamplingOptions(mix=mix))).corpus_id for mix in corpora.MIXES
    }
    assert len(ids) == 1


def test_tokens_do_not_depend_on_the_batch(tmp_path):
    texts = []
    for batch in (64, 7):
        folder = tmp_path / str(batch)
        teacher = keep(folder)
        texts.append(sampled(locate(str(folder)), teacher, batch=batch).tokens)
    assert np.array_equal(texts[0], texts[1])
    assert texts[0].shape == (40, 17)
    assert texts[0].dtype == np.uint8


@pytest.mark.parametrize("length", [1, 5, 16])
def test_sequences_begin_with_training_text_of_the_teacher(place, tmp_path, length):
    found = sampled(place, keep(tmp_path), prompt_tokens=length)
    budget = open_corpus(str(SMALL["corpus"]), "none").budget(16, 512)
    windows = budget.read(np.arange(budget.size))
    known = {tuple(row[i : i + length]) for row in windows for i in range(18 - length)}
    prompts = [tuple(row[:length]) for row in found.tokens.tolist()]
    assert set(prompts) <= known
    assert len(set(prompts)) > 1


def test_authors_take_turns_and_each_writes_as_its_own_model_predicts(place, tmp_path):
    teachers = keep(tmp_path), keep(tmp_path, 1)
    tokens = torch.from_numpy(sampled(place, *teachers).tokens.astype(np.int64))
    models = [load(place, MemberName.of(name)) for name in teachers]
    losses = torch.stack([
        F.cross_entropy(model.predict(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        .view(len(tokens), -1).mean(dim=1) for model in models
    ])  # fmt: skip
    assert losses.argmin(dim=0).tolist() == [0, 1] * 20


def test_a_trial_of_several_members_is_all_of_them(place, tmp_path):
    trial = keep(tmp_path, members=3)
    assert [str(one.name) for one in describe(place, trial)] == [f"{trial}:0", f"{trial}:1", f"{trial}:2"]
    assert sampled(place, trial).recipe["teachers"] == [f"{trial}:0", f"{trial}:1", f"{trial}:2"]


def test_flops_are_those_of_the_forward_passes(place, tmp_path):
    teachers = keep(tmp_path), keep(tmp_path, 1)
    # per token and model: 2 FLOPs for each weight of the block and of the head (norms counted), and 4 x context x width
    weights = 4 * 16 * 16 + 3 * 16 * shape_of(describe(place, teachers[0])[0].knobs).ffn + 3 * 16
    forward = 2 * (weights + 12 * 16) + 4 * 16 * 16
    assert sampled(place, *teachers).facts["flops"] == pytest.approx(640 * forward)
    assert sampled(place, *teachers, mix="logits").facts["flops"] == pytest.approx(2 * 640 * forward)


def test_streams_of_an_opened_corpus_share_no_sequence(place, tmp_path):
    found = sampled(place, keep(tmp_path))
    name = f"synthetic:{found.corpus_id}?vocab=12"
    opened = open_text(name, "none", place.uri)
    assert (opened.train.windows(16), opened.validation.windows(16), opened.vocabulary) == (38, 2, 12)
    both = np.concatenate([part.read(np.arange(part.windows(16)), 16) for part in (opened.train, opened.validation)])
    assert np.array_equal(both, found.tokens)
    whole = open_synthetic(name, "none", 8, place.uri)
    assert whole.size == 80  # two windows of context 8 in each sequence
    rows = whole.read(np.arange(80))
    assert {tuple(row) for row in rows} == {tuple(row[i : i + 9]) for row in found.tokens.tolist() for i in (0, 8)}


def test_a_text_that_cannot_be_written_is_not_there(place, tmp_path, monkeypatch):
    request = SamplingRequest(keep(tmp_path), 640)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tensor_files, "open", full, raising=False)
        with pytest.raises(OSError, match="No space left"):
            sample_corpus(place, request)
    assert list((tmp_path / "corpora").iterdir()) == []
    assert sample_corpus(place, request).anew


def test_damage_is_named(place, tmp_path):
    corpus_id = sampled(place, keep(tmp_path)).corpus_id
    file = tmp_path / "corpora" / f"{corpus_id}.safetensors"
    content = file.read_bytes()
    cases = {
        content[:-1] + bytes([content[-1] ^ 1]): "its checksum differs",
        content[:-1]: "is damaged",
        content[:40]: "is damaged",
        content.replace(b"corpus 1", b"corpus 9"): "has the format",
        content.replace(rb"\"seed\": 0", rb"\"seed\": 1"): "it has the recipe of another",
    }
    for damaged, message in cases.items():
        synthetic_corpora._load.cache_clear()
        file.write_bytes(damaged)
        with pytest.raises(InputError, match=message):
            synthetic_corpora.load(place.uri, corpus_id)


@pytest.mark.heavy
def test_a_changed_byte_in_the_header_of_a_text_is_named_or_changes_nothing(place, tmp_path):
    """The facts too, which tell a student its vocabulary and what the text has cost."""
    found = sampled(place, keep(tmp_path))
    file = tmp_path / "corpora" / f"{found.corpus_id}.safetensors"
    content = file.read_bytes()
    named = 0
    for position in range(8 + int.from_bytes(content[:8], "little")):
        synthetic_corpora._load.cache_clear()
        file.write_bytes(content[:position] + bytes([content[position] ^ 1 << position % 8]) + content[position + 1 :])
        try:
            again = synthetic_corpora.load(place.uri, found.corpus_id)
        except InputError:
            named += 1
        else:
            assert (again.recipe, again.facts) == (found.recipe, found.facts), position
            assert np.array_equal(again.tokens, found.tokens), position
    assert named > position / 2


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"vocabulary": 3}, "tokens 0 to 11 of 3"),
        ({"vocabulary": "12"}, "vocabulary = '12'"),
        ({"tokenizer": None}, "tokenizer = None"),
        ({"flops": [1]}, r"flops = \[1\]"),
    ],
)
def test_facts_that_somebody_made_up_are_refused(place, tmp_path, facts, words):
    found = sampled(place, keep(tmp_path))
    synthetic_corpora._load.cache_clear()
    synthetic_corpora.save(place, found.recipe, {**found.facts, **facts}, np.array(found.tokens))
    with pytest.raises(InputError, match=words):
        synthetic_corpora.load(place.uri, found.corpus_id)


@pytest.mark.parametrize("recipe", [{}, {"teachers": "x"}, {"teachers": [3]}])
def test_a_recipe_that_somebody_made_up_is_refused_by_all_that_list_texts(place, tmp_path, recipe):
    found = sampled(place, keep(tmp_path))
    made_up = synthetic_corpora.save(place, recipe, found.facts, np.array(found.tokens))
    for read in (lambda: synthetic_corpora.texts(place), lambda: synthetic_corpora.load(place.uri, made_up)):
        with pytest.raises(InputError, match=f"{made_up} is damaged"):
            read()


def test_a_teacher_may_be_any_member_of_its_trial_and_no_other(place: Location, tmp_path: Path) -> None:
    trial = keep(tmp_path, members=3)
    assert [str(one.name) for one in describe(place, f"{trial}:0, {trial}:2")] == [f"{trial}:0", f"{trial}:2"]
    with pytest.raises(InputError, match=rf"trial {trial} has no member 3 \(accepted: 0 to 2\)"):
        describe(place, f"{trial}:3")


def test_bad_requests_name_what_is_accepted(place, tmp_path):
    first = keep(tmp_path)
    longer, other = keep(tmp_path, context=8), keep(tmp_path, corpus="markov:states=9,tokens=65536")
    missing = "0" * 20
    cases = [
        (SamplingRequest(missing, 640), "keeps no weights of trial"),
        (SamplingRequest(first, 640, SamplingOptions(mix="words")), "mix = 'words' \\(accepted: documents, logits\\)"),
        (SamplingRequest(first, 640, SamplingOptions(temperature=-1.0)), "temperature = -1"),
        (SamplingRequest(first, 640, SamplingOptions(prompt_tokens=17)), "prompt_tokens = 17 \\(accepted: 1 to 16"),
        (SamplingRequest(first, 15), "less than one sequence"),
        (SamplingRequest(f"{first},{longer}", 640), "context = 16 in .*, 8 in "),
        (SamplingRequest(f"{first},{other}", 640), "corpus = 'markov:states=12"),
        (SamplingRequest(f"{first},{first}", 640), "named twice"),
        (SamplingRequest(f"{first}:4", 640), "has no member 4"),
    ]
    for request, message in cases:
        with pytest.raises(InputError, match=message):
            sample_corpus(place, request)
    found = sampled(place, first).corpus_id
    opened = [
        (("synthetic:" + missing, "none", place.uri), f"no synthetic corpus {missing} \\(accepted: {found}\\)"),
        ((f"synthetic:{found}", "bytes", place.uri), "tokenizer = 'bytes', but"),
        ((f"synthetic:{found}", "none", None), "workload.store"),
        ((f"synthetic:{found}?vocab=13", "none", place.uri), "a vocabulary of 12"),
        (("synthetic:../x", "none", place.uri), "accepted are 20 hex digits"),
    ]
    for arguments, message in opened:
        with pytest.raises(InputError, match=message):
            corpora.load_text(*arguments)
    with pytest.raises(InputError, match="context up to 16"):
        open_synthetic(f"synthetic:{found}", "none", 32, place.uri)


@pytest.mark.heavy
def test_the_command_prints_the_name_and_keeps_where_the_text_is_from(tmp_path, monkeypatch):
    Store.open(tmp_path, create=True)
    trials = [keep(tmp_path, seed) for seed in range(2)]
    finder = "sweeplaw.orchestrator.monitor.trial_view.find"
    monkeypatch.setattr(finder, lambda _, prefix: next(one for one in trials if one.startswith(prefix)))
    named_trials = itertools.chain.from_iterable(("--trial", one[:8]) for one in trials)
    done = CliRunner().invoke(app, ["sample", str(tmp_path), *named_trials, "--tokens", "0.64k"])
    assert done.exit_code == 0, done.output
    name = done.stdout.strip()
    facts = corpora.load_text(name, "none", str(tmp_path)).facts
    assert (facts["tokens"], facts["real_corpus"]) == (640, TrialSpec.of(
        WORKLOAD.name, WORKLOAD.knobs, WORKLOAD.resolve(SMALL))["corpus"])  # fmt: skip
    assert facts["training_flops"] > 0
    again = sample_from(Store.open(tmp_path), SamplingRequest(",".join(trials), 640))
    assert (again.name, again.anew) == (name, False)
