"""The objective a fit minimises: residual space, penalty, weights, sum or mean.

All three penalties are one function of the threshold d, `huber(r) = r^2/2 if |r| <= d else d(|r| - d/2)` (Huber 1964):
least squares is d = infinity and least absolute deviation the limit d -> 0 of huber/d.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sweeplaw.trials.errors import InputError, nearest, require_types

Array = np.ndarray
Space = Literal["raw", "log"]
Reduction = Literal["mean", "sum"]
Penalty = Literal["huber", "lad", "ls"]

NOISE = "noise"  # instead of a column of weights: those that the noise of the rows asks for
PENALTIES: tuple[Penalty, ...] = ("huber", "lad", "ls")


@dataclass(frozen=True, slots=True)
class Objective:
    """A fitting objective. ``delta`` is in the residual's unit: nats for raw residuals, none for log residuals.

    Residuals are ``log L - log Lhat`` (log; the default is Hoffmann et al. 2022, eq. 3) or ``L - Lhat`` (raw).
    ``weights`` names the column the penalties are multiplied with, or is ``noise``: they then follow the noise of the
    rows, if that is found to change with size. The mean is the weighted mean.
    """

    name: Penalty = "huber"
    delta: float | None = 1e-3
    space: Space = "log"
    reduction: Reduction = "mean"
    weights: str | None = None

    def __post_init__(self) -> None:
        faults = []
        if self.name not in PENALTIES:
            faults.append(f"objective {self.name!r} is not known (accepted: huber:DELTA, lad, ls)")
        if self.name == "huber" and not (self.delta is not None and 0 < self.delta < math.inf):
            faults.append(f"huber needs a positive delta, {self.delta!r} given (for example huber:0.001)")
        if self.name != "huber" and self.delta is not None:
            faults.append(f"{self.name} takes no delta, {self.delta!r} given")
        if self.space not in ("raw", "log"):
            faults.append(f"space {self.space!r} is not known (accepted: raw, log)")
        if self.reduction not in ("mean", "sum"):
            faults.append(f"reduction {self.reduction!r} is not known (accepted: mean, sum)")
        if faults:
            raise InputError(faults)

    def describe(self) -> str:
        """Return the objective in words: ``mean huber (delta 0.001) of L - Lhat``."""
        residual = "L - Lhat" if self.space == "raw" else "log L - log Lhat"
        delta = f" (delta {self.delta:g})" if self.delta is not None else ""
        weighted = f", weighted by {self.weights}" if self.weights else ""
        return f"{self.reduction} {self.name}{delta} of {residual}{weighted}"

    def value(self, residuals: Array, weights: Array) -> Array:
        """Return the objective over the last axis."""
        total: Array = np.sum(weights * penalty(residuals, self), axis=-1)
        return total if self.reduction == "sum" else np.asarray(total / np.sum(weights, axis=-1))


def parse_objective(text: str, space: str = "log", reduction: str = "mean", weights: str | None = None) -> Objective:
    """Parse ``huber:0.001``, ``huber`` (delta 0.001), ``lad`` or ``ls``. Raise InputError for anything else."""
    require_types(("objective", text, str, "'huber:DELTA', 'lad', 'ls'"))
    name, colon, rest = text.partition(":")
    if name not in PENALTIES:
        raise InputError(f"objective {text!r} is not known (accepted: huber:DELTA, lad, ls){nearest(name, PENALTIES)}")
    try:
        delta = float(rest) if colon else (1e-3 if name == "huber" else None)
    except ValueError:
        raise InputError(f"objective {text!r}: {rest!r} is not a number") from None
    return Objective(name, delta, space, reduction, weights)  # type: ignore[arg-type]


def residuals(losses: Array, predicted: Array, space: Space) -> Array:
    """Return observed minus predicted, or the difference of their logarithms."""
    if space == "raw":
        return np.asarray(losses - predicted)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.log(losses) - np.log(predicted))


def penalty(residual: Array, objective: Objective) -> Array:
    """Return the penalty of each residual."""
    size: Array = np.abs(residual)
    if objective.name == "lad":
        return size
    if objective.name == "ls":
        return np.asarray(size * size)
    clipped = np.minimum(size, objective.delta or 0.0)
    return np.asarray(clipped * (size - clipped / 2))
