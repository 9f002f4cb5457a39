"""A plan of a few trials: where, why, at what price, and by how much it would narrow the law's interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweeplaw.analysis.tables.display import Shown


@dataclass(frozen=True, slots=True, repr=False)
class RunPlan(Shown):
    """Trials at ``points``, pairs of N and D in the table's units, with ``knobs`` to try there (none: the best ones).

    ``flops`` is the price of all trials, None where it is unknown. ``narrower`` is the share by which the standard
    error of the law's loss at the target falls, None where the plan is about a setting and no law.
    """

    title: str
    why: str
    points: tuple[tuple[float, float], ...]
    trials: int
    flops: float | None
    narrower: float | None = None
    knobs: Mapping[str, tuple[Any, ...]] | None = None

    @property
    def narrower_per_flop(self) -> float:
        """The gain for its price; 0 where either is unknown."""
        return self.narrower / self.flops if self.narrower and self.flops else 0.0

    def headline(self) -> tuple[str, ...]:
        """Return the plan and its reason."""
        return (self.title, self.why)
