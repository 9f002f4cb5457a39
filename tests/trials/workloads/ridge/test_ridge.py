"""Trials of the workload ridge: packed as alone, on average as theory says, and refused where there is no theory."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads import registry
from sweeplaw.trials.workloads.ridge import run as runs
from sweeplaw.trials.workloads.ridge.cost import memory_bytes

SMALL = {"features": 24, "samples": 16, "dimension": 64, "noise": 0.2, "ridge": 0.05}


def specs(*settings: dict[str, Any]) -> list[TrialSpec]:
    workload = registry.load("ridge")
    return [TrialSpec.of("ridge", workload.knobs, workload.resolve({**SMALL, **values})) for values in settings]


def metrics(*settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The metrics of trials that run as one pack, in the order of the settings."""
    pack = specs(*settings)
    events = registry.load("ridge").run(pack, Context("cpu", Path()))
    found = {event.trial_id: dict(event.metrics) for event in events if isinstance(event, Outcome)}
    return [found[spec.trial_id] for spec in pack]


def test_packed_trials_have_the_losses_that_they_have_alone() -> None:
    """To eleven digits: a product of many matrices may add in another order than one of two."""
    settings = [
        {"seed": seed, "ridge": ridge, "noise": noise, "ridge_choice": choice}
        for seed in (0, 1, -5)
        for ridge in (1e-3, 0.1)
        for noise, choice in ((0.0, "given"), (0.3, "optimal"))
    ]
    together = metrics(*settings)
    for setting, packed in zip(settings, together, strict=True):
        (alone,) = metrics(setting)
        assert packed == pytest.approx(alone, rel=1e-11)
    assert len({row["val_loss"] for row in together}) > len(settings) / 2


def test_stacks_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [{"seed": seed, "ridge": ridge} for ridge in (0.01, 0.1) for seed in range(5)]
    together = metrics(*settings)
    monkeypatch.setattr(runs, "STACK_BYTES", 3 * memory_bytes(specs(settings[0])[0].knobs))
    for packed, row in zip(together, metrics(*settings), strict=True):
        assert row == pytest.approx(packed, rel=1e-11)


@pytest.mark.heavy
@pytest.mark.parametrize(
    "setting",
    [
        {"features": 64, "samples": 96, "ridge": 0.01},
        {"features": 200, "samples": 64, "ridge": 0.0, "noise": 0.0},
        {"features": 48, "samples": 96, "ridge": 0.0},
        {"features": 32, "samples": 64, "ensemble": 3, "ridge": 0.1},
        {"features": 96, "samples": 96, "ridge_choice": "optimal", "noise": 0.5},
    ],
)
def test_losses_are_on_average_those_of_the_theory(setting: dict[str, Any]) -> None:
    """Within 3.5 standard errors, and half a percent for sizes that are not infinite."""
    shape = {"dimension": 400, "capacity_exponent": 1.5, **setting}
    rows = metrics(*({**shape, "seed": seed} for seed in range(400)))
    for measured, expected in (("val_loss", "theory_loss"), ("train_loss", "theory_train_loss")):
        values, theory = np.array([row[measured] for row in rows]), rows[0][expected]
        assert abs(values.mean() - theory) < 3.5 * values.std() / math.sqrt(len(rows)) + 0.005 * theory + 1e-20


def test_the_ridge_used_is_the_one_given_or_the_best() -> None:
    given, best, off = metrics({}, {"ridge_choice": "optimal"}, {"ridge": 50.0})
    assert (given["ridge_used"], off["ridge_used"]) == (0.05, 50.0)
    assert 0 < best["ridge_used"] < 50
    assert best["theory_loss"] < min(given["theory_loss"], off["theory_loss"])
    (again,) = metrics({"ridge": best["ridge_used"]})
    assert again["val_loss"] == pytest.approx(best["val_loss"], rel=1e-11)


def test_an_infinite_risk_is_unknown_and_the_loss_of_a_draw_is_not() -> None:
    (row,) = metrics({"features": 16, "ridge": 0.0})
    assert row["theory_loss"] is None
    assert row["val_loss"] > 0.04
    assert row["train_loss"] == pytest.approx(0.0, abs=1e-9)


def test_n_is_the_features_of_all_predictors_and_d_the_samples() -> None:
    workload = registry.load("ridge")
    (spec,) = specs({"ensemble": 3})
    cost = workload.cost(spec)
    assert (cost.params_non_embedding, cost.tokens, cost.steps) == (72, 16, 1)
    products = 2 * 16 * 64 * 24 + 2 * 16**2 * 24 + 16**3 / 3 + 2 * 16**2 + 4 * 16 * 24 + 2 * 64 * 24
    assert cost.flops == pytest.approx(3 * products)
    assert cost.memory_bytes == 8 * (16 * 64 + 3 * (64 * 24 + 2 * 16 * 24 + 3 * 16**2) + 4 * 64)


def test_n_and_d_are_known_each_as_soon_as_its_knobs_are_and_compute_with_both() -> None:
    facts = registry.load("ridge").facts
    assert facts({"ridge": 0.1}) == {}
    assert facts({"samples": 16}) == {"tokens": 16}
    assert facts({"features": 24, "ensemble": 3}) == {"params": 72, "params_non_embedding": 72}
    assert facts({"samples": 16, "features": 24}).keys() == {"tokens", "params", "params_non_embedding", "flops"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"features": 65}, "features = 65 is above dimension = 64 (accepted: at most as many features as modes)"),
        ({"capacity_exponent": 1.0}, "capacity_exponent = 1 (accepted: above 1, where the sum of the eigenvalues"),
        ({"source_exponent": 0.0}, "source_exponent = 0 (accepted: above 0, where the target has finite power)"),
        ({"ridge": -1.0}, "ridge: -1.0 is outside [0, 1e+30]"),
        ({"noise": 1e10}, "noise: 10000000000.0 is outside [0, 1e+09]"),
        (
            {"capacity_exponent": 100.0, "dimension": 2000},
            "capacity_exponent = 100 with dimension = 2000 (accepted: at most 87.85",
        ),
        ({"ridge_choice": "best"}, "'best' is not one of given, optimal"),
    ],
)
def test_what_has_no_theory_is_refused_with_what_has(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as raised:
        specs(values)
    assert said in str(raised.value)


def test_trials_at_the_bounds_of_every_knob_end_with_their_loss() -> None:
    """None raises, which would end the trials that are packed with it."""
    corners = [
        {"noise": noise, "ridge": ridge, "ridge_choice": choice}
        for noise in (0.0, 1e-300, 1e9)
        for ridge in (0.0, 1e-320, 1e30)
        for choice in ("given", "optimal")
    ]
    for capacity in (1.0000001, 100.0):
        for row in metrics(
            *({**corner, "capacity_exponent": capacity, "source_exponent": 100.0} for corner in corners)
        ):
            assert row["val_loss"] is not None
    power = sum(i ** -(1 + 2 * 0.4 * 2.0) for i in range(1, 65))
    (shrunk,) = metrics({"ridge": 1e30, "noise": 0.0})
    assert shrunk["val_loss"] == pytest.approx(power)  # the risk of predicting zero
    assert shrunk["theory_loss"] == pytest.approx(power)


def test_all_faults_of_sizes_and_exponents_are_in_one_message() -> None:
    with pytest.raises(InputError) as raised:
        specs({"features": 100, "capacity_exponent": 0.5, "source_exponent": -1.0})
    assert len(raised.value.faults) == 3


def test_a_trial_without_memory_ends_with_the_memory_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(runs, "allocate", too_large)
    pack = specs({"features": 4000, "samples": 4000, "dimension": 4000})
    (outcome,) = list(registry.load("ridge").run(pack, Context("cpu", Path())))
    assert isinstance(outcome, Outcome)
    assert (outcome.state, outcome.message) == ("out_of_memory", "a trial needs 0.9 GB")


@pytest.mark.process
def test_a_plan_needs_no_torch() -> None:
    code = """
import sys
from sweeplaw.trials.workloads import registry
workload = registry.load("ridge")
workload.facts(workload.resolve({"features": 8, "samples": 8}))
print("torch" in sys.modules, "numpy" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
