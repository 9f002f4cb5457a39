"""A preemption notice after a number of updates, for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sweeplaw.trials.training.stack import Stack


def ending_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Return a preemption notice that turns true once ``step`` updates are done in this process."""
    done = 0
    real = Stack._train_step

    def count(stack: Stack) -> Any:
        nonlocal done
        done += 1
        return real(stack)

    monkeypatch.setattr(Stack, "_train_step", count)
    return lambda: done >= step
