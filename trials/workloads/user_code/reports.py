"""Conversion of the numbers that user code reports into curve points and one outcome.

A report is a mapping of names to numbers. `step`, `tokens`, `train_loss`, `val_loss`, `lr` and `grad_norm` are columns
of the curve; every other number is a metric. The outcome has the last value of each loss and metric, updated by the
code's final result. A loss that is not finite, or above the sweep's bound, ends the trial as diverged.
"""

from __future__ import annotations

import datetime as dt
import math
import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from sweeplaw.trials.record import (
    CURVE_COLUMNS,
    RESERVED_COLUMNS,
    SHARED_COLUMNS,
    TRIAL_COLUMNS,
    CurvePoint,
    Outcome,
    State,
)
from sweeplaw.trials.spec import TrialSpec, Value

LOSSES = ("train_loss", "val_loss")
MESSAGE_LIMIT = 4000  # characters of a message that are stored: its end, where the error is

_CURVE_NAMES = frozenset(("tokens", "train_loss", "val_loss", "lr", "grad_norm"))
_CURVE_RESERVED = frozenset(column.name for column in CURVE_COLUMNS) - _CURVE_NAMES
_SHARED_TYPES = {column.name: column.type for column in TRIAL_COLUMNS if column.name in SHARED_COLUMNS}


class Diverged(BaseException):
    """A loss was not finite or above the bound. Not an `Exception`, so that the user's handlers let it through."""


class Reports:
    """Reports of one trial so far. The clock starts at construction."""

    def __init__(self, spec: TrialSpec, divergence_loss: float = math.inf) -> None:
        self.spec = spec
        self.divergence_loss = divergence_loss
        self.last_step: int | None = None
        self.metrics: dict[str, Value] = {}
        self.finished = False  # whether there is a final result
        self._diverged: str | None = None
        self._reserved = RESERVED_COLUMNS | (spec.knobs.keys() - SHARED_COLUMNS)
        self._started_at, self._started = dt.datetime.now(dt.UTC), time.perf_counter()

    def add(self, report: Mapping[str, Any]) -> CurvePoint:
        """Return the curve point of one report; its default ``step`` is the one after the last.

        Raise TypeError or ValueError for a value that is not a number, and Diverged.
        """
        values = {name: curve_value(name, value) for name, value in report.items() if value is not None}
        step = int(values.pop("step", 0 if self.last_step is None else self.last_step + 1))
        self.last_step = step
        self._refuse_divergence(values)
        curve = {name: values.pop(name, None) for name in _CURVE_NAMES}
        self._keep({**values, **{name: value for name in LOSSES if (value := curve[name]) is not None}})
        return CurvePoint(
            self.spec.trial_id,
            step,
            tokens=None if curve["tokens"] is None else int(curve["tokens"]),
            train_loss=curve["train_loss"],
            val_loss=curve["val_loss"],
            lr=curve["lr"],
            grad_norm=curve["grad_norm"],
            metrics={_free_name(name, _CURVE_RESERVED): value for name, value in values.items()},
        )

    def finish(self, result: Mapping[str, Any]) -> None:
        """Add the final result, which may also contain text and booleans. Raise as `add` does."""
        values = {name: final_value(name, value) for name, value in result.items() if value is not None}
        if "step" in values:
            self.last_step = _whole("step", number("step", values.pop("step")))
        self._refuse_divergence(values)
        self._keep(values)
        self.finished = True

    def outcome(self, state: State, message: str | None = None) -> Outcome:
        """Return the outcome of a trial that ends now. Only a completed trial has metrics; others have their curve."""
        return Outcome(
            trial_id=self.spec.trial_id,
            state=state,
            message=message and message[-MESSAGE_LIMIT:],
            last_step=self.last_step,
            started_at=self._started_at,
            ended_at=dt.datetime.now(dt.UTC),
            train_seconds=time.perf_counter() - self._started,
            metrics=dict(self.metrics) if state == "completed" else {},
        )

    def completed(self, no_loss_message: str) -> Outcome:
        """Return the outcome of code that ended without error: failed with ``no_loss_message`` without a val_loss."""
        if self._diverged:  # the code caught the exception and continued
            return self.outcome("diverged", self._diverged)
        return self.outcome("completed") if "val_loss" in self.metrics else self.outcome("failed", no_loss_message)

    def _refuse_divergence(self, values: Mapping[str, Any]) -> None:
        for name in LOSSES:
            loss = values.get(name, 0.0)
            if not (math.isfinite(loss) and loss <= self.divergence_loss):
                bound = "" if math.isinf(self.divergence_loss) else f" (bound: {self.divergence_loss:g})"
                self._diverged = f"{name} is {loss} at step {self.last_step}{bound}"
                raise Diverged(self._diverged)

    def _keep(self, values: Mapping[str, Value]) -> None:
        """Add metrics, renamed where a knob or the run's own record has a column of that name."""
        for name, value in values.items():
            if name in SHARED_COLUMNS or self.spec.knobs.get(name) != value:
                self.metrics[_free_name(name, self._reserved)] = final_value(name, value)


def _free_name(name: str, taken: AbstractSet[str]) -> str:
    return f"reported_{name}" if name in taken or not name else name


def number(name: str, value: Any) -> float:
    """Return a number, a NumPy scalar or a tensor of one element as a float. Raise TypeError for anything else."""
    value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, int | float):
        raise TypeError(f"reported {name} = {value!r} is not a number")
    try:
        return float(value)
    except OverflowError:  # a whole number beyond 1e308
        return math.inf if value > 0 else -math.inf


def curve_value(name: str, value: Any) -> float:
    """Return ``value`` as a number of the curve; a step or a count of tokens must be finite. Raise as `number` does."""
    return _whole(name, number(name, value)) if name in ("step", "tokens") else number(name, value)


def final_value(name: str, value: Any) -> Value:
    """Return ``value`` in the type of its trials column; text and booleans are kept, numbers become floats."""
    value = value.item() if hasattr(value, "item") else value
    expected = _SHARED_TYPES.get(name)
    if expected == "int":
        return _whole(name, number(name, value))
    if expected == "str" and not isinstance(value, str):
        raise TypeError(f"reported {name} = {value!r} is not text")
    return value if expected != "float" and isinstance(value, str | bool) else number(name, value)


def _whole(name: str, value: Any) -> int:
    if not abs(value) < 2**63:  # columns have 64 bits
        raise ValueError(f"reported {name} = {value!r} is not a whole number")
    return int(value)
