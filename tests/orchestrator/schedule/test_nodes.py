"""Probes of nodes on which a worker died: a closed port is the end of a node, silence is not."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from sweeplaw.orchestrator.schedule.ray_tune import nodes
from sweeplaw.orchestrator.schedule.ray_tune.nodes import Nodes

REPLIES = {"alive": True, "closed": False, "silent": None}


@pytest.fixture
def polled(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """Nodes of a cluster of three, without Ray and without the thread that polls it."""
    live = [SimpleNamespace(node_id=name, cpus=4.0, gpus=1.0, raylet=(name, 1234)) for name in (*REPLIES, "unprobed")]
    live.append(SimpleNamespace(node_id="unknown", cpus=2.0, gpus=0.0, raylet=None))
    monkeypatch.setattr(nodes, "own_node", lambda: "own")
    monkeypatch.setattr(nodes, "live_nodes", lambda: live)
    monkeypatch.setattr(nodes, "answers", lambda host, port, seconds: REPLIES[host])
    return Nodes()


def test_every_live_node_may_be_used_until_its_port_is_closed(polled: Nodes) -> None:
    polled._poll()
    assert set(polled.latest) == {"alive", "closed", "silent", "unprobed", "unknown"}
    assert polled.answered == {}
    polled.probe(frozenset({"alive", "closed", "silent", "unknown", "left"}))
    polled._poll()
    assert set(polled.answered) == {"alive"}
    assert set(polled.latest) == {"alive", "silent", "unprobed", "unknown"}, "a node without a port cannot be asked"
    found = {node.node_id: (node.cpus, node.gpus) for node in polled.resources}
    assert found["unknown"] == (2.0, 0.0)
    polled._poll()
    assert "closed" not in polled.latest, "it is gone for good, though the head lists it"
    assert polled.silent_seconds < 60


def test_new_nodes_are_probed_at_once_and_the_same_ones_again_at_the_next_poll(polled: Nodes) -> None:
    woken: Any = threading.Event()
    polled._wake = woken
    polled.probe(frozenset({"alive"}))
    assert woken.is_set()
    woken.clear()
    polled.probe(frozenset({"alive"}))
    polled.probe(frozenset())
    assert not woken.is_set()
    polled._poll()
    assert polled.answered == {}, "no others are probed"
