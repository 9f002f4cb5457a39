"""Optimizers, schedules and parametrizations as knobs of the language model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sweeplaw.trials.accounting import Shape
from sweeplaw.trials.corpus.open import open_corpus
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.kept.members import parse
from sweeplaw.trials.kept.teachers import load as load_kept
from sweeplaw.trials.record import Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.store_format import kept_weights
from sweeplaw.trials.store_format.location import locate
from sweeplaw.trials.training.optimizers.registry import OPTIMIZERS
from sweeplaw.trials.training.parametrization.groups import ParameterLayout
from sweeplaw.trials.training.parametrization.scaling import Parametrization
from sweeplaw.trials.training.recipe import TrainingDevice
from sweeplaw.trials.training.stack import Stack
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads.language_model.knobs import OPTIMIZER_KNOBS, PRECISION_BITS
from sweeplaw.trials.workloads.language_model.run import member_group, recipe_of
from sweeplaw.trials.workloads.registry import load

MODEL = load("language_model")
TINY: Mapping[str, Any] = {
    "corpus": "markov:states=12,spread=1.5,tokens=65536",
    "context": 16,
    "validation_tokens": 512,
    "unique_tokens": 4096,
    "epochs": 2,
    "batch_sequences": 8,
    "depth": 2,
    "width": 32,
    "heads": 2,
}
BUDGET = open_corpus(TINY["corpus"], "none").budget(16, 4096)
RATES = {"adamw": 1e-2, "sgd": 0.3, "lion": 1e-3, "muon": 1e-2, "schedule_free": 1e-2}


def spec(**values: Any) -> TrialSpec:
    return TrialSpec.of(MODEL.name, MODEL.knobs, MODEL.resolve({**TINY, **values}))


def run(folder: Path, *trials: TrialSpec, **options: Any) -> list[Outcome]:
    events = MODEL.run(trials, Context("cpu", folder, **options))
    return [event for event in events if isinstance(event, Outcome)]


def test_the_optimizers_of_the_knob_are_those_that_train() -> None:
    assert set(OPTIMIZER_KNOBS) == set(OPTIMIZERS)


@pytest.mark.heavy
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns_and_a_resumed_trial_ends_at_the_same_bits(optimizer: str, tmp_path: Path) -> None:
    trial = spec(optimizer=optimizer, lr=RATES[optimizer], evaluations=4, schedule="constant")
    (whole,) = run(tmp_path / "whole", trial)
    assert whole.state == "completed"
    assert float(whole.metrics["val_loss"] or 9) < math.log(12) - 0.1
    asked = iter([False] * 30 + [True] * 10_000)
    checkpoints = {"checkpoints": str(tmp_path / "checkpoints")}
    (part,) = run(tmp_path / "part", trial, ending=lambda: next(asked), **checkpoints)
    assert part.state == "preempted"
    (resumed,) = run(tmp_path / "resumed", trial, **checkpoints)
    assert resumed.metrics["resumed_step"]
    assert resumed.metrics["val_loss"] == whole.metrics["val_loss"]


@pytest.mark.heavy
@pytest.mark.parametrize("precision", PRECISION_BITS)
def test_every_precision_learns_and_a_resumed_trial_ends_at_the_same_bits(precision: str, tmp_path: Path) -> None:
    trial = spec(precision=precision, lr=1e-2, evaluations=4)
    (whole,) = run(tmp_path / "whole", trial)
    assert (whole.state, whole.metrics["precision_bits"]) == ("completed", PRECISION_BITS[precision])
    assert float(whole.metrics["val_loss"] or 9) < math.log(12) - 0.1
    asked = iter([False] * 30 + [True] * 10_000)
    checkpoints = {"checkpoints": str(tmp_path / "checkpoints")}
    run(tmp_path / "part", trial, ending=lambda: next(asked), **checkpoints)
    (resumed,) = run(tmp_path / "resumed", trial, **checkpoints)
    assert resumed.metrics["resumed_step"]
    assert resumed.metrics["val_loss"] == whole.metrics["val_loss"]


@pytest.mark.heavy
def test_fewer_bits_are_another_loss(tmp_path: Path) -> None:
    trials = [spec(precision=precision, lr=1e-2) for precision in PRECISION_BITS]
    losses = [outcome.metrics["val_loss"] for outcome in run(tmp_path, *trials)]
    assert len(set(losses)) == len(losses)


@pytest.mark.heavy
@pytest.mark.parametrize("precision", ["fp8", "fp4"])
def test_a_kept_model_of_low_precision_predicts_as_it_was_evaluated(precision: str, tmp_path: Path) -> None:
    trial = spec(precision=precision, lr=1e-2)
    (outcome,) = run(tmp_path, trial, weights=str(tmp_path / "store" / kept_weights.FOLDER))
    assert kept_loss(tmp_path / "store", trial) == pytest.approx(outcome.metrics["val_loss"], abs=1e-6)


def kept_loss(store: Path, trial: TrialSpec) -> float:
    model = load_kept(locate(str(store)), parse(trial.trial_id)[0], "cpu")
    windows = open_corpus(trial["corpus"], trial["tokenizer"]).held_out(16, 512)
    tokens = torch.from_numpy(windows.read(np.arange(windows.size)))
    logits = model.predict(tokens[:, :-1]).float()
    return torch.nn.functional.cross_entropy(logits.flatten(0, -2), tokens[:, 1:].flatten()).item()


@pytest.mark.heavy
def test_evaluating_an_average_changes_nothing_of_the_training(tmp_path: Path) -> None:
    often, once = (spec(optimizer="schedule_free", lr=1e-2, evaluations=count) for count in (20, 1))
    losses = [outcome.metrics["val_loss"] for outcome in run(tmp_path, often, once)]
    assert losses[0] == losses[1]


@pytest.mark.heavy
def test_what_is_kept_of_schedule_free_is_what_was_evaluated(tmp_path: Path) -> None:
    trial = spec(optimizer="schedule_free", lr=1e-2)
    (outcome,) = run(tmp_path, trial, weights=str(tmp_path / "store" / kept_weights.FOLDER))
    assert kept_loss(tmp_path / "store", trial) == pytest.approx(outcome.metrics["val_loss"], abs=1e-6)


def test_an_independent_decay_does_not_depend_on_the_learning_rate() -> None:
    trial = spec(decay_convention="independent", weight_decay=0.02, lr=1e-3, schedule="linear", warmup_fraction=0)
    (member,) = member_group(trial).members
    for step in (0, 10, 40):
        assert member.lr_at(step) * member.weight_decay_at(step) == pytest.approx(0.02 * member.schedule(step))


@pytest.mark.heavy
def test_mup_at_its_base_is_the_standard_model_bit_for_bit(tmp_path: Path) -> None:
    standard, mup = spec(lr=1e-2), spec(lr=1e-2, parametrization="mup", base_width=32, base_heads=2, base_depth=2)
    assert standard.trial_id != mup.trial_id
    one, other = run(tmp_path, standard, mup)
    assert one.metrics["val_loss"] == other.metrics["val_loss"]


def test_mup_scales_initial_values_and_rates_as_its_table_says() -> None:
    """Yang et al. 2022, table 3 for Adam at four times the base width; Dey et al. 2025, table 1, at twice the depth."""
    shape = Shape(4, 64, 4, 160, 50)
    layout = ParameterLayout.of(shape, Parametrization(16, 16, 2))
    found = {item.slot.name: item for item in layout.values}
    deviation = {name: item.init * (item.slot.std or 1) for name, item in found.items()}
    base = {item.slot.name: item.slot.std or 1.0 for item in ParameterLayout.of(Shape(2, 16, 1, 40, 50)).values}
    assert deviation["embedding"] == pytest.approx(base["embedding"])  # the variance of an input matrix is constant
    assert deviation["head"] == pytest.approx(base["head"] / 4)  # of an output matrix, 1 / inputs²
    assert deviation["0.gate_up"] == pytest.approx(base["0.gate_up"] / 2)  # of a hidden matrix, 1 / inputs
    assert deviation["0.attention_out"] == pytest.approx(base["0.attention_out"] / 2 / 2)  # and half into the stream
    assert deviation["final_norm"] == 1
    rates = {name: item.lr for name, item in found.items()}
    assert rates["embedding"] == rates["final_norm"] == rates["0.ffn_norm"] == 1
    assert rates["head"] == rates["0.qkv"] == rates["0.gate_up"] == 1 / 4
    assert rates["0.attention_out"] == rates["0.down"] == 1 / 8


def test_attention_scores_in_mup_are_those_of_one_over_the_head_width() -> None:
    wide = Shape(1, 64, 1, 160, 50)  # one head of 64, at the base one of 16
    queries, rest = (
        item for item in ParameterLayout.of(wide, Parametrization(16, 16)).values if "qkv" in item.slot.name
    )
    assert (queries.size, rest.size) == (64 * 64, 2 * 64 * 64)
    assert (queries.init, rest.init) == (0.5, 1)  # 1 / 64 = .5 / sqrt(64) x sqrt(16) / 16
    assert (queries.lr, rest.lr) == (0.5 / 4, 1 / 4)
    normed = ParameterLayout.of(Shape(1, 64, 1, 160, 50, qk_norm=True), Parametrization(16, 16))
    gains = {item.slot.name: item.init for item in normed.values if item.slot.name.endswith("_norm")}
    assert gains["0.query_norm"] == 0.5
    assert {value for name, value in gains.items() if name != "0.query_norm"} == {1}


def test_the_head_of_a_tied_model_is_scaled_through_the_gain_before_it() -> None:
    layout = ParameterLayout.of(Shape(1, 64, 4, 160, 50, tied_embeddings=True), Parametrization(16, 16))
    found = {item.slot.name: (item.init, item.lr) for item in layout.values}
    assert found["final_norm"] == (0.25, 0.25)
    assert found["embedding"] == (2.0, 1.0)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"optimizer": "sgd", "beta1": 0.8}, "beta1 = 0.8 is no knob of optimizer = 'sgd' (accepted with: adamw, lion"),
        ({"momentum": 0.9}, "momentum = 0.9 is no knob of optimizer = 'adamw' (accepted with: sgd, muon)"),
        ({"nesterov": False}, "nesterov = False is no knob of optimizer = 'adamw'"),
        ({"optimizer": "lion", "eps": 1e-3}, "eps = 0.001 is no knob of optimizer = 'lion'"),
        ({"optimizer": "sgd", "momentum": -0.5}, "momentum = -0.5 (accepted: [0, 1), or -1"),
        ({"optimizer": "schedule_free", "beta1": 0}, "beta1 = 0 with optimizer = 'schedule_free' (accepted: above 0"),
        ({"decay_convention": "independent", "lr": 0}, "lr = 0 with decay_convention = 'independent'"),
        ({"schedule": "points"}, "schedule = 'points' with schedule_points = ''"),
        ({"schedule_points": "0: 1, 1: 0"}, "schedule = 'cosine' with schedule_points = '0: 1, 1: 0'"),
        (
            {"schedule": "points", "schedule_points": "0: 1"},
            "schedule_points = '0: 1': the shares of the run are [0.0]",
        ),
        ({"parametrization": "mup"}, "parametrization = 'mup' without base_width"),
        ({"base_width": 16}, "base_width = 16 with parametrization = 'standard' (accepted with: mup)"),
        ({"parametrization": "mup", "base_width": 24}, "base_width = 24 does not divide width = 32"),
        ({"parametrization": "mup", "base_width": 16, "base_heads": 3}, "base_heads = 3: base_width = 16 is no even"),
        ({"parametrization": "mup", "base_width": 16, "optimizer": "muon"}, "base_width = 16 with optimizer = 'muon'"),
        ({"precision": "fp8", "dropout": 0.1}, "dropout = 0.1 with precision = 'fp8' (accepted: float32, bfloat16)"),
        ({"base_depth": 1, "optimizer": "sgd"}, "base_depth = 1 with optimizer = 'sgd' (accepted: adamw, lion"),
    ],
)
def test_knobs_that_do_not_go_together_are_refused(values: Mapping[str, Any], fault: str) -> None:
    assert fault in refusal(values)


def test_all_faults_are_in_one_message() -> None:
    faults = refusal({"optimizer": "sgd", "eps": 1e-3, "schedule": "points"})
    assert "eps = 0.001" in faults
    assert "schedule = 'points'" in faults


def refusal(values: Mapping[str, Any]) -> str:
    """What a plan says of the knobs that all trials of a pack share, or a launch before it starts of the others."""
    with pytest.raises(InputError) as refused:
        planned_and_checked(spec(**values))
    return str(refused.value)


def planned_and_checked(trial: TrialSpec) -> None:
    MODEL.cost(trial)
    MODEL.check([spec(), trial])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_memory_that_is_planned_holds_the_moments(optimizer: str) -> None:
    trial = spec(optimizer=optimizer)
    stack = Stack(member_group(trial).members, recipe_of(trial), BUDGET, TrainingDevice("cpu"))
    kept = sum(part.numel() for parts in stack.optimizer.moments.values() for part in parts)
    averaged = stack.optimizer.averaged()
    evaluated = 0 if averaged is None else 2 * sum(part.numel() for part in averaged)  # the average, and a copy
    cost = MODEL.cost(trial)
    assert cost.params
    assert cost.state_bytes
    moments = cost.state_bytes / 4 / cost.params - 2
    assert moments - 1 < (kept + evaluated) / cost.params <= moments


def test_the_knobs_reach_the_recipe_and_the_members() -> None:
    trial = spec(optimizer="muon", members=2, parametrization="standard", beta1=0.8, warmup_fraction=0)
    assert recipe_of(trial).optimizer == "muon"
    own = [member.coefficients for member in member_group(trial).members]
    assert [(one.beta1, one.momentum, one.nesterov) for one in own] == [(0.8, 0.95, True)] * 2
    points = spec(schedule="points", schedule_points="0: 1, 1: 0.5", warmup_fraction=0)
    assert member_group(points).members[0].schedule(0) == 1.0
