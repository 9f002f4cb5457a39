"""The coordinate check: µP keeps the size of what activations learn at every width, the standard one does not."""

from __future__ import annotations

import math
import mmap
from pathlib import Path
from typing import Any

import pytest

from sweeplaw.trials.errors import InputError
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.training.stack import Stack
from sweeplaw.trials.workloads.language_model import LanguageModel, step_profile
from sweeplaw.trials.workloads.language_model.coordinate_check import CoordinateChange, check_coordinates, slopes
from sweeplaw.trials.workloads.language_model.step_profile import profile_steps

MODEL = LanguageModel()
WIDTHS = (64, 128, 256, 512)
FLAT = 0.2  # largest exponent of the width in µP; measured .11 over eight steps of a larger batch
GROWS = 0.5  # least exponent of a block in the standard parametrization; measured .7 to 1.0


def spec(**values: Any) -> TrialSpec:
    settings = {
        "corpus": "markov:states=64,spread=1.5,tokens=65536",
        "context": 16,
        "validation_tokens": 256,
        "unique_tokens": 4096,
        "batch_sequences": 4,
        "depth": 2,
        "width": 64,
        "schedule": "constant",
        "warmup_fraction": 0,
        "lr": 3e-3,
    }
    return TrialSpec.of(MODEL.name, MODEL.knobs, MODEL.resolve({**settings, **values}))


@pytest.fixture(scope="module")
def changes() -> list[CoordinateChange]:
    return check_coordinates(MODEL, spec(), WIDTHS, 4)


@pytest.mark.slow
def test_activations_move_alike_at_every_width_in_mup(changes: list[CoordinateChange]) -> None:
    found = {layer: value for (name, layer), value in slopes(changes).items() if name == "mup"}
    assert set(found) == {"embedding", "0", "1", "logits"}
    assert all(abs(value) < FLAT for value in found.values()), found


@pytest.mark.slow
def test_activations_move_more_in_wider_models_in_the_standard_parametrization(
    changes: list[CoordinateChange],
) -> None:
    found = {layer: value for (name, layer), value in slopes(changes).items() if name == "standard"}
    assert min(found["0"], found["1"]) > GROWS, found


@pytest.mark.slow
def test_both_are_the_same_model_at_the_base(changes: list[CoordinateChange]) -> None:
    by_name = {
        name: [item.change for item in changes if (item.parametrization, item.width) == (name, WIDTHS[0])]
        for name in ("standard", "mup")
    }
    assert by_name["standard"] == by_name["mup"]


def test_the_exponent_is_that_of_a_planted_power() -> None:
    planted = [CoordinateChange("mup", width, 1, "0", 3 * width**0.4) for width in WIDTHS]
    still = [CoordinateChange("mup", width, 1, "1", 0.0) for width in WIDTHS]
    found = slopes([*planted, *still])
    assert found["mup", "0"] == pytest.approx(0.4)
    assert math.isnan(found["mup", "1"])


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("widths", "steps", "fault"),
    [
        ((64,), 2, "two or more"),
        ((48, 64), 2, r"widths = \[48, 64\] \(accepted: two or more, of which the smallest divides the others\)"),
        ((16, 32), 10**6, "steps = 1000000 of a run of 64"),
    ],
)
def test_what_cannot_be_checked_is_refused(widths: tuple[int, ...], steps: int, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        check_coordinates(MODEL, spec(), widths, steps)


@pytest.mark.parametrize("optimizer", ["muon", "sgd"])
def test_an_optimizer_without_rules_of_mup_is_refused_before_anything_is_trained(
    optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stack, "advance", lambda *arguments: pytest.fail("it is trained"))
    with pytest.raises(InputError) as caught:
        check_coordinates(MODEL, spec(optimizer=optimizer), (48, 64), 2)
    widths, of_optimizer = caught.value.faults
    assert "widths = [48, 64]" in widths
    assert of_optimizer.startswith(f"optimizer = '{optimizer}' (accepted: adamw, lion, schedule_free, ")
    assert "base_width" not in of_optimizer


@pytest.mark.heavy
def test_a_profile_accounts_for_the_time_of_a_step_and_the_memory_of_a_run() -> None:
    trial = spec(width=96, batch_sequences=16, context=64, unique_tokens=65_536 // 2)
    found = profile_steps(MODEL, trial, "cpu", 10, 1)
    assert found.steps == 10
    assert sum(found.parts.values()) == pytest.approx(found.step_seconds)
    assert min(found.parts[name] for name in ("forward", "backward", "optimizer", "other")) > 0
    cost = MODEL.cost(trial)
    assert cost.flops_per_token
    assert found.flops == pytest.approx(cost.flops_per_token * 16 * 64)
    assert found.mfu is not None
    assert 0 < found.mfu < 1
    assert found.planned_bytes == cost.memory_bytes


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of a process is Linux's")
def test_the_peak_memory_of_a_cpu_is_the_most_that_was_held_also_if_it_is_free_again() -> None:
    memory, held = step_profile._PeakMemory("cpu"), 2**26
    with mmap.mmap(-1, held) as fresh:  # `malloc` may give memory that the process holds already
        fresh[::4096] = b"1" * (held // 4096)
    peak = memory.read()
    assert peak is not None
    assert 0.9 * held < peak < 1.5 * held


@pytest.mark.heavy
@pytest.mark.parametrize(("steps", "counted"), [(1, 1), (2, 1), (3, 1), (8, 6)])
def test_a_trial_of_few_steps_is_profiled_by_those_it_has(steps: int, counted: int) -> None:
    found = profile_steps(MODEL, spec(unique_tokens=steps * 64), "cpu", 20, 1)
    assert found.steps == counted
    assert found.parts["backward"] > 0
    assert found.mfu is not None
    assert found.mfu < 1


@pytest.mark.heavy
def test_a_trial_that_diverges_at_once_has_no_profile() -> None:
    with pytest.raises(InputError, match="diverges at step 2, before its steps can be timed"):
        profile_steps(MODEL, spec(lr=1000.0), "cpu", 20, 1)


def test_the_exponent_is_that_of_the_last_step_and_none_of_a_layer_that_does_not_move() -> None:
    """By the closed form of a line through three points in logs; the first step would say otherwise."""
    changes = [
        CoordinateChange("mup", width, step, layer, change)
        for layer, of_step in {"moves": {1: (1.0, 9.0, 1.0), 2: (1.0, 2.0, 8.0)}, "still": {2: (1.0, 0.0, 1.0)}}.items()
        for step, moved in of_step.items()
        for width, change in zip((32, 64, 128), moved, strict=True)
    ]
    found = slopes(changes)
    assert list(found) == [("mup", "moves"), ("mup", "still")]
    assert found["mup", "moves"] == pytest.approx(1.5)
    assert math.isnan(found["mup", "still"])
