"""The exception for invalid input: every fault in one message, shown without a traceback."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence


class InputError(ValueError):
    """Invalid input, with every fault found. The command line prints it and exits with code 2.

    Each fault is one sentence: the location, the value and what would be accepted.
    """

    def __init__(self, faults: str | Sequence[str], *, where: str = "") -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        self.where = where
        super().__init__(self.render())

    def render(self) -> str:
        """Return the message: one line for one fault, a heading and a bullet per fault for several."""
        prefix = f"{self.where}: " if self.where else ""
        if len(self.faults) == 1:
            return prefix + self.faults[0]
        bullets = "\n".join(f"  - {fault}" for fault in self.faults)
        return f"{prefix}{len(self.faults)} faults\n{bullets}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.faults, self.where)


def _rebuild(kind: type[InputError], faults: tuple[str, ...], where: str) -> InputError:
    return kind(faults, where=where)


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the closest valid name, or an empty string if none is close."""
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def require_positive(values: Mapping[str, float], where: str = "") -> None:
    """Raise InputError naming each of ``values`` that is not positive and finite."""
    if faults := [
        f"{name} = {value:g} (accepted: a positive number)"
        for name, value in values.items()
        if not 0 < value < math.inf
    ]:
        raise InputError(faults, where=where)
