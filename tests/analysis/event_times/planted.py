"""Times with a planted law and a time at which looking ends, for tests and the simulation of coverage."""

from __future__ import annotations

import numpy as np

from sweeplaw.analysis.event_times.observations import EventTimes

SCALE, EXPONENTS, SIGMA = 300.0, np.array([-1.0, -2.0]), 0.4
A, B = (0.25, 0.5, 1.0, 2.0, 4.0), (0.3, 0.4, 0.5, 0.6)
END = 1000.0  # about four in ten are later


def draw(rng: np.random.Generator, residuals: str, repeats: int = 3) -> EventTimes:
    """Return the trials of the grid A x B, repeated, of which those later than END are censored there."""
    inputs = np.array([(a, b) for a in A for b in B for _ in range(repeats)])
    uniform = rng.random(len(inputs))
    noise = np.log(-np.log(uniform)) if residuals == "weibull" else rng.normal(size=len(inputs))
    times = SCALE * np.prod((inputs / [1.0, 0.5]) ** EXPONENTS, axis=1) * np.exp(SIGMA * noise)
    return EventTimes(np.minimum(times, END), times <= END, inputs, ("a", "b"))
