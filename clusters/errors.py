"""What goes wrong between a person and a cluster: every fault in one message, never a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class ClusterError(ValueError):
    """A profile, an address or a tool that cannot be used, with all faults found.

    Each fault is one sentence: where, the value seen, what would be accepted. The command line prints the message and
    exits with code 2.
    """

    def __init__(self, faults: str | Sequence[str], *, where: str = "") -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        self.where = where
        super().__init__(self.render())

    def render(self) -> str:
        """The whole message: one line for one fault, a heading and a bullet a fault for several."""
        prefix = f"{self.where}: " if self.where else ""
        if len(self.faults) == 1:
            return prefix + self.faults[0]
        bullets = "\n".join(f"  - {fault}" for fault in self.faults)
        return f"{prefix}{len(self.faults)} faults\n{bullets}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.faults, self.where)


def _rebuild(kind: type[ClusterError], faults: tuple[str, ...], where: str) -> ClusterError:
    return kind(faults, where=where)


class ProfileError(ClusterError):
    """A cluster profile that cannot be used as written."""


class ConnectError(ClusterError):
    """A cluster that could not be started or reached."""


def counted(number: float, unit: str) -> str:
    """``1 GPU``, ``0.5 GPU``, ``0 GPUs``, ``8 GPUs``."""
    return f"{number:g} {unit}{'' if 0 < number <= 1 else 's'}"


def nearest(name: str, valid: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the closest valid name, or an empty string when none is close."""
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
