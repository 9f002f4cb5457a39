"""Conversion of the numbers that user code reports into curve points and one outcome.

A report is a mapping of names to numbers. `step`, `tokens`, `train_loss`, `val_loss`, `lr` and `grad_norm` are columns
of the curve; every other number is a metric. The outcome has the last value of each loss and metric, updated by the
code's final result. A loss that is not finite, or above the sweep's bound, ends the trial as diverged.

A trial keeps at most METRIC_LIMIT names of metrics and POINT_LIMIT points of its curve, so that a table of many trials
stays readable. What is left out is counted in the outcome's message, beside its last losses, which always count.
"""

from __future__ import annotations

import datetime as dt
import math
import time
from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from sweeplaw.trials.errors import safe_text
from sweeplaw.trials.quantities import counted
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
METRIC_LIMIT = 1000  # names; each is a column, and a table of names times rows grows quadratically
POINT_LIMIT = 1_000_000
NAME_LIMIT = 200  # characters
TEXT_LIMIT = 10_000  # characters of a text in a final result

_CURVE_NAMES = frozenset(("tokens", "train_loss", "val_loss", "lr", "grad_norm"))
_CURVE_RESERVED = frozenset(column.name for column in CURVE_COLUMNS) - _CURVE_NAMES
_NOT_COUNTED = SHARED_COLUMNS | _CURVE_NAMES  # there are few of them
_SHARED_TYPES = {column.name: column.type for column in TRIAL_COLUMNS if column.name in SHARED_COLUMNS}
_NUMBERS = _CURVE_NAMES | {"step"} | {name for name, kind in _SHARED_TYPES.items() if kind in ("int", "float")}
_NO_SCALAR = "cannot be converted to Scalar"  # torch, of a tensor of several elements


class Diverged(BaseException):
    """A loss was not finite or above the bound. No `Exception`: user code may catch those."""


class Reports:
    """Reports of one trial so far. The clock starts at construction."""

    def __init__(self, spec: TrialSpec, divergence_loss: float = math.inf) -> None:
        self.spec = spec
        self.divergence_loss = divergence_loss
        self.last_step: int | None = None
        self.metrics: dict[str, Value] = {}
        self.finished = False  # whether there is a final result
        self.notes: Counter[str] = Counter()  # what was left out or looks wrong, with its count
        self._names: set[str] = set()
        self._points = 0
        self._diverged: str | None = None
        self._reserved = RESERVED_COLUMNS | (spec.knobs.keys() - SHARED_COLUMNS)
        self._started_at, self._started = dt.datetime.now(dt.UTC), time.perf_counter()

    def add(self, report: Mapping[str, Any]) -> CurvePoint | None:
        """Return the curve point of one report, or None beyond POINT_LIMIT; its default ``step`` follows the last one.

        A step below an earlier one is accepted and noted: the code may have gone back to a checkpoint. Raise TypeError
        or ValueError for a value that is not a number and for a negative step, and Diverged.
        """
        values = {checked_name(name): curve_value(name, value) for name, value in report.items() if value is not None}
        step = int(values.pop("step", 0 if self.last_step is None else self.last_step + 1))
        if step < 0:
            raise ValueError(f"reported step = {step} is negative")
        if self.last_step is not None and step < self.last_step:
            self.notes["{} with a step below an earlier one"] += 1
        self.last_step = step if self.last_step is None else max(step, self.last_step)
        self._refuse_divergence(values, step)
        values = self._within_limit(values)
        curve = {name: values.pop(name, None) for name in _CURVE_NAMES}
        self._keep({**values, **{name: value for name in LOSSES if (value := curve[name]) is not None}})
        self._points += 1
        if self._points > POINT_LIMIT:
            self.notes[f"{{}} beyond the first {POINT_LIMIT:,} are not in the curve"] += 1
            return None
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
        values = {checked_name(name): final_value(name, value) for name, value in result.items() if value is not None}
        if "step" in values:
            self.last_step = _whole("step", number("step", values.pop("step")))
        self._refuse_divergence(values, self.last_step)
        for name, value in values.items():
            if isinstance(value, str) and len(value) > TEXT_LIMIT:
                values[name] = value[:TEXT_LIMIT]
                self.notes[f"{{}} with a text cut at {TEXT_LIMIT:,} characters"] += 1
        self._keep(self._within_limit(values))
        self.finished = True

    def outcome(self, state: State, message: str | None = None) -> Outcome:
        """Return the outcome of a trial that ends now, its message followed by notes on the reports.

        Only a completed trial has metrics; others have their curve.
        """
        notes = [f"note: {text.format(counted(count, 'report'))}" for text, count in self.notes.items()]
        return Outcome(
            trial_id=self.spec.trial_id,
            state=state,
            message="\n".join([*([message[-MESSAGE_LIMIT:]] if message else []), *notes]) or None,
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

    def _within_limit(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return ``values`` without metrics beyond METRIC_LIMIT, which are noted."""
        new = [name for name in values if name not in self._names and name not in _NOT_COUNTED]
        room = METRIC_LIMIT - len(self._names)
        self._names.update(new[:room])
        if len(new) <= room:
            return values
        self.notes[f"{{}} with metrics beyond the first {METRIC_LIMIT:,} names, which were left out"] += 1
        left_out = set(new[room:])
        return {name: value for name, value in values.items() if name not in left_out}

    def _refuse_divergence(self, values: Mapping[str, Any], step: int | None) -> None:
        for name in LOSSES:
            loss = values.get(name, 0.0)
            if not (math.isfinite(loss) and loss <= self.divergence_loss):
                bound = "" if math.isinf(self.divergence_loss) else f" (bound: {self.divergence_loss:g})"
                self._diverged = f"{name} is {loss} at step {step}{bound}"
                raise Diverged(self._diverged)

    def _keep(self, values: Mapping[str, Value]) -> None:
        """Add metrics, renamed where a knob or the run's own record has a column of that name."""
        for name, value in values.items():
            if name in SHARED_COLUMNS or self.spec.knobs.get(name) != value:
                self.metrics[_free_name(name, self._reserved)] = final_value(name, value)


def _free_name(name: str, taken: AbstractSet[str]) -> str:
    return f"reported_{name}" if name in taken or not name else name


def checked_name(name: Any) -> str:
    """Return the name of a value that was reported. Raise TypeError or ValueError."""
    if not isinstance(name, str):
        raise TypeError(f"reported a value under the name {safe_text(name)}, which is not text")
    if len(name) > NAME_LIMIT:
        raise ValueError(f"reported a value under a name of {len(name)} characters (accepted: {NAME_LIMIT})")
    return safe_text(name, str.__str__) if not name.isprintable() else str.__str__(name)


def number(name: str, value: Any) -> float:
    """Return a number, a NumPy scalar or a tensor of one element as a float. Raise TypeError for anything else.

    A boolean is 0 or 1 as a metric, and no loss, step or other column of ours.
    """
    value = _scalar(name, value)
    if not isinstance(value, int | float) or (isinstance(value, bool) and name in _NUMBERS):
        raise TypeError(f"reported {name} = {safe_text(value)} is not a number")
    try:
        return float(value)
    except OverflowError:  # a whole number beyond 1e308
        return math.inf if value > 0 else -math.inf


def _scalar(name: str, value: Any) -> Any:
    """Return the element of an array or tensor of one, and any other value as it is. Raise TypeError for several."""
    if not hasattr(value, "item"):
        return value
    try:
        return value.item()
    except (ValueError, RuntimeError) as error:
        if isinstance(error, ValueError) or _NO_SCALAR in str(error):
            raise TypeError(f"reported {name} = {safe_text(value)} is not a single value") from None
        raise  # for example out of memory


def curve_value(name: str, value: Any) -> float:
    """Return ``value`` as a number of the curve; a step or a count of tokens must be finite. Raise as `number` does."""
    return _whole(name, number(name, value)) if name in ("step", "tokens") else number(name, value)


def final_value(name: str, value: Any) -> Value:
    """Return ``value`` in the type of its trials column; text and booleans are kept, numbers become floats."""
    value = _scalar(name, value)
    expected = _SHARED_TYPES.get(name)
    if expected == "int":
        return _whole(name, number(name, value))
    if expected == "str" and not isinstance(value, str):
        raise TypeError(f"reported {name} = {safe_text(value)} is not text")
    if expected != "float" and isinstance(value, str | bool):
        return value if isinstance(value, bool) else str.__str__(value)
    return number(name, value)


def _whole(name: str, value: Any) -> int:
    if not abs(value) < 2**63:  # columns have 64 bits
        raise ValueError(f"reported {name} = {safe_text(value)} is not a whole number")
    return int(value)
