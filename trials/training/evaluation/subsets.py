"""Subsets of an ensemble's members, as bit masks: bit i is member i."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence

COMBINATIONS = ("logits", "probabilities")  # what members are averaged in
ALL_OF = 10  # members of which every subset is evaluated: 1,023
SAMPLED = 32  # subsets of each size, for more members than that


def mask(members: Iterable[int]) -> int:
    """Return the subset of these members."""
    return sum(1 << member for member in set(members))


def indices(subset: int) -> list[int]:
    """Return the members of a subset, in order."""
    return [i for i in range(subset.bit_length()) if subset >> i & 1]


def nested(size: int) -> int:
    """Return the subset of the first ``size`` members."""
    return (1 << size) - 1


def sizes(members: int) -> list[int]:
    """Return the sizes of subsets that are evaluated: 1 to `ALL_OF`, and all members."""
    return [*range(1, min(members, ALL_OF) + 1), *([members] if members > ALL_OF else [])]


def chosen(members: int) -> list[int]:
    """Return the subsets to evaluate, smaller ones first: all, or of more than `ALL_OF` members a sample.

    The sample has every single member, the first k members of each size k, and at most `SAMPLED` others, which depend
    on nothing but ``members``.
    """
    found: list[int] = []
    for size in sizes(members):
        if members <= ALL_OF or size in (1, members):
            found += [mask(one) for one in itertools.combinations(range(members), size)]
            continue
        drawn = random.Random(f"subsets of {size} of {members}")
        others = (mask(drawn.sample(range(members), size)) for _ in range(SAMPLED))
        found += dict.fromkeys([nested(size), *others])
    return found


def by_size(subsets: Sequence[int], losses: Sequence[float], members: int) -> list[float]:
    """Return the mean loss over the subsets of each size 1, 2, … `ALL_OF` or ``members``."""
    found = []
    for size in range(1, min(members, ALL_OF) + 1):
        own = [loss for subset, loss in zip(subsets, losses, strict=True) if subset.bit_count() == size]
        found.append(sum(own) / len(own))
    return found
