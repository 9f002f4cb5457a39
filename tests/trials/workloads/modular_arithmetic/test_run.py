"""Trials of modular arithmetic from their specs to their outcomes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sweeplaw.trials.record import CurvePoint, Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads import registry
from sweeplaw.trials.workloads.modular_arithmetic.run import evaluated_steps

# Gromov 2023, arXiv:2301.02679: one hidden layer of squares learns addition from half of the pairs.
GROKS = {"modulus": 23, "width": 64, "activation": "square", "lr": 0.01, "steps": 600, "evaluations": 30}


def run(tmp_path: Path, *settings: dict[str, Any]) -> list[Any]:
    workload = registry.load("modular_arithmetic")
    specs = [TrialSpec.of(workload.name, workload.knobs, workload.resolve(values)) for values in settings]
    return list(workload.run(specs, Context("cpu", tmp_path)))


@pytest.mark.heavy
def test_a_network_of_squares_memorizes_and_then_generalizes(tmp_path: Path) -> None:
    *curve, outcome = run(tmp_path, {**GROKS, "train_fraction": 0.7})
    assert [point.step for point in curve] == [20 * number for number in range(1, 31)]
    assert outcome.metrics["train_accuracy"] == 1.0
    assert outcome.metrics["grok_censored_step"] is None
    assert outcome.metrics["memorized_step"] <= outcome.metrics["grok_step"] < 600
    grokked = [point.step for point in curve if point.metrics["val_accuracy"] <= 0.99]
    assert outcome.metrics["grok_step"] == grokked[-1] + 20
    assert outcome.metrics["val_loss"] == curve[-1].val_loss


@pytest.mark.heavy
def test_without_decay_it_memorizes_and_is_censored_at_the_end(tmp_path: Path) -> None:
    outcome = run(tmp_path, {**GROKS, "train_fraction": 0.3, "weight_decay": 0.0, "steps": 200, "evaluations": 7})[-1]
    assert outcome.metrics["train_accuracy"] == 1.0
    assert outcome.metrics["val_accuracy"] < 0.5
    assert (outcome.metrics["grok_step"], outcome.metrics["grok_censored_step"]) == (None, 200)
    assert outcome.metrics["memorized_step"] < 200


def test_a_diverging_trial_ends_alone_and_has_no_losses(tmp_path: Path) -> None:
    small = {"modulus": 11, "width": 8, "activation": "square", "steps": 20, "evaluations": 4}
    events = run(tmp_path, {**small, "lr": 1e3}, small)
    first, second = (event for event in events if isinstance(event, Outcome))
    assert (first.state, first.metrics) == ("diverged", {})
    assert "above 1e+06 nats at step" in str(first.message)
    assert second.state == "completed"
    points = [event for event in events if isinstance(event, CurvePoint) and event.trial_id == second.trial_id]
    assert [point.tokens for point in points] == [60 * point.step for point in points]


@pytest.mark.parametrize(("steps", "count", "found"), [(10, 5, [2, 4, 6, 8, 10]), (3, 10, [1, 2, 3]), (7, 1, [7])])
def test_evaluations_are_evenly_spaced_and_end_at_the_last_step(steps: int, count: int, found: list[int]) -> None:
    assert list(evaluated_steps(steps, count)) == found


@pytest.mark.process
def test_planning_loads_no_torch() -> None:
    code = """
import sys
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workloads import registry
w = registry.load("modular_arithmetic")
w.cost(TrialSpec.of(w.name, w.knobs, {"model": "transformer"}))
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.heavy
def test_a_pack_has_the_curves_of_its_trials_alone(tmp_path: Path) -> None:
    """Accuracies are equal and losses within 1e-3 of each other: a pack larger than a stack, of small networks."""
    settings = [
        {"modulus": 11, "width": 8, "activation": "square", "steps": 40, "evaluations": 4, "seed": seed, "lr": 0.01}
        for seed in range(10)
    ]
    together = run(tmp_path, *settings)
    for one in settings:
        alone = run(tmp_path, one)
        mine = [event for event in together if event.trial_id == alone[0].trial_id]
        assert len(mine) == len(alone) == 5
        for ours, theirs in zip(mine, alone, strict=True):
            assert ours.metrics["val_accuracy"] == theirs.metrics["val_accuracy"]
            loss = [getattr(event, "val_loss", None) or event.metrics["val_loss"] for event in (ours, theirs)]
            assert loss[0] == pytest.approx(loss[1], rel=1e-3)
