"""Pseudo-random permutations of range(n) with random access, without building the whole permutation.

A Feistel network is a bijection of [0, 4^h) for any round function; following its cycles until the value is below n
makes it a bijection of [0, n) (Black and Rogaway 2002, "Ciphers with arbitrary finite domains"). The order of a billion
windows therefore needs no memory, and the same (n, key) is the same order on every machine.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

ROUNDS = 6  # Luby and Rackoff 1988 need 4 for indistinguishability; small domains mix better with more
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shuffle:
    """The permutation of range(size) that ``key`` determines; ``shuffle(positions)`` are its elements there."""

    size: int
    key: str
    _half: int = field(init=False, repr=False)
    _round_keys: tuple[np.uint64, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        digest = hashlib.blake2b(self.key.encode(), digest_size=8 * ROUNDS).digest()
        keys = tuple(np.uint64(word) for word in np.frombuffer(digest, dtype="<u8"))
        object.__setattr__(self, "_half", max(1, ((self.size - 1).bit_length() + 1) // 2))
        object.__setattr__(self, "_round_keys", keys)

    def __call__(self, positions: Indices) -> Indices:
        """Return the elements at ``positions``, each in [0, size), in the shape of ``positions``."""
        values = self._encrypt(np.asarray(positions, dtype=np.uint64))
        outside = values >= self.size
        while outside.any():
            values[outside] = self._encrypt(values[outside])
            outside = values >= self.size
        return values.astype(np.int64)

    def _encrypt(self, values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        half = np.uint64(self._half)
        mask = np.uint64((1 << self._half) - 1)
        left, right = values >> half, values & mask
        for key in self._round_keys:
            left, right = right, left ^ (_mix(right, key) & mask)
        return (left << half) | right


def _mix(values: npt.NDArray[np.uint64], key: np.uint64) -> npt.NDArray[np.uint64]:
    """Apply the finalizer of SplitMix64 (Steele, Lea and Flood 2014) to keyed ``values``; wraps modulo 2^64."""
    mixed = values * np.uint64(0x9E3779B97F4A7C15) + key
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
