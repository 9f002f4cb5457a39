"""Progress of long computations."""

from __future__ import annotations

from collections.abc import Callable

ProgressCallback = Callable[[int, int], None]  # called with (done, total)


def no_progress(done: int, total: int) -> None:
    """Ignore progress."""


def ignore(sentence: str) -> None:
    """Ignore what a computation says that it does."""
