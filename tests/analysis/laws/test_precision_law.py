"""The law of precision: fewer bits count as fewer parameters, as Kumar et al. 2024 (arXiv 2411.04330) have it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq

from sweeplaw import analysis
from sweeplaw.analysis.laws.catalog import LAWS

LAW = LAWS["precision"]
CHINCHILLA = {"E": 2.7648, "A": 4299.0, "B": 18060.0, "alpha": 0.4965, "beta": 0.4965}
BITS = {"float32": 32, "bfloat16": 16, "fp8": 8, "fp4": 4}


@pytest.mark.parametrize("bits", BITS.values())
def test_the_loss_is_that_of_the_effective_parameters_in_full_precision(bits: int) -> None:
    size, gamma = np.array([1e7, 1e8, 1e9]), 2.2
    found = LAW.predict(CHINCHILLA | {"gamma": gamma}, {"N": size, "D": 1e10, "P": bits})
    effective = size * (1 - np.exp(-bits / gamma)) ** 3
    assert found == pytest.approx(LAWS["additive"].predict(CHINCHILLA, {"N": effective, "D": 1e10}), rel=1e-12)


def test_the_compute_optimal_precision_is_the_same_at_every_budget() -> None:
    """With a cost of 6 N D P / 16, (1 - exp(-P/gamma))^3 / P is largest where 3 u = exp(u) - 1, u = P / gamma."""
    gamma = 2.2
    optimum = gamma * brentq(lambda u: 3 * u - np.expm1(u), 0.1, 10)
    bits, ratio = (axis.ravel() for axis in np.meshgrid(np.linspace(2, 12, 1001), np.geomspace(1, 1e4, 201)))
    for flops in (1e19, 1e23):
        size = np.sqrt(flops * 16 / (6 * bits * ratio))
        losses = LAW.predict(CHINCHILLA | {"gamma": gamma}, {"N": size, "D": ratio * size, "P": bits})
        assert bits[losses.argmin()] == pytest.approx(optimum, abs=0.05)


@pytest.mark.heavy
def test_a_fit_to_noisy_runs_of_four_precisions_recovers_the_law_within_its_intervals() -> None:
    truth = {"E": 1.7, "A": 60.0, "B": 400.0, "alpha": 0.3, "beta": 0.35, "gamma": 1.4}
    size, tokens, bits = (
        axis.ravel() for axis in np.meshgrid(np.geomspace(1e4, 1e7, 5), np.geomspace(1e6, 1e9, 5), list(BITS.values()))
    )
    losses = LAW.predict(truth, {"N": size, "D": tokens, "P": bits})
    losses = losses * np.exp(0.002 * np.random.default_rng(0).normal(size=len(losses)))
    table = {"params_non_embedding": size, "tokens": tokens, "precision_bits": bits, "val_loss": losses}
    fit = analysis.fit(table, "precision")
    assert fit.verified, fit.status
    for name, value in truth.items():
        assert fit.intervals[name].low <= value <= fit.intervals[name].high
    assert fit.params["gamma"] == pytest.approx(1.4, rel=0.05)


def test_the_names_of_a_precision_are_an_input_by_an_expression() -> None:
    truth = CHINCHILLA | {"gamma": 2.0}
    names = np.repeat(list(BITS), 9)
    size, tokens = np.tile(np.geomspace(1e7, 1e9, 3), 12), np.tile(np.repeat(np.geomspace(1e9, 1e11, 3), 3), 4)
    losses = LAW.predict(truth, {"N": size, "D": tokens, "P": [BITS[name] for name in names]})
    table = {"N": size, "D": tokens, "precision": names, "loss": losses}
    cases = " ".join(f"WHEN '{name}' THEN {bits}" for name, bits in BITS.items())
    fit = analysis.fit(table, "precision", x={"P": f"CASE precision {cases} END"}, y="loss")
    assert fit.verified, fit.status
    assert fit.params == pytest.approx(truth, rel=1e-5)
