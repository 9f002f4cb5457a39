"""How far beyond its runs a law may be asked: what has been checked, and where no law has been."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sweeplaw.trials.errors import InputError

CHECKED = 100.0  # times the outermost run, up to which the coverage of bands is measured (docs/usage.md)
# The largest step that a published forecast of a final loss has taken and met: GPT-4's from runs of at most a
# ten-thousandth of its compute (OpenAI 2023, arXiv 2303.08774, section 3.1).
FARTHEST = 1e4


def distance(factor: float | np.ndarray) -> np.ndarray:
    """Return how far beyond the runs, above or below, a factor of `Prediction.beyond` is: 1 or more."""
    return np.maximum(factor, 1 / np.asarray(factor, dtype=float))


def too_far(beyond: float) -> str:
    """Return why nothing is advised at ``beyond`` times the compute of the largest run; empty if it is near enough."""
    if beyond <= FARTHEST:
        return ""
    return f"it is {beyond:.3g} times beyond the largest run, and no law has been checked beyond {FARTHEST:,.0f} times"


def require_reach(beyond: Mapping[str, np.ndarray], ends: Mapping[str, tuple[float, float]]) -> None:
    """Raise InputError naming how far a forecast may go if points are farther beyond the runs.

    ``beyond`` are factors by name (`Prediction.beyond`), ``ends`` the smallest and largest value of the runs by name,
    where it has a unit to state.
    """
    faults = []
    for name, factors in beyond.items():
        worst = float(np.atleast_1d(factors)[np.argmax(distance(np.atleast_1d(factors)))])
        if distance(worst) <= FARTHEST:
            continue
        side = "above" if worst > 1 else "below"
        limit = ""
        if name in ends:
            low, high = ends[name]
            limit = (
                f", so {name} up to {high * FARTHEST:.3g}" if worst > 1 else f", so {name} down to {low / FARTHEST:.3g}"
            )
        faults.append(f"{name} is {distance(worst):.3g} times {side} the runs (at most {FARTHEST:,.0f} times{limit})")
    if faults:
        raise InputError(faults, hints=["beyond that no law has been checked against a run, and its error is unknown"])


def unchecked(beyond: float) -> str:
    """Return a remark where bands have not been checked so far beyond the runs; empty where they have."""
    return f" (bands have been checked up to {CHECKED:.0f}x)" if distance(beyond) > CHECKED else ""
