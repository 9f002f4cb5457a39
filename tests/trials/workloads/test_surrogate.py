"""The surrogate, the truth that other tests recover, agrees with closed forms."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads import registry, surrogate

N, D = 10**7, 4 * 10**8


def run(tmp_path: Path, *settings: dict[str, Any]) -> list[Any]:
    workload = registry.load("surrogate")
    specs = [TrialSpec.of("surrogate", workload.knobs, {"params": N, "tokens": D, **values}) for values in settings]
    return list(workload.run(specs, Context("cpu", tmp_path)))


def test_the_law_has_its_published_compute_optimum() -> None:
    """Besiroglu et al. 2024, arXiv:2404.10102: about 20 tokens a parameter at Chinchilla's 5.76e23 FLOPs."""
    flops = 5.76e23
    sizes = [10 ** (9 + index / 500) for index in range(1500)]
    best = min(sizes, key=lambda params: surrogate.law(params, flops / (6 * params)))
    assert 15 < flops / (6 * best) / best < 30


def test_the_best_settings_are_the_planted_ones_and_reach_the_law() -> None:
    lr, batch = surrogate.optimal_lr(N, D), surrogate.optimal_batch_tokens(D) / surrogate.SEQUENCE_TOKENS
    best = surrogate.loss(N, D, lr, surrogate.OPTIMAL_DECAY, batch)
    assert best == pytest.approx(surrogate.law(N, D), abs=1e-12)
    for factor in (0.5, 0.9, 1.1, 2.0):
        assert surrogate.loss(N, D, lr * factor, surrogate.OPTIMAL_DECAY, batch) > best
        assert surrogate.loss(N, D, lr, surrogate.OPTIMAL_DECAY * factor, batch) > best
        assert surrogate.loss(N, D, lr, surrogate.OPTIMAL_DECAY, batch * factor) > best


def test_a_trial_without_noise_and_the_end_of_its_curve_are_on_the_surface(tmp_path: Path) -> None:
    *curve, outcome = run(tmp_path, {"lr": 0.003, "weight_decay": 0.0, "batch_sequences": 64})
    assert outcome.metrics["val_loss"] == pytest.approx(surrogate.loss(N, D, 0.003, 0.0, 64), abs=1e-12)
    assert outcome.metrics["noiseless_loss"] == pytest.approx(outcome.metrics["val_loss"], abs=1e-12)
    assert curve[-1].val_loss == outcome.metrics["val_loss"]
    assert curve[-1].tokens == D
    assert [point.val_loss for point in curve] == sorted((point.val_loss for point in curve), reverse=True)


@pytest.mark.heavy
def test_noise_has_the_stated_deviation_and_no_bias(tmp_path: Path) -> None:
    outcomes: list[Any] = [
        event
        for event in run(tmp_path, *({"noise": 0.02, "seed": seed} for seed in range(2000)))
        if isinstance(event, Outcome)
    ]
    noise = [outcome.metrics["val_loss"] - outcome.metrics["noiseless_loss"] for outcome in outcomes]
    assert statistics.stdev(noise) == pytest.approx(0.02, rel=0.08)  # five standard errors of 2000 draws
    assert abs(statistics.fmean(noise)) < 5 * 0.02 / 2000**0.5


@pytest.mark.parametrize("state", ["diverged", "failed", "out_of_memory"])
def test_a_planted_ending_has_the_curve_before_it_and_no_loss(tmp_path: Path, state: str) -> None:
    *curve, outcome = run(tmp_path, {"behaviour": state})
    assert outcome.state == state
    assert outcome.last_step == curve[-1].step < run(tmp_path, {})[-1].last_step
    assert outcome.metrics == {}


def test_a_planted_exception_leaves_the_pack(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="planted"):
        run(tmp_path, {}, {"behaviour": "raised"})


@pytest.mark.heavy
def test_a_planted_kill_ends_its_process_by_sigkill(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads import registry
w = registry.load("surrogate")
spec = TrialSpec.of(w.name, w.knobs, dict(params=10, tokens=10**6, behaviour="killed"))
list(w.run([spec], Context("cpu", Path({str(tmp_path)!r}))))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9


@pytest.mark.parametrize("tokens", [1, 256 * 32, 256 * 32 + 1, 10**12])
def test_steps_are_whole_and_cover_no_more_than_the_requested_tokens(tmp_path: Path, tokens: int) -> None:
    *curve, outcome = run(tmp_path, {"tokens": tokens})
    assert outcome.last_step == -(-tokens // (256 * 32))
    assert curve[-1].tokens == tokens


def test_a_name_after_a_colon_is_refused() -> None:
    with pytest.raises(InputError, match="surrogate:other"):
        registry.load("surrogate:other")
