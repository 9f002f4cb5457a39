"""Sampling with a cache gives the tokens of sampling without one, from the distribution of the model."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sweeplaw.trials.errors import InputError
from sweeplaw.trials.kept import huggingface
from sweeplaw.trials.kept.model import KeptModel
from sweeplaw.trials.sampling.cache import CachedModel
from sweeplaw.trials.sampling.sample import sample
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.store_format import kept_weights
from sweeplaw.trials.store_format.kept_weights import Kept, KeptWeights
from sweeplaw.trials.store_format.location import locate
from sweeplaw.trials.training.keeping import named
from sweeplaw.trials.training.parametrization.groups import ParameterLayout
from sweeplaw.trials.training.weights import draw, generators
from sweeplaw.trials.workloads.language_model import LanguageModel
from sweeplaw.trials.workloads.language_model.resolve import shape_of

WORKLOAD = LanguageModel.of("", {})
PROMPTS = torch.arange(20).view(10, 2) % 12


@contextlib.contextmanager
def untrained(folder: Path, members: int = 1, **values: Any) -> Iterator[KeptWeights]:
    """Yield kept weights drawn at random: larger than initial ones, so that predictions are far from equal."""
    small = {"corpus": "markov:states=12,tokens=65536", "context": 32, "unique_tokens": 1024, "width": 32}
    spec = TrialSpec.of(WORKLOAD.name, WORKLOAD.knobs, WORKLOAD.resolve({**small, "members": members, **values}))
    shape = shape_of(spec.knobs)
    rows = 3 * draw(ParameterLayout.of(shape).values, generators(range(members)))
    kept = Kept(spec.trial_id)
    kept_weights.save(f"{folder}/weights", kept, spec.canonical(), [named(row, shape) for row in rows])
    with kept_weights.opened(locate(str(folder)), kept) as weights:
        yield weights


def models(folder: Path, members: int = 1, **values: Any) -> list[KeptModel]:
    with untrained(folder, members, **values) as weights:
        return [KeptModel(weights, number) for number in range(members)]


@pytest.mark.heavy
@pytest.mark.parametrize(
    "values",
    [{}, {"qk_norm": True}, {"tied_embeddings": True}, {"members": 3}, {"heads": 1, "depth": 4}],
    ids=str,
)
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_a_cache_changes_no_token(tmp_path, values, temperature):
    found = models(tmp_path, **values)
    cached, uncached = (
        sample(found, PROMPTS, 28, temperature=temperature, batch=4, cached=cached) for cached in (True, False)
    )
    assert torch.equal(cached, uncached)
    assert torch.equal(cached[:, :2], PROMPTS)
    assert cached.shape == (10, 30)


def test_logits_with_a_cache_are_those_of_the_whole_sequence(tmp_path):
    (model,) = models(tmp_path)
    tokens = torch.randint(12, (3, 20), generator=torch.Generator().manual_seed(0))
    reader, whole = CachedModel(model, 3, 20), model.predict(tokens)
    assert torch.allclose(reader.next_logits(tokens[:, :5]), whole[:, 4], atol=1e-4)
    for position in range(5, 20):
        assert torch.allclose(reader.next_logits(tokens[:, position : position + 1]), whole[:, position], atol=1e-4)


def test_tokens_depend_on_the_seed_and_not_on_the_batch(tmp_path):
    found = models(tmp_path)
    first = sample(found, PROMPTS, 12, seed=5, batch=10)
    assert torch.equal(first, sample(found, PROMPTS, 12, seed=5, batch=3))
    assert not torch.equal(first, sample(found, PROMPTS, 12, seed=6, batch=10))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_have_the_probabilities_of_the_mean_logits_at_the_temperature(tmp_path, temperature):
    found = models(tmp_path, members=2)
    count = 4000
    prompts = torch.zeros(count, 1, dtype=torch.long)
    drawn = sample(found, prompts, 1, temperature=temperature, batch=count)[:, 1]
    mean = torch.stack([model.predict(prompts[:1])[0, -1] for model in found]).mean(dim=0)
    expected = (mean.double() / temperature).softmax(dim=-1)
    frequencies = torch.bincount(drawn, minlength=12).double() / count
    errors = (expected * (1 - expected) / count).sqrt()
    assert ((frequencies - expected).abs() <= 4 * errors + 1e-3).all()


@pytest.mark.slow
def test_greedy_tokens_are_those_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    (ours,) = models(tmp_path)
    with untrained(tmp_path) as weights:
        huggingface.export(weights, 0, tmp_path / "hf")
    assert json.loads((tmp_path / "hf/config.json").read_text())["eos_token_id"] is None
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.float32)
    mask = torch.ones_like(PROMPTS)
    expected: Tensor = theirs.generate(PROMPTS, attention_mask=mask, max_new_tokens=20, do_sample=False, pad_token_id=0)
    assert torch.equal(sample([ours], PROMPTS, 20, temperature=0), expected)


def test_faults_say_what_is_accepted(tmp_path):
    found = models(tmp_path)
    other = models(tmp_path, corpus="markov:states=9,tokens=65536")
    for arguments, message in {
        ((), PROMPTS, 5): "no model",
        ((*found, *other), PROMPTS % 9, 5): "vocabularies of 9, 12",
        (tuple(found), PROMPTS + 5, 5): "tokens 5 to 16 .accepted: 0 to 11",
        (tuple(found), PROMPTS[:, :0], 5): "prompts of no token",
        (tuple(found), PROMPTS, 32): "2 . 32 tokens are longer than a model reads .accepted: 33",
        (tuple(found), PROMPTS, 0): "length = 0",
    }.items():
        with pytest.raises(InputError, match=message):
            sample(*arguments)
    with untrained(tmp_path) as weights:
        longer = KeptModel(weights, 0, context=64)
    assert sample([longer], PROMPTS, 40).shape == (10, 42)
