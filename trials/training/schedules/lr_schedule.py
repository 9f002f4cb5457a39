"""Learning-rate schedules, as a fraction of the peak: linear warm-up, then one of `SHAPES`."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np


@dataclass(frozen=True, slots=True)
class Schedule:
    """Linear rise from near 0 to 1 over ``warmup_fraction`` of the steps, then ``shape`` down to ``final_fraction``.

    ``constant``, ``inverse_sqrt`` and ``points`` ignore ``final_fraction``. ``decay_fraction`` is the
    fraction of all steps over which ``wsd`` decays at the end; the other shapes ignore it. ``points`` are those that
    the shape ``points`` connects by lines: shares of the run after warm-up, and of the peak.
    """

    shape: str
    steps: int
    warmup_fraction: float = 0.0
    final_fraction: float = 0.0
    decay_fraction: float = 0.2
    points: tuple[tuple[float, float], ...] = ()

    @property
    def warmup_steps(self) -> int:
        """Number of steps of the rise; at least one step remains for the shape."""
        return min(round(self.warmup_fraction * self.steps), self.steps - 1)

    def __call__(self, step: int) -> float:
        """Return the fraction of the peak at ``step`` in [0, steps).

        The first step after warm-up has 1. ``final_fraction`` would be reached at ``steps``, so that the last update
        has an effect even if it is 0.
        """
        warmup = self.warmup_steps
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = (step - warmup) / (self.steps - warmup)
        return SHAPES[self.shape](progress, self)

    @property
    def stable_steps(self) -> int | None:
        """Number of first updates whose fractions a longer schedule of as many ``warmup_steps`` has too, to the last
        bit: those before the decay of ``wsd``, all of ``constant``. None for the other shapes.
        """
        if self.shape not in STABLE:
            return None
        warmup = self.warmup_steps
        return bisect.bisect_left(range(self.steps), True, lo=warmup, key=lambda step: self(step) < 1)


def _cosine(progress: float, schedule: Schedule) -> float:
    """Loshchilov and Hutter 2017 (SGDR), equation 5, one period."""
    return _interpolate(0.5 * (1 + math.cos(math.pi * progress)), schedule)


def _linear(progress: float, schedule: Schedule) -> float:
    return _interpolate(1 - progress, schedule)


def _wsd(progress: float, schedule: Schedule) -> float:
    """Warm-up, stable, decay (Hu et al. 2024, MiniCPM, section 4.2) with a linear decay."""
    after_warmup = schedule.steps - schedule.warmup_steps
    decay = min(1.0, schedule.decay_fraction * schedule.steps / after_warmup)
    return _interpolate(min(1.0, (1 - progress) / decay) if decay > 0 else 1.0, schedule)


def _constant(progress: float, schedule: Schedule) -> float:
    return 1.0


def _inverse_sqrt(progress: float, schedule: Schedule) -> float:
    """Vaswani et al. 2017, equation 3, with the peak at the first step after warm-up."""
    step = schedule.warmup_steps + progress * (schedule.steps - schedule.warmup_steps)
    return math.sqrt((schedule.warmup_steps + 1) / (step + 1))


def _points(progress: float, schedule: Schedule) -> float:
    places, heights = zip(*schedule.points, strict=True)
    return float(np.interp(progress, places, heights))


def _interpolate(height: float, schedule: Schedule) -> float:
    """Scale ``height`` from [0, 1] to [final_fraction, 1]."""
    return schedule.final_fraction + (1 - schedule.final_fraction) * height


SHAPES: Mapping[str, Callable[[float, Schedule], float]] = MappingProxyType(
    {
        "cosine": _cosine,
        "linear": _linear,
        "wsd": _wsd,
        "constant": _constant,
        "inverse_sqrt": _inverse_sqrt,
        "points": _points,
    }
)
STABLE = ("wsd", "constant")  # shapes that begin at the peak and stay there
