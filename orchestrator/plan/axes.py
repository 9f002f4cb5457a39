"""One axis of a sweep: its values, from any of the accepted forms."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sweeplaw.orchestrator.plan import formulas
from sweeplaw.trials.errors import nearest, shown
from sweeplaw.trials.formula import Formula
from sweeplaw.trials.quantities import is_number
from sweeplaw.trials.spec import Knob, Value

FORMS = "a list [1, 2, 3], {log = [low, high], num = n} or {linear = [low, high], num = n}"
MOST_VALUES = 10_000_000  # of a range
MOST_NAMED = 8  # values that a fault names


@dataclass(frozen=True, slots=True)
class Axis:
    """Knobs that move together (one, unless zipped) and the tuples of values they take.

    ``values`` is empty for a range without ``num``, which only a random search can draw from; then ``low``, ``high``
    and ``log`` bound the draw. ``path`` is the key in the sweep file. The axis varies only where ``when`` holds.
    """

    path: str
    role: str
    knobs: tuple[Knob, ...]
    values: tuple[tuple[Value, ...], ...]
    low: float = math.nan
    high: float = math.nan
    log: bool = False
    when: Formula | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The knobs' names, in the order of each value tuple."""
        return tuple(knob.name for knob in self.knobs)

    def at(self, fraction: float) -> tuple[Value, ...]:
        """Return the value at ``fraction`` of the way along the axis, 0 <= fraction < 1, for a random search."""
        if self.values:
            return self.values[int(fraction * len(self.values))]
        return (_between(self.knobs[0], self.low, self.high, fraction, self.log),)


class UncheckedKnob(Knob):
    """A knob of a workload that cannot be read: the form of its axis is checked, the type of its values is not."""

    __slots__ = ()

    def coerce(self, value: Any) -> Value:
        """Return ``value`` as it is. Raise ValueError if no knob could have it."""
        if not isinstance(value, int | float | str | bool):
            raise ValueError(f"{shown(value)} is not a number, text, true or false")
        return value


def known_knob(path: str, name: str, accepted: Mapping[str, Knob], faults: list[str]) -> Knob | None:
    """Return the knob of this name, or None and append to ``faults`` that there is none."""
    if name not in accepted:
        hint = nearest(name, accepted) or f" (accepted: {', '.join(sorted(accepted))})"
        faults.append(f"{path}: no such knob{hint}")
    return accepted.get(name)


def count(raw: Any) -> int:
    """Return the number of values that these describe, without building them; one if they describe none."""
    if isinstance(raw, dict):
        num = raw.get("num", raw.get("list", raw.get("grid")))
        return count(num) if isinstance(num, list) else num if type(num) is int and num > 0 else 1
    return max(1, len(raw)) if isinstance(raw, list) else 1


def read_axis(path: str, role: str, knob: Knob, raw: Any, faults: list[str]) -> Iterator[Axis]:
    """Yield the axis that these values describe; append to ``faults`` instead if they describe none."""
    try:
        if isinstance(raw, dict):
            when = _condition(path, raw["when"], faults) if "when" in raw else None
            found = _range(path, role, knob, {key: value for key, value in raw.items() if key != "when"})
            yield replace(found, when=when)
            return
        values = raw if isinstance(raw, list) else [raw]
        if not values:
            raise ValueError(f"an empty list; accepted: {FORMS}")
        yield Axis(path, role, (knob,), tuple((value,) for value in _distinct(_coerced(knob, values))))
    except ValueError as error:
        faults.append(f"{path}: {error}")


def _condition(path: str, raw: Any, faults: list[str]) -> Formula | None:
    if isinstance(raw, str):
        return next(iter(formulas.read(f"{path}.when", [raw], faults)), None)
    faults.append(f"{path}.when: {shown(raw)}; accepted is a condition as text, such as \"optimizer == 'sgd'\"")
    return None


def read_zip(path: str, knobs: Sequence[Knob], block: dict[str, Any], faults: list[str]) -> Iterator[Axis]:
    """Yield the axis of knobs that move together, from ``role`` and lists of one length; or append to ``faults``."""
    role = block.get("role")
    if role not in ("scientific", "nuisance"):
        faults.append(f"{path}.role: {shown(role)}; accepted: scientific, nuisance")
        return
    lengths = {knob.name: len(block[knob.name]) if isinstance(block[knob.name], list) else None for knob in knobs}
    if len(knobs) < 2 or None in lengths.values() or len(set(lengths.values())) != 1 or 0 in lengths.values():
        faults.append(f"{path}: {shown(lengths)}; accepted are two or more lists of one length")
        return
    columns = []
    for knob in knobs:
        try:
            columns.append(_coerced(knob, block[knob.name]))
        except ValueError as error:
            faults.append(f"{path}.{knob.name}: {error}")
    if len(columns) == len(knobs):
        yield Axis(path, role, tuple(knobs), tuple(_distinct(list(zip(*columns, strict=True)))))


def _range(path: str, role: str, knob: Knob, raw: dict[str, Any]) -> Axis:
    kinds = [kind for kind in ("log", "linear", "list", "grid") if kind in raw]
    if len(kinds) != 1 or set(raw) - {kinds[0], "num"}:
        raise ValueError(f"{shown(raw)}; accepted: {FORMS}")
    kind = kinds[0]
    if kind in ("list", "grid"):
        if not isinstance(raw[kind], list) or not raw[kind] or "num" in raw:
            raise ValueError(f"{shown(raw)}; accepted: {FORMS}")
        return Axis(path, role, (knob,), tuple((value,) for value in _distinct(_coerced(knob, raw[kind]))))
    low, high = _bounds(raw[kind], kind == "log")
    num = raw.get("num")
    if num is None:
        return Axis(path, role, (knob,), (), low, high, kind == "log")
    if not isinstance(num, int) or isinstance(num, bool) or not 1 <= num <= MOST_VALUES:
        raise ValueError(f"num = {shown(num)}; accepted is a whole number from 1 to {MOST_VALUES:,}")
    steps = [index / (num - 1) if num > 1 else 0.0 for index in range(num)]
    values = [_between(knob, low, high, fraction, kind == "log") for fraction in steps]
    return Axis(path, role, (knob,), tuple((value,) for value in _distinct(values)), low, high, kind == "log")


def _bounds(raw: Any, log: bool) -> tuple[float, float]:
    numbers = isinstance(raw, list) and len(raw) == 2 and all(is_number(x) for x in raw)
    exact = numbers and all(abs(x) <= sys.float_info.max and float(x) == x for x in raw)
    if not exact or raw[0] > raw[1] or (log and raw[0] <= 0):
        raise ValueError(f"{shown(raw)}; accepted is [low, high] with low <= high{' and low > 0' if log else ''}")
    low, high = float(raw[0]), float(raw[1])
    if not math.isfinite(high / low if log else high - low):
        raise ValueError(f"{shown(raw)} is wider than a number can express")
    return low, high


def _between(knob: Knob, low: float, high: float, fraction: float, log: bool) -> Value:
    """Return the value at ``fraction`` of the range: ends exact, steps of a range to 12 digits, ints rounded."""
    if fraction in (0.0, 1.0):
        value = high if fraction else low
    else:
        value = low * (high / low) ** fraction if log else low + (high - low) * fraction
        value = float(f"{value:.12g}")
    return knob.coerce(round(value) if knob.type == "int" else value)


def _coerced(knob: Knob, values: Sequence[Any]) -> list[Value]:
    """Return the values as the knob has them. Raise ValueError that names those it cannot have."""
    found, faults = [], []
    for value in values:
        try:
            found.append(knob.coerce(value))
        except ValueError as error:
            faults.append(str(error))
    if faults:
        more = f"; and {len(faults) - MOST_NAMED:,} more" if len(faults) > MOST_NAMED else ""
        raise ValueError("; ".join(faults[:MOST_NAMED]) + more)
    return found


def _distinct(values: list[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def samples(value: Any) -> list[Any]:
    """Return values from which a workload that takes its knobs from the sweep infers the type of an axis."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        inside = [item for key, item in value.items() if key not in ("num", "when")]
        return [item for one in inside for item in (one if isinstance(one, list) else [one])]
    return [value]
