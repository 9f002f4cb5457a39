"""What a simulated cluster does to its workers: how long they take to start, and when their nodes go."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Interruption = Literal["node died", "preempted"]  # the reasons under which the lost work is counted
HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Conditions:
    """Failures and preemptions are Poisson processes, at a rate per hour for each node that is there.

    An interrupted node loses its workers without notice and is back after ``away_seconds``, empty. A worker takes
    ``startup_seconds`` until it trains, and its trials write a checkpoint every ``checkpoint_seconds`` of training
    (None: never), which outlives it. Assumptions: a death is noticed at once (a real one within seconds), and neither a
    checkpoint nor the way back from one takes time. The ``seed`` fixes every interruption.
    """

    failures_per_hour: float = 0.0
    preemptions_per_hour: float = 0.0
    away_seconds: float = 600.0
    startup_seconds: float = 0.0
    checkpoint_seconds: float | None = None
    seed: int = 0

    @property
    def interruptions_per_hour(self) -> float:
        """Rate of both together, for one node."""
        return self.failures_per_hour + self.preemptions_per_hour

    def interruptions(self, node: str) -> Iterator[tuple[float, Interruption]]:
        """Yield, for each time that the node is there, the seconds until it is interrupted, and how.

        They depend on the seed and the node alone, so that two orders of the same trials meet the same.
        """
        rate = self.interruptions_per_hour / HOUR
        draws = random.Random(f"{self.seed}/{node}")
        while rate > 0:
            seconds = draws.expovariate(rate)
            preempted = draws.random() * self.interruptions_per_hour < self.preemptions_per_hour
            yield seconds, "preempted" if preempted else "node died"

    def kept(self, seconds: float) -> float:
        """Return how much of ``seconds`` of training is in a checkpoint."""
        if self.checkpoint_seconds is None:
            return 0.0
        return min(seconds, math.floor(seconds / self.checkpoint_seconds) * self.checkpoint_seconds)
