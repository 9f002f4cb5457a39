"""The exception for invalid input: every fault in one message, shown without a traceback."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from pathlib import PurePath
from types import UnionType
from typing import Any, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")

_LONGEST_MESSAGE = 2000  # characters; an error may quote all its data

LONGEST_SHOWN = 120  # characters of a value in a message
MOST_SHOWN = 100  # faults in a message; a file may have one in each of its lines


class InputError(ValueError):
    """Invalid input, with every fault found. The command line prints it and exits with code 2. Of very many faults the
    message has the first, and counts the others.

    Each fault is one sentence: the location, the value and what would be accepted. ``hints`` are no faults: what there
    is to choose from, or what to do instead.
    """

    def __init__(self, faults: str | Sequence[str], *, where: str = "", hints: Sequence[str] = ()) -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        self.where = where
        self.hints = tuple(hints)
        super().__init__(self.render())

    def render(self) -> str:
        """Return the message: one line for one fault, a heading and a bullet per fault for several; then the hints."""
        prefix = f"{self.where}: " if self.where else ""
        if len(self.faults) == 1:
            return "\n".join([prefix + self.faults[0], *(f"  - {hint}" for hint in self.hints)])
        bullets = [f"  - {fault}" for fault in self._first()]
        return "\n".join([f"{prefix}{len(self.faults)} faults", *bullets, *self.hints])

    def sentence(self) -> str:
        """Return the faults and the hints in one line, for a page or a screen that shows them in its text."""
        prefix = f"{self.where}: " if self.where else ""
        return prefix + "; ".join([*self._first(), *self.hints])

    def _first(self) -> list[str]:
        rest = len(self.faults) - MOST_SHOWN
        return [*self.faults[:MOST_SHOWN], *([f"and {rest:,} more"] if rest > 0 else [])]

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.faults, self.where, self.hints)


DAMAGED = 3  # exit code: the answer lacks the content of damaged files


class DamagedDataError(InputError):
    """What was asked for needs data that are damaged. The command line prints it and exits with code 3."""


def _rebuild(kind: type[InputError], faults: tuple[str, ...], where: str, hints: tuple[str, ...]) -> InputError:
    return kind(faults, where=where, hints=hints)


def unsupported_extension(path: str, accepted: Sequence[str]) -> str:
    """Return the fault of a file name whose extension is none of those ``accepted``, such as ``.svg``; '' if it is."""
    fits = PurePath(path).suffix.lower() in accepted
    return "" if fits else f"{path}: unsupported extension (accepted: {', '.join(accepted)})"


def gathered(answers: Mapping[Key, Callable[[], Value]]) -> dict[Key, Value]:
    """Return the answer of each, by key. Raise InputError with the faults of all that raise one (`joined`)."""
    found: dict[Key, Value] = {}
    errors: list[InputError] = []
    for key, answer in answers.items():
        try:
            found[key] = answer()
        except InputError as error:
            errors.append(error)
    if errors:
        raise joined(errors)
    return found


def joined(errors: Sequence[InputError]) -> InputError:
    """Return one error with the faults of all, each once: a DamagedDataError if each of them is one."""
    places = {error.where for error in errors}
    where = places.pop() if len(places) == 1 else ""
    faults = dict.fromkeys(
        f"{error.where}: {fault}" if error.where != where else fault for error in errors for fault in error.faults
    )
    hints = dict.fromkeys(hint for error in errors for hint in error.hints)
    kind = DamagedDataError if all(isinstance(error, DamagedDataError) for error in errors) else InputError
    return kind(list(faults), where=where, hints=list(hints))


def safe_text(value: Any, make: Callable[[Any], str] = repr, longest: int = 200) -> str:
    """Return ``make(value)`` in one line of valid Unicode, cut at ``longest``, whatever the value's own code does."""
    try:
        text = str.encode(make(value)[:longest], "utf-8", "replace").decode()
    except BaseException as error:  # noqa: BLE001  the value belongs to foreign code
        return f"({type(value).__name__} without a text: it raises {type(error).__name__})"
    return " ".join(text.split())


def describe(error: BaseException) -> str:
    """Return the type and the message of an error of foreign code in one line."""
    return f"{type(error).__name__}: {safe_text(error, str, _LONGEST_MESSAGE)}".removesuffix(": ")


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the closest valid name, or an empty string if no name is close."""
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def shown(value: object) -> str:
    """Return a value as messages show it: its `repr`, without the middle of a long one."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 20]}…{text[-19:]}"


def require_positive(values: Mapping[str, float], where: str = "") -> None:
    """Raise InputError naming each of ``values`` that is not positive and finite."""
    if faults := [
        f"{name} = {f'{value:g}' if isinstance(value, Real) else shown(value)} (accepted: a positive number)"
        for name, value in values.items()
        if not (isinstance(value, Real) and 0 < value < math.inf)
    ]:
        raise InputError(faults, where=where)


def require_types(*values: tuple[str, object, type | UnionType, str]) -> None:
    """Raise InputError naming each of (name, value, type, what is accepted) whose value is not of the type."""
    if faults := [
        f"{name} = {shown(value)} (accepted: {accepted})"
        for name, value, kind, accepted in values
        if not isinstance(value, kind)
    ]:
        raise InputError(faults)
