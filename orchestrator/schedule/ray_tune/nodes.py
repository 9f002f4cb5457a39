"""Which nodes are alive, asked again and again beside the run: nodes join late and die.

The head is asked. It calls a node dead only after several health checks, so a node that is doubted, because a worker on
it died, is asked itself as well: where its port is closed, it is gone for good (one that comes back has another id).
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
ANSWER_SECONDS = 1.0  # for a doubted node to answer; one that is silent is asked again
_ASKED_AT_ONCE = 64  # doubted nodes


class Nodes:
    """``latest`` are the live nodes by id, at most a moment old; a context that asks for as long as it lasts.

    ``home`` is the driver's own. ``answered`` tells of doubted nodes that answer when they were last asked (monotonic).
    """

    def __init__(self) -> None:
        self.home = own_node()
        self.latest: Mapping[str, Node] = {}
        self.answered: Mapping[str, float] = {}
        self._doubted: frozenset[str] = frozenset()
        self._gone: set[str] = set()
        self._heard = time.monotonic()
        self._ending, self._wanted = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Nodes:
        self._ask()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ending.set()
        self._wanted.set()
        self._thread.join(timeout=POLL_SECONDS)  # a head that is gone may hold its last question for a minute

    @property
    def machines(self) -> list[NodeResources]:
        """What trials may take of each live node."""
        return [NodeResources(node.node_id, node.cpus, node.gpus) for node in self.latest.values()]

    @property
    def silent_seconds(self) -> float:
        """How long the cluster has not answered."""
        return time.monotonic() - self._heard

    def doubt(self, nodes: frozenset[str]) -> None:
        """These are doubted now, and others no more; new ones are asked at once, while the caller goes on."""
        if nodes - self._doubted:
            self._wanted.set()
        self._doubted = nodes

    def _watch(self) -> None:
        while True:
            self._wanted.wait(POLL_SECONDS)
            self._wanted.clear()
            if self._ending.is_set():
                return
            with contextlib.suppress(Exception):  # whatever Ray raises while its head is away: `silent_seconds` tells
                self._ask()

    def _ask(self) -> None:
        found = {node.node_id: node for node in live_nodes()}
        self._heard = time.monotonic()
        self._ask_doubted([found[node] for node in self._doubted - self._gone if node in found])
        self.latest = {key: node for key, node in found.items() if key not in self._gone}

    def _ask_doubted(self, nodes: Sequence[Node]) -> None:
        said: dict[str, bool | None] = {}
        now = time.monotonic()
        if nodes:
            with ThreadPoolExecutor(min(len(nodes), _ASKED_AT_ONCE)) as pool:
                said = dict(zip((node.node_id for node in nodes), pool.map(_answers, nodes), strict=True))
        self.answered = {node: now for node, there in said.items() if there}
        self._gone.update(node for node, there in said.items() if there is False)


def _answers(node: Node) -> bool | None:
    return answers(*node.raylet, ANSWER_SECONDS) if node.raylet else None
