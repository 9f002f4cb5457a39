"""The memory of a trial that a plan counts on, against what torch's allocator holds at the peak of its training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.training.recipe import TrainingDevice
from sweeplaw.trials.training.stack import Stack
from sweeplaw.trials.workloads.language_model import LanguageModel
from sweeplaw.trials.workloads.language_model.data import open_data
from sweeplaw.trials.workloads.language_model.run import member_group, recipe_of

WORKLOAD = LanguageModel.of("", {})
LEAST, MOST = 0.75, 1.05  # of the plan
ACTIVATIONS = {"width": 128, "depth": 4, "context": 128, "batch_sequences": 16}
WEIGHTS = {"width": 256, "depth": 4, "context": 32, "batch_sequences": 2}


def spec(**values: Any) -> TrialSpec:
    data = {"corpus": "markov:states=256,spread=1.5,tokens=262144", "unique_tokens": 65536}
    return TrialSpec.of(WORKLOAD.name, WORKLOAD.knobs, WORKLOAD.resolve({**data, **values}))


def peak(trial: TrialSpec, micro_batch_divisor: int = 1) -> int:
    """Return the most bytes held in tensors while a stack begins and does two updates."""
    data, threads = open_data(trial, None, "cpu"), torch.get_num_threads()
    torch.set_num_threads(1)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        device = TrainingDevice("cpu", micro_batch_divisor=micro_batch_divisor)
        Stack(member_group(trial).members, recipe_of(trial), data.budget, device).advance(2)
    torch.set_num_threads(threads)
    held = most = 0
    assert found.profiler is not None
    for event in found.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


@pytest.mark.heavy
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "fp8", "fp4"])
@pytest.mark.parametrize("shape", [ACTIVATIONS, WEIGHTS], ids=["activations", "weights"])
@pytest.mark.parametrize("members", [1, 2])
def test_a_trial_holds_what_is_planned_for_it(shape: dict[str, Any], precision: str, members: int) -> None:
    trial = spec(**shape, precision=precision, members=members)
    planned = WORKLOAD.cost(trial).memory_bytes
    assert planned is not None
    assert LEAST <= peak(trial) / planned <= MOST


@pytest.mark.heavy
@pytest.mark.parametrize("optimizer", ["sgd", "lion", "muon", "schedule_free"])
def test_a_trial_of_another_optimizer_holds_what_is_planned_for_it(optimizer: str) -> None:
    trial = spec(**WEIGHTS, optimizer=optimizer)
    planned = WORKLOAD.cost(trial).memory_bytes
    assert planned is not None
    least = 0.7 if optimizer == "schedule_free" else LEAST  # whose average is evaluated in copies, planned too
    assert least <= peak(trial) / planned <= MOST


@pytest.mark.heavy
@pytest.mark.parametrize("precision", ["float32", "fp4"])
def test_micro_batches_hold_what_is_planned_for_them(precision: str) -> None:
    """At sixteen micro-batches the gradients, which are as large as ever, are most of what is beside the state."""
    trial = spec(**{**ACTIVATIONS, "context": 32}, precision=precision)
    planned = WORKLOAD.cost(trial).memory_on(1, 16)
    assert planned is not None
    assert LEAST <= peak(trial, 16) / planned <= MOST
