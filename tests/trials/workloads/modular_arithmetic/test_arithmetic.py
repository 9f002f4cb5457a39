"""The data of modular arithmetic agree with Python's own integers, and bad settings are refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sweeplaw.trials.errors import InputError
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workloads import registry
from sweeplaw.trials.workloads.modular_arithmetic import arithmetic


def test_primes_are_those_of_the_sieve() -> None:
    sieve = set(range(2, 500))
    for number in range(2, 500):
        sieve -= set(range(2 * number, 500, number))
    assert [number for number in range(-3, 500) if arithmetic.is_prime(number)] == sorted(sieve)


@pytest.mark.parametrize(("number", "near"), [(48, [47, 53]), (90, [89, 97]), (7, [7]), (1, [2]), (4, [3, 5])])
def test_nearest_primes_surround_a_number(number: int, near: list[int]) -> None:
    assert arithmetic.nearest_primes(number) == near


@pytest.mark.parametrize("operation", arithmetic.OPERATIONS)
def test_every_pair_occurs_once_and_its_result_solves_the_equation(operation: str) -> None:
    first, second, answers = (part.tolist() for part in arithmetic.results(operation, 13))
    pairs = set(zip(first, second, strict=True))
    assert len(pairs) == len(first) == arithmetic.pair_count(operation, 13)
    assert set(first) == set(range(13))
    for a, b, c in zip(first, second, answers, strict=True):
        assert 0 <= c < 13
        found = {"addition": (a + b) % 13, "subtraction": (a - b) % 13, "division": c}[operation]
        assert c == found
        if operation == "division":
            assert b != 0
            assert c * b % 13 == a


def test_training_pairs_are_distinct_and_another_seed_draws_others() -> None:
    drawn = [arithmetic.training_pairs(169, 68, seed) for seed in (0, 0, 1)]
    assert all(len(set(part.tolist())) == 68 for part in drawn)
    assert np.array_equal(drawn[0], drawn[1])
    assert set(drawn[0].tolist()) != set(drawn[2].tolist())


def cost_of(**values: Any) -> Any:
    workload = registry.load("modular_arithmetic")
    return workload.cost(TrialSpec.of(workload.name, workload.knobs, workload.resolve(values)))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"operation": "division", "modulus": 48}, "modulus = 48 is no prime.*accepted: a prime, such as 47 or 53"),
        ({"modulus": 11, "train_fraction": 1.0}, "train_fraction = 1 of 121 pairs leaves no validation pair"),
        ({"modulus": 11, "train_fraction": 0.999}, "leaves no validation pair .accepted: above 0.00413 and below 0.99"),
        ({"modulus": 11, "train_fraction": 0.001}, "train_fraction = 0.001 of 121 pairs leaves no training pair"),
        ({"modulus": 11, "batch_pairs": 61}, "batch_pairs = 61 is more than the 60 training pairs"),
        ({"model": "transformer", "width": 30}, "width = 30 is not a multiple of heads = 4"),
        ({"model": "transformer", "hidden_layers": 2}, "hidden_layers = 2 of a transformer .accepted: 1"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        cost_of(**values)


def test_all_faults_are_said_at_once() -> None:
    with pytest.raises(InputError) as refused:
        cost_of(
            operation="division",
            modulus=48,
            train_fraction=1.0,
            batch_pairs=9999,
            model="transformer",
            width=30,
            hidden_layers=2,
        )
    assert len(refused.value.faults) == 5


def test_the_limits_that_are_said_are_accepted() -> None:
    """The fractions at which exactly one pair is left, by the bounds of the message."""
    pairs = 121
    for fraction, count in ((0.5 / pairs * 1.01, 1), (1 - 0.5 / pairs * 1.01, 120)):
        assert cost_of(modulus=11, train_fraction=fraction).unique_tokens == count


def test_the_cost_counts_pairs_and_parameters() -> None:
    cost = cost_of(modulus=11, width=8, hidden_layers=2, train_fraction=0.5, batch_pairs=20, steps=30)
    assert (cost.params, cost.params_embedding) == (2 * 11 * 8 + 8 * 8 + 8 * 11, 0)
    assert (cost.tokens, cost.unique_tokens, cost.epochs) == (600, 60, 10.0)
    assert cost.flops == 6.0 * cost.params * 600
    assert cost_of(modulus=11, width=8, train_fraction=0.5, steps=30).batch_tokens == 60


def test_pairs_are_in_the_order_of_their_first_operands() -> None:
    """Seeds pick pairs by number, so the order is part of what a seed means."""
    first, second, answers = (part.tolist() for part in arithmetic.results("subtraction", 3))
    assert first == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert second == [0, 1, 2] * 3
    assert answers == [0, 2, 1, 1, 0, 2, 2, 1, 0]
    assert [part.tolist() for part in arithmetic.results("division", 3)[:2]] == [[0, 0, 1, 1, 2, 2], [1, 2] * 3]
