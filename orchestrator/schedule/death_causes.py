"""Losses whose reason is not known yet: a worker died, and it shows only afterwards whether its node died with it.

Ray tells a worker's death when its connection breaks, and a node's death once the node has missed several health checks
(five in a row, three seconds apart, is Ray's own setting). What was lost is measured at the death and its trials wait
for another worker at once; only the name of the reason comes later.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

from sweeplaw.orchestrator.schedule.device_time import Reason, WastedWork

# Assumption: a machine that goes down takes its processes with it in any order, but within this time.
AFTERMATH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Doubt:
    loss: WastedWork
    nodes: frozenset[str]
    since: float


class UnresolvedDeaths:
    """``settled`` gets each loss with its reason, once."""

    def __init__(self, settled: Callable[[WastedWork, Reason], None]) -> None:
        self._settled = settled
        self._open: list[_Doubt] = []

    @property
    def nodes(self) -> frozenset[str]:
        """Those that should be asked whether they are there."""
        return frozenset().union(*(doubt.nodes for doubt in self._open))

    def add(self, loss: WastedWork, nodes: frozenset[str], now: float) -> None:
        """A worker on these nodes died, or cannot be heard any more."""
        self._open.append(_Doubt(loss, nodes, now))

    def settle(self, alive: Container[str], answered: Mapping[str, float]) -> None:
        """These nodes are alive as far as is known; these have answered, when they were asked at this time."""
        still = []
        for doubt in self._open:
            if not all(node in alive for node in doubt.nodes):
                self._settled(doubt.loss, "node died")
            elif all(answered.get(node, 0.0) >= doubt.since + AFTERMATH_SECONDS for node in doubt.nodes):
                self._settled(doubt.loss, "worker died")
            else:
                still.append(doubt)
        self._open = still

    def close(self) -> None:
        """Nobody looks any more: that a worker died is all that is known."""
        for doubt in self._open:
            self._settled(doubt.loss, "worker died")
        self._open = []
