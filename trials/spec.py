"""Specification of one training run: a workload and the value of each of its knobs.

A trial's identity is a hash of that content. Nothing else (a name, the sweep that requested the trial, the machine that
ran it) affects the identity, so two sweeps that request the same run share it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sweeplaw.trials.errors import InputError, shown
from sweeplaw.trials.quantities import is_number

Value = int | float | str | bool
KnobType = Literal["int", "float", "str", "bool"]

LARGEST = 2**63  # whole numbers are stored in 64 bits
_EXPECTED: Mapping[KnobType, str] = {
    "int": "a whole number of at most 64 bits",
    "float": "a finite number that 64 bits hold exactly",
    "str": "text without NUL",
    "bool": "true or false",
}

TRIAL_ID_LENGTH = 20  # hex digits, 80 bits: at 10 million trials the chance of one collision is 4e-11


@dataclass(frozen=True, slots=True)
class Knob:
    """One setting of a workload.

    ``default`` is None if the sweep must set a value. ``member`` marks a knob in which trials of one pack may differ
    (seed, lr, weight decay) because it changes no tensor shape. ``choices`` and ``low``/``high`` restrict the values.
    ``since`` is the version that introduced the knob, None for the original knobs of a workload. A knob with ``since``
    enters an id only if it is not at its default, so existing ids stay valid; it must have a default, which must never
    change.
    """

    name: str
    type: KnobType
    default: Value | None
    unit: str
    meaning: str
    member: bool = False
    choices: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    since: str | None = None

    def __post_init__(self) -> None:
        if self.since is not None and self.default is None:
            raise ValueError(f"{self.name} was added in {self.since}, so it needs a default, the value of older trials")

    def coerce(self, value: Any) -> Value:
        """Return ``value`` converted exactly to this knob's type. Raise ValueError if it does not fit."""
        coerced = _coerce(self, value)
        if self.choices and coerced not in self.choices:
            raise ValueError(f"{shown(coerced)} is not one of {', '.join(self.choices)}")
        if isinstance(coerced, int | float) and not self.low <= coerced <= self.high:
            raise ValueError(f"{coerced!r} is outside [{_exact(self.low)}, {_exact(self.high)}]")
        return coerced

    def from_formula(self, value: Any) -> Value:
        """Return what a formula gave as `coerce` does, but a float knob takes the float nearest to a whole number.

        A product of counts, such as 6 N D, has more digits than a float. Raise ValueError if it does not fit.
        """
        if self.type == "float" and is_number(value) and abs(value) <= sys.float_info.max:
            value = float(value)
        return self.coerce(value)


def _exact(bound: float) -> str:
    """Return a bound so that no value that it refuses looks accepted."""
    return short if float(short := f"{bound:g}") == bound else str(bound)


def _coerce(knob: Knob, value: Any) -> Value:
    numeric = is_number(value)
    if knob.type == "int" and numeric and abs(value) < LARGEST and value == int(value):
        return int(value)
    if knob.type == "float" and numeric and abs(value) <= sys.float_info.max and float(value) == value:
        return float(value) + 0.0  # -0.0 becomes 0.0: one value, one identity
    if knob.type == "str" and isinstance(value, str) and _storable(value):
        return value
    if knob.type == "bool" and isinstance(value, bool):
        return value
    raise ValueError(f"{shown(value)} is not {_EXPECTED[knob.type]}")


def _storable(text: str) -> bool:
    """Return whether text is UTF-8 without NUL, as tables and arguments of programs hold it."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def later_knobs(knobs: Iterable[Knob]) -> dict[str, Value]:
    """Return, by name, the defaults of the knobs added after a workload's first version."""
    return {knob.name: knob.default for knob in knobs if knob.since is not None and knob.default is not None}


def _identity(knobs: Mapping[str, Value], later: Mapping[str, Value]) -> dict[str, Value]:
    """Return the knobs that enter an id: all except later ones at their defaults."""
    return {name: value for name, value in knobs.items() if name not in later or value != later[name]}


@dataclass(frozen=True, slots=True)
class TrialSpec:
    """A completely specified training run: a workload's name and the value of each of its knobs.

    Build it with `TrialSpec.of`, which validates, completes and sorts the knobs. ``trial_id`` is the first 20 hex
    digits of the SHA-256 of the canonical JSON. ``later`` holds the defaults of knobs added after the workload's first
    version (`later_knobs`); a knob at such a default is not part of the identity.
    """

    workload: str
    knobs: Mapping[str, Value]
    later: Mapping[str, Value] = field(default_factory=dict, repr=False, compare=False)
    trial_id: str = field(init=False)
    _canonical: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        content = {"workload": self.workload, "knobs": _identity(self.knobs, self.later)}
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        object.__setattr__(self, "_canonical", canonical)
        object.__setattr__(self, "trial_id", _digest(canonical))

    @classmethod
    def of(cls, workload: str, knobs: Iterable[Knob], values: Mapping[str, Any]) -> TrialSpec:
        """Return the spec of these values with defaults filled in. Raise InputError with every fault."""
        known = {knob.name: knob for knob in knobs}
        faults = [f"{name} is not a knob of {workload}" for name in values if name not in known]
        complete: dict[str, Value] = {}
        for name, knob in known.items():
            value = values.get(name, knob.default)
            if value is None:
                faults.append(f"{name} has no value and no default")
                continue
            try:
                complete[name] = knob.coerce(value)
            except ValueError as error:
                faults.append(f"{name}: {error}")
        if faults:
            raise InputError(faults)
        return cls(workload, dict(sorted(complete.items())), later_knobs(known.values()))

    def canonical(self) -> str:
        """Return the content that is hashed: JSON with sorted keys, no spaces and the shortest float form."""
        return self._canonical

    @classmethod
    def from_canonical(cls, text: str, later: Mapping[str, Value]) -> TrialSpec:
        """Return the spec of this `canonical` text; ``later`` are the `later_knobs` of its workload.

        JSON preserves the types of ints, floats, strings and booleans.
        """
        content = json.loads(text)
        return cls(content["workload"], dict(sorted({**later, **content["knobs"]}.items())), later)

    @classmethod
    def unreadable(cls, text: str) -> TrialSpec:
        """Return a spec without workload and knobs that has the id of this text, so that its trial can be recorded."""
        spec = cls("", {})
        object.__setattr__(spec, "_canonical", text)
        object.__setattr__(spec, "trial_id", _digest(text))
        return spec

    def __getitem__(self, name: str) -> Any:
        return self.knobs[name]


def trial_ids(
    workload: str,
    shared: Mapping[str, Value],
    names: Sequence[str],
    rows: Sequence[Sequence[Value]],
    later: Mapping[str, Value],
) -> list[str]:
    """Return the ids of trials that agree in ``shared`` and each take one row of ``rows`` for the knobs ``names``.

    Equal to building every `TrialSpec`, about ten times faster: a plan of a million trials is hashed in seconds. The
    text around the varying values is built once for all rows with the same ``later`` knobs at their defaults.
    """
    shared = _identity(shared, later)
    varying = [index for index, name in enumerate(names) if name in later]
    if not varying:
        return _template_ids(workload, shared, names, rows)
    groups: dict[tuple[bool, ...], list[int]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(tuple(row[index] == later[names[index]] for index in varying), []).append(number)
    ids = [""] * len(rows)
    for at_default, numbers in groups.items():
        omitted = {index for index, is_default in zip(varying, at_default, strict=True) if is_default}
        kept = [index for index in range(len(names)) if index not in omitted]
        parts = [[rows[number][index] for index in kept] for number in numbers]
        made = _template_ids(workload, shared, [names[index] for index in kept], parts)
        for number, trial_id in zip(numbers, made, strict=True):
            ids[number] = trial_id
    return ids


def _template_ids(
    workload: str, shared: Mapping[str, Value], names: Sequence[str], rows: Sequence[Sequence[Value]]
) -> list[str]:
    """Return the ids of trials whose identity includes all of ``shared`` and ``names``."""
    if not names:
        return [TrialSpec(workload, shared).trial_id] * len(rows)
    placeholders = {name: f"\0{index}\0" for index, name in enumerate(names)}
    pieces = re.split(r'"\\u0000(\d+)\\u0000"', TrialSpec(workload, {**shared, **placeholders}).canonical())
    template = "%s".join(piece.replace("%", "%%") for piece in pieces[::2])
    columns = list(zip(*rows, strict=True))
    texts = (_texts(columns[int(index)]) for index in pieces[1::2])
    return [_digest(template % row) for row in zip(*texts, strict=True)]


def _texts(values: Sequence[Value]) -> Iterable[str]:
    """Return the JSON of each of ``values``, which share one type."""
    if set(map(type, values)) == {int}:
        return map(int.__repr__, values)
    return map(functools.cache(json.dumps), values)


def _digest(canonical: str) -> str:
    return hashlib.sha256(canonical.encode()).digest()[: TRIAL_ID_LENGTH // 2].hex()
