"""Operations on the integers modulo p, and how the pairs of operands are divided into training and validation pairs.

The data set is every pair (a, b) with the number c that ``a o b`` is, as in Power et al. 2022 (arXiv:2201.02177,
appendix A.1.1): c = a + b, a - b or a / b modulo p. Division leaves out b = 0 and needs a prime p.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

OPERATIONS = ("addition", "subtraction", "division")
_SPLIT = 1  # of the streams of random numbers that a seed gives, the one that draws the training pairs

Integers = npt.NDArray[np.int64]


def is_prime(number: int) -> bool:
    """Return whether a number is prime."""
    return number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))


def nearest_primes(number: int) -> list[int]:
    """Return the largest prime up to a number, if there is one, and the smallest from it on."""
    below = next((value for value in range(number, 1, -1) if is_prime(value)), None)
    above = next(value for value in range(max(number, 2), 2 * number + 3) if is_prime(value))
    return sorted({above} if below is None else {below, above})


def pair_count(operation: str, modulus: int) -> int:
    """Return the number of pairs of operands."""
    return modulus * (modulus - 1 if operation == "division" else modulus)


def training_count(operation: str, modulus: int, fraction: float) -> int:
    """Return the number of pairs that are trained on."""
    return round(fraction * pair_count(operation, modulus))


def results(operation: str, modulus: int) -> tuple[Integers, Integers, Integers]:
    """Return first operands, second operands and results of all pairs, (pairs,) each. Division needs a prime."""
    second_operands = range(1 if operation == "division" else 0, modulus)
    first, second = (part.ravel() for part in np.meshgrid(range(modulus), second_operands, indexing="ij"))
    if operation == "division":
        inverses = np.array([0, *(pow(value, -1, modulus) for value in second_operands)])
        return first, second, first * inverses[second] % modulus
    return first, second, (first + second if operation == "addition" else first - second) % modulus


def training_pairs(pairs: int, count: int, seed: int) -> Integers:
    """Return the numbers of the ``count`` pairs that are trained on, drawn without replacement, (count,)."""
    return np.random.default_rng([seed, _SPLIT]).permutation(pairs)[:count]


def faults(knobs: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each setting of the data that leaves nothing to learn or to validate."""
    operation, modulus, fraction = knobs["operation"], knobs["modulus"], knobs["train_fraction"]
    found = []
    if operation == "division" and not is_prime(modulus):
        primes = " or ".join(map(str, nearest_primes(modulus)))
        found.append(
            f"modulus = {modulus} is no prime, so that division is undefined (accepted: a prime, such as {primes})"
        )
    pairs, count = pair_count(operation, modulus), training_count(operation, modulus, fraction)
    if not 0 < count < pairs:
        kind = "training" if count < 1 else "validation"
        limits = f"above {0.5 / pairs:.3g} and below {1 - 0.5 / pairs:.6g}"
        found.append(f"train_fraction = {fraction:g} of {pairs} pairs leaves no {kind} pair (accepted: {limits})")
    if 0 < count < knobs["batch_pairs"]:
        found.append(
            f"batch_pairs = {knobs['batch_pairs']} is more than the {count} training pairs "
            f"(accepted: 1 to {count}; 0 for all of them)"
        )
    return found
