"""Classes of ordered colours: dark to light as a value grows, the same in all charts of a page."""

from __future__ import annotations

from collections.abc import Sequence

STEPS = 8  # colours of the page's ordered scale
EXCESSES = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05)  # ends of the classes of loss above the best, as shares


def stroke(rank: int, count: int) -> str:
    """Return the class of a line, by the rank of its value."""
    return f"s{_step(rank, count)}"


def fill(rank: int, count: int) -> str:
    """Return the class of a mark, by the rank of its value."""
    return f"f{_step(rank, count)}"


def heat(excess: float, ends: Sequence[float] = EXCESSES) -> int:
    """Return the class of a loss above the best: 0 for the best, one more for each of the six ``ends`` exceeded."""
    return sum(excess > end for end in ends)


def _step(rank: int, count: int) -> int:
    return 2 if count < 2 else round(rank * (STEPS - 1) / (count - 1))
