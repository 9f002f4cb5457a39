"""The live nodes, polled during a run: nodes join late and die.

The head is polled. It declares a node dead only after several health checks, so a node on which a worker died is also
probed itself: if its port is closed, it is gone for good (one that comes back has another id).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from sweeplaw.clusters.connect.addresses import answers
from sweeplaw.clusters.connect.cluster import Node, live_nodes, own_node
from sweeplaw.orchestrator.schedule.placement import NodeResources

POLL_SECONDS = 1.0
ANSWER_SECONDS = 1.0  # for a probed node to answer; a silent one is probed again
_CONCURRENT_PROBES = 64


class Nodes:
    """Context manager that polls the cluster in a thread.

    ``latest`` are the live nodes by id, at most a moment old; ``own`` is the driver's own. ``answered`` has, for each
    probed node that answers, the monotonic time of its last probe.
    """

    def __init__(self) -> None:
        self.own = own_node()
        self.latest: Mapping[str, Node] = {}
        self.answered: Mapping[str, float] = {}
        self._to_probe: frozenset[str] = frozenset()
        self._gone: set[str] = set()
        self._last_answer = time.monotonic()  # of the head
        self._stop, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Nodes:
        self._poll()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout=POLL_SECONDS)  # a dead head may hold the last poll for a minute

    @property
    def resources(self) -> list[NodeResources]:
        """What trials may use of each live node."""
        return [NodeResources(node.node_id, node.cpus, node.gpus) for node in self.latest.values()]

    @property
    def silent_seconds(self) -> float:
        """Seconds since the cluster last answered."""
        return time.monotonic() - self._last_answer

    def probe(self, nodes: frozenset[str]) -> None:
        """Probe these nodes, and no others, at each poll; new ones at once, without waiting for the result."""
        if nodes - self._to_probe:
            self._wake.set()
        self._to_probe = nodes

    def _run(self) -> None:
        while True:
            self._wake.wait(POLL_SECONDS)
            self._wake.clear()
            if self._stop.is_set():
                return
            with contextlib.suppress(Exception):  # any error of Ray without its head: `silent_seconds` shows it
                self._poll()

    def _poll(self) -> None:
        found = {node.node_id: node for node in live_nodes()}
        self._last_answer = time.monotonic()
        self._probe([found[node] for node in self._to_probe - self._gone if node in found])
        self.latest = {key: node for key, node in found.items() if key not in self._gone}

    def _probe(self, nodes: Sequence[Node]) -> None:
        replies: dict[str, bool | None] = {}
        now = time.monotonic()
        if nodes:
            with ThreadPoolExecutor(min(len(nodes), _CONCURRENT_PROBES)) as pool:
                replies = dict(zip((node.node_id for node in nodes), pool.map(_answers, nodes), strict=True))
        self.answered = {node: now for node, reply in replies.items() if reply}
        self._gone.update(node for node, reply in replies.items() if reply is False)


def _answers(node: Node) -> bool | None:
    return answers(*node.raylet, ANSWER_SECONDS) if node.raylet else None
