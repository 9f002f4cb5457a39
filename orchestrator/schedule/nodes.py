"""Which nodes are alive, asked again and again beside the run: nodes join late and die."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping

from clusters.connect import Node, live_nodes
from orchestrator.floor import Machine

POLL_SECONDS = 1.0


class Nodes:
    """``latest`` are the live nodes by id, at most a moment old; a context that asks for as long as it lasts."""

    def __init__(self) -> None:
        self.latest: Mapping[str, Node] = {}
        self._heard = time.monotonic()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Nodes:
        self._ask()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ending.set()
        self._thread.join(timeout=POLL_SECONDS)  # a head that is gone may hold its last question for a minute

    @property
    def machines(self) -> list[Machine]:
        """What trials may take of each live node."""
        return [Machine(node.node_id, node.cpus, node.gpus) for node in self.latest.values()]

    @property
    def silent_seconds(self) -> float:
        """How long the cluster has not answered."""
        return time.monotonic() - self._heard

    def _watch(self) -> None:
        while not self._ending.wait(POLL_SECONDS):
            with contextlib.suppress(Exception):  # whatever Ray raises while its head is away: `silent_seconds` tells
                self._ask()

    def _ask(self) -> None:
        self.latest = {node.node_id: node for node in live_nodes()}
        self._heard = time.monotonic()
