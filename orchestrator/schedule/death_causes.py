"""Losses of unknown reason: a worker died, and whether its node died with it shows only later.

Ray reports the death of a worker when its connection breaks, and that of a node once it has missed several health
checks (five in a row, three seconds apart, by Ray's default). The loss is measured at the death and its trials are
queued again at once; only the reason is determined later.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

from sweeplaw.orchestrator.schedule.device_time import Reason, WastedWork

# Assumption: a machine that goes down takes its processes with it in any order, but within this time.
AFTERMATH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Death:
    loss: WastedWork
    nodes: frozenset[str]
    since: float


class UnresolvedDeaths:
    """Deaths of workers whose reason is open. ``settled`` is called once for each loss, with its reason."""

    def __init__(self, settled: Callable[[WastedWork, Reason], None]) -> None:
        self._settled = settled
        self._deaths: list[_Death] = []

    @property
    def nodes(self) -> frozenset[str]:
        """The nodes to probe."""
        return frozenset().union(*(death.nodes for death in self._deaths))

    def add(self, loss: WastedWork, nodes: frozenset[str], now: float) -> None:
        """Add the loss of a worker on these nodes that died or is unreachable."""
        self._deaths.append(_Death(loss, nodes, now))

    def settle(self, alive: Container[str], answered: Mapping[str, float]) -> None:
        """Settle the deaths that are decided by the nodes ``alive`` and by when nodes were probed and ``answered``."""
        unresolved = []
        for death in self._deaths:
            if not all(node in alive for node in death.nodes):
                self._settled(death.loss, "node died")
            elif all(answered.get(node, 0.0) >= death.since + AFTERMATH_SECONDS for node in death.nodes):
                self._settled(death.loss, "worker died")
            else:
                unresolved.append(death)
        self._deaths = unresolved

    def close(self) -> None:
        """Settle the rest at the end of a run: all that is known is that a worker died."""
        for death in self._deaths:
            self._settled(death.loss, "worker died")
        self._deaths = []
