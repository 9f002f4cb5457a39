"""Changes of knobs during training, as the text of one knob: ``"200: lr=0.002, weight_decay=0.1; 400: lr=0.0024"``.

From each step on (counted from 0 updates done) the named knobs have new values. The text is part of a trial's identity:
the schedule that a member of a population lived through is a trial that can be read, and run again from its start.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CHANGEABLE = ("lr", "weight_decay")

_ENTRY = re.compile(r"\s*(\d+)\s*:\s*(.+?)\s*")
_VALUE = re.compile(r"\s*([a-z_]+)\s*=\s*(\S+)\s*")


@dataclass(frozen=True, slots=True)
class Change:
    """The values of some knobs from ``step`` on."""

    step: int
    values: Mapping[str, float]


def parse(text: str) -> tuple[Change, ...]:
    """Return the changes of a text, in order; () for an empty one. Raise ValueError with what is wrong."""
    found = tuple(_change(entry) for entry in text.split(";")) if text.strip() else ()
    steps = [change.step for change in found]
    if steps != sorted(set(steps)):
        raise ValueError(f"{text!r}: the steps of changes do not increase")
    return found


def write(changes: Sequence[Change]) -> str:
    """Return the text of these changes; `parse` gives them back exactly."""
    return "; ".join(
        f"{change.step}: " + ", ".join(f"{name}={value!r}" for name, value in sorted(change.values.items()))
        for change in changes
    )


def value_at(name: str, initial: float, changes: Sequence[Change], step: int) -> float:
    """Return the value of a knob at the update after ``step`` others, which is ``initial`` before any change."""
    value = initial
    for change in changes:
        if change.step <= step:
            value = change.values.get(name, value)
    return value


def inherited(text: str) -> int:
    """Return the steps that a trial with these changes has from the checkpoint of another, before the last change.

    It is 0 without changes, and for a text of something else.
    """
    try:
        changes = parse(text)
    except ValueError:
        return 0
    return changes[-1].step if changes else 0


def _change(entry: str) -> Change:
    matched = _ENTRY.fullmatch(entry)
    if not matched:
        raise ValueError(f"{entry.strip()!r} is no change (accepted: 'STEP: lr=VALUE, weight_decay=VALUE')")
    values: dict[str, float] = {}
    for part in matched[2].split(","):
        assigned = _VALUE.fullmatch(part)
        if not assigned or assigned[1] not in CHANGEABLE or assigned[1] in values:
            raise ValueError(f"{part.strip()!r} is no change of a knob (accepted, once each: {', '.join(CHANGEABLE)})")
        values[assigned[1]] = float(assigned[2])
        if not 0 <= values[assigned[1]] < float("inf"):
            raise ValueError(f"{part.strip()!r}: accepted are numbers from 0 on")
    return Change(int(matched[1]), values)
