"""The language-model workload in a sweep: requests, costs and faults."""

from __future__ import annotations

import itertools
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sweeplaw.trials.errors import InputError
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workloads.language_model import step_time
from sweeplaw.trials.workloads.registry import load
from tests.paths import ROOT

MODEL = load("language_model")


def spec(**values: Any) -> TrialSpec:
    return TrialSpec.of(MODEL.name, MODEL.knobs, MODEL.resolve(values))


def test_a_size_and_a_data_budget_are_a_complete_spec() -> None:
    trial = spec(params=100_000, unique_tokens=262_144)
    cost = MODEL.cost(trial)
    assert cost.params == pytest.approx(100_000, rel=0.01)
    assert (cost.tokens, cost.unique_tokens, cost.epochs) == (262_144, 262_144, 1.0)
    assert cost.flops == pytest.approx(cost.flops_per_token * cost.tokens)  # type: ignore[operator]
    assert trial["corpus"] == f"stdlib:{platform.python_version()}"


def test_resolving_twice_is_resolving_once() -> None:
    values = MODEL.resolve(
        {"params_non_embedding": 50_000, "tokens": 100_000, "epochs": 4, "corpus": "markov:states=9"}
    )
    assert MODEL.resolve(values) == values


def test_an_explicit_shape_is_kept() -> None:
    trial = spec(depth=3, width=48, heads=4, ffn=100)
    assert [trial[name] for name in ("depth", "width", "heads", "ffn")] == [3, 48, 4, 100]


@pytest.mark.parametrize("given", [{"depth": 4}, {"width": 96}, {"depth": 2, "width": 64}, {"width": 40, "ffn": 64}])
def test_a_partial_shape_is_completed_by_the_rule(given: dict[str, int]) -> None:
    trial = spec(**given)
    assert {name: trial[name] for name in given} == given
    assert trial["width"] % (2 * trial["heads"]) == 0
    assert MODEL.cost(trial).params


@pytest.mark.parametrize(
    ("asked", "unique", "epochs"),
    [
        ({"tokens": 65_536}, 65_536, 1.0),
        ({"tokens": 65_536, "epochs": 4}, 16_384, 4.0),
        ({"tokens": 65_536, "unique_tokens": 8_192}, 8_192, 8.0),
    ],
)
def test_requested_tokens_determine_unique_tokens_or_epochs(asked: dict[str, Any], unique: int, epochs: float) -> None:
    trial = spec(width=32, **asked)
    assert (trial["unique_tokens"], trial["epochs"]) == (unique, epochs)
    assert MODEL.cost(trial).tokens == 65_536


def test_unique_tokens_are_whole_windows_so_that_one_run_has_one_identity() -> None:
    assert spec(width=32, unique_tokens=10_000, context=128).trial_id == spec(width=32, unique_tokens=9_984).trial_id


def test_a_change_after_the_end_of_a_run_is_refused() -> None:
    short = {"width": 32, "corpus": "markov:states=12,spread=1.5,tokens=65536", "context": 16, "validation_tokens": 512}
    run = spec(**short, unique_tokens=2048, epochs=1, batch_sequences=8, changes="15: lr=0.1")
    MODEL.check([run])
    late = TrialSpec(run.workload, {**run.knobs, "changes": "4: lr=0.1; 16: lr=0.2"}, run.later)
    with pytest.raises(InputError, match="step 16 of 16"):
        MODEL.check([run, late])


def test_an_ensemble_costs_its_members_and_has_one_members_parameters() -> None:
    one, four = (MODEL.cost(spec(width=32, members=members)) for members in (1, 4))
    assert four.params == one.params
    assert four.tokens == one.tokens
    assert (four.flops, four.memory_bytes) == (4 * one.flops, 4 * one.memory_bytes)  # type: ignore[operator]


def test_facts_are_available_as_soon_as_they_are_determined() -> None:
    defaults = {knob.name: knob.default for knob in MODEL.knobs if knob.default is not None}
    without = MODEL.facts({**defaults, **MODEL.resolve({"unique_tokens": 4096})})
    assert without["tokens"] == 4096
    assert "params" not in without
    trial = spec(params=100_000, unique_tokens=4096)
    cost = MODEL.cost(trial)
    facts = MODEL.facts(trial.knobs)
    assert facts["params_non_embedding"] == cost.params_non_embedding
    assert facts["flops"] == cost.flops


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"params": 100_000, "params_non_embedding": 50_000}, "one of params and params_non_embedding"),
        ({"params": 100_000, "width": 64}, "width = 64"),
        ({"params": 1000}, "the smallest has"),
        ({"width": 64, "heads": 5}, "no even multiple"),
        ({"width": 32, "tokens": 4096, "unique_tokens": 1024, "epochs": 2}, "accepted are two of them"),
        ({"width": 32, "unique_tokens": 100}, "less than one window of context = 128"),
        ({"width": 32, "unique_tokens": 512}, "less than one batch of batch_sequences = 8 x context = 128"),
        ({"width": 32, "corpus": "stdlb"}, "did you mean 'stdlib'"),
        ({"width": 32, "corpus": "markov:states=4", "tokenizer": "t.json"}, "is tokens already"),
        ({"width": 32, "tokenizer": "none"}, "is text"),
        ({"width": "wide"}, "width: 'wide' is not a whole number"),
    ],
)
def test_a_fault_states_the_value_and_what_is_accepted(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MODEL.cost(spec(**values))


def test_all_faults_are_reported_together() -> None:
    with pytest.raises(InputError) as caught:
        MODEL.resolve({"width": 64, "heads": 5, "unique_tokens": 3})
    assert len(caught.value.faults) == 2


def test_unknown_names_pass_through() -> None:
    assert MODEL.resolve({"width": 32, "learning_rate": 3})["learning_rate"] == 3


def test_relative_paths_start_at_the_folder_of_the_sweep_file(tmp_path: Path) -> None:
    model = load("language_model", {"folder": str(tmp_path), "axes": {}})
    assert model.resolve({"corpus": "text:a/*.txt"})["corpus"] == f"text:{tmp_path}/a/*.txt"
    assert model.resolve({"tokenizer": "t.json"})["tokenizer"] == f"{tmp_path}/t.json"


def test_check_reports_every_corpus_that_is_missing_or_too_small(tmp_path: Path) -> None:
    good = spec(width=32)
    MODEL.check([good])
    missing, small = spec(width=32, corpus=f"text:{tmp_path}/*.txt"), spec(width=32, unique_tokens=10**9 + 100)
    with pytest.raises(InputError) as caught:
        MODEL.check([good, missing, small])
    assert len(caught.value.faults) == 2
    assert "unique_tokens = 1000000000: " in str(caught.value)


@pytest.mark.parametrize(("rest", "options"), [("x", {}), ("", {"layers": 3})])
def test_unknown_options_are_refused(rest: str, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="language_model"):
        load(f"language_model:{rest}" if rest else "language_model", options)


@pytest.mark.heavy
def test_planning_needs_no_torch() -> None:
    code = (
        "import sys; from sweeplaw.trials.spec import TrialSpec; from sweeplaw.trials.workloads.registry import load;"
        "m = load('language_model');"
        "s = TrialSpec.of(m.name, m.knobs, m.resolve({'params': 10**6})); m.cost(s); m.facts(s.knobs); m.check([s]);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.heavy
def test_the_time_of_a_trial_is_that_of_its_steps_and_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0, 0.125)  # each look at the clock takes an eighth of a second: five pass in half a second
    monkeypatch.setattr(step_time, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    threads = torch.get_num_threads()
    trial = spec(width=16, tokens=8_192, members=2, evaluations=3, validation_tokens=16_384)
    found = step_time.measure(trial, threads=threads + 1)
    assert torch.get_num_threads() == threads
    assert (found.steps, found.step_seconds) == (5, 0.125)
    batch = trial["batch_sequences"] * trial["context"]
    steps, evaluated = 8_192 // batch, 3 * 16_384 / batch
    assert found.trial_seconds == pytest.approx(2 * 0.125 * (steps + evaluated))  # members in turns on a CPU
