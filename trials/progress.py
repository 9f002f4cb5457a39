"""How long work says how far it is: it calls whoever watches with how many of how many are done."""

from __future__ import annotations

from collections.abc import Callable

ProgressCallback = Callable[[int, int], None]


def no_progress(done: int, total: int) -> None:
    """Nobody watches."""
