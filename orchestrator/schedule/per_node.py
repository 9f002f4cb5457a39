"""A value for each node, computed when it is asked for and again only for the nodes that have changed since."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

Value = TypeVar("Value")


class PerNode(Generic[Value]):
    """``compute`` returns the value of a node, or None if it has none. Nodes in ``stale`` have changed."""

    def __init__(self, compute: Callable[[str], Value | None], nodes: Iterable[str]) -> None:
        self.stale = set(nodes)
        self._compute = compute
        self._values: dict[str, Value] = {}

    def values(self) -> Mapping[str, Value]:
        """Return the values of the nodes that have one."""
        for node in self.stale:
            value = self._compute(node)
            if value is None:
                self._values.pop(node, None)
            else:
                self._values[node] = value
        self.stale.clear()
        return self._values
