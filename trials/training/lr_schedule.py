"""The learning rate over a run, as a share of its peak: linear warm-up, then one of four shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Schedule:
    """``warmup_fraction`` of the steps rise linearly from near 0 to 1, the rest follows ``shape`` to
    ``final_fraction``.

    ``decay_fraction`` is the share of all steps at the end over which ``wsd`` falls; the other shapes ignore it.
    """

    shape: str
    steps: int
    warmup_fraction: float = 0.0
    final_fraction: float = 0.0
    decay_fraction: float = 0.2

    @property
    def warmup_steps(self) -> int:
        """Steps of the rise; at least one step is left for the shape."""
        return min(round(self.warmup_fraction * self.steps), self.steps - 1)

    def __call__(self, step: int) -> float:
        """Share of the peak at ``step`` in [0, steps). The first step after warm-up has 1; the final share would be
        reached at ``steps``, so that the last update is not lost when it is 0."""
        warmup = self.warmup_steps
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = (step - warmup) / (self.steps - warmup)
        return SHAPES[self.shape](progress, self)


def _cosine(progress: float, schedule: Schedule) -> float:
    """Loshchilov and Hutter 2017 (SGDR), equation 5, one period."""
    return _fall(0.5 * (1 + math.cos(math.pi * progress)), schedule)


def _linear(progress: float, schedule: Schedule) -> float:
    return _fall(1 - progress, schedule)


def _wsd(progress: float, schedule: Schedule) -> float:
    """Warm-up, stable, decay (Hu et al. 2024, MiniCPM, section 4.2) with a linear decay."""
    after_warmup = schedule.steps - schedule.warmup_steps
    decay = min(1.0, schedule.decay_fraction * schedule.steps / after_warmup)
    return _fall(min(1.0, (1 - progress) / decay) if decay > 0 else 1.0, schedule)


def _constant(progress: float, schedule: Schedule) -> float:
    return 1.0


def _fall(height: float, schedule: Schedule) -> float:
    return schedule.final_fraction + (1 - schedule.final_fraction) * height


SHAPES: Mapping[str, Callable[[float, Schedule], float]] = MappingProxyType(
    {"cosine": _cosine, "linear": _linear, "wsd": _wsd, "constant": _constant}
)
