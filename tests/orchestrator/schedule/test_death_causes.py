"""A worker and its node die together and are reported in either order: the loss gets its reason.

And a run ends although its workers, its head or its nodes do not help.
"""

import datetime as dt
import inspect
import socket
import threading
import time
from typing import Any
from unittest.mock import MagicMock

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError

from sweeplaw.clusters.connect.cluster import Node
from sweeplaw.clusters.connect.errors import ConnectError
from sweeplaw.orchestrator.launch.state import LaunchState
from sweeplaw.orchestrator.plan.plan import Group
from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.schedule.death_causes import AFTERMATH_SECONDS
from sweeplaw.orchestrator.schedule.dispatcher import Dispatcher, DispatcherCallbacks
from sweeplaw.orchestrator.schedule.packs import Pack, Queue
from sweeplaw.orchestrator.schedule.placement import NodeResources, Placement
from sweeplaw.orchestrator.schedule.ray_tune import controller
from sweeplaw.orchestrator.schedule.ray_tune import nodes as nodes_module
from sweeplaw.orchestrator.schedule.ray_tune.controller import SILENT_SECONDS, UNRESPONSIVE_SECONDS, Run
from sweeplaw.orchestrator.schedule.ray_tune.nodes import Nodes
from sweeplaw.orchestrator.worker.worker import Job
from sweeplaw.trials.accounting import Cost

OWN, FAR, FARTHER = "own", "far", "farther"
PATIENCE, GRACE, READY = 600.0, 1.0, 600.0
# Ray's errors: the connection broke, without a report of the node; and the node reported its worker's death.
UNREACHABLE = ActorUnavailableError("the connection broke", b"x" * 16)
DIED = ActorDiedError()


class FakeNodes:
    """The state of the nodes, written by the test."""

    def __init__(self, own):
        self.own, self.silent_seconds, self.answered = own, 0.0, {}
        self.probed: frozenset[str] = frozenset()
        self.set_alive(FAR)

    def set_alive(self, *names):
        self.latest = {name: Node(name, name, 1.0, 0.0, None) for name in names}

    @property
    def resources(self):
        return [NodeResources(name, 1.0, 0.0) for name in self.latest]

    def probe(self, nodes):
        self.probed = nodes


class Scene:
    """A run of one trial, which started on node FAR and has used three device-seconds."""

    def __init__(self, own=OWN, attempts=3):
        self.seconds = 0.0
        self.actor = MagicMock()
        self.given_up: list[str] = []
        self.live = LaunchState(lambda: dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=self.seconds))
        self.live.begin(1, 1)
        callbacks = DispatcherCallbacks(
            make_job=self.make_job,
            sink=self.live.recorded,
            give_up=lambda pack, spec, message, state: self.given_up.append(message),
            lost=lambda pack, trials, reason: self.live.lost(pack, trials, None, reason),
            settled=self.live.meter.settle,
            placed=self.live.pack_placed,
            ended=self.live.pack_ended,
            ending=lambda: False,
        )
        pack = Pack((Group("w", {}, ("i",), ((0,),), ("trial",), Cost()),), 1.0)
        self.nodes = FakeNodes(own)
        self.dispatcher = Dispatcher(
            Queue([pack], max_attempts=attempts), Placement(), callbacks, own, clock=lambda: self.seconds
        )
        nodes: Any = self.nodes
        self.run = Run(self.dispatcher, nodes, callbacks, patience=PATIENCE, grace=GRACE, ready=READY, commit=None)
        self.start("first")
        self.seconds = 3.0

    def make_job(self, pack):
        self.live.pack_started(pack, TrialResources(1).devices)
        return Job(pack.pack_id, "w", {}, (), (pack.attempt,), "s", "l", 1)

    def start(self, name):
        assert self.run.open(name), "a slot is pending"
        self.run.started(name, self.actor)

    def advance(self, seconds, answers=()):
        self.seconds += seconds
        self.nodes.answered = dict.fromkeys(answers, self.seconds)
        self.run.tick()

    @property
    def wasted(self):
        return self.live.meter.usage().wasted


def test_the_death_of_a_node_reported_first_is_the_reason_at_once():
    scene = Scene()
    scene.nodes.set_alive()
    scene.advance(0)
    scene.run.died("first", UNREACHABLE)
    assert scene.wasted == {"node died": 3.0}


@pytest.mark.parametrize("error", [UNREACHABLE, DIED, None], ids=["unreachable", "reported by its node", "no error"])
@pytest.mark.parametrize("after", [0.1, 60.0])
def test_the_death_of_a_node_reported_later_is_the_reason_and_the_trial_has_not_waited(error, after):
    scene = Scene()
    scene.nodes.set_alive(FAR, FARTHER)
    scene.advance(0)
    scene.run.died("first", error)
    assert scene.dispatcher.busy, "it runs again at once"
    assert scene.wasted == {}, "sums by reason never fall, so the loss is in none yet"
    assert scene.live.meter.device_seconds == 3.0, "but in the total, which the budget counts"
    scene.advance(after)
    assert scene.nodes.probed == {FAR}
    assert scene.wasted == {}
    scene.nodes.set_alive(FARTHER)
    scene.advance(0)
    assert scene.wasted == {"node died": 3.0}
    scene.advance(0)
    assert scene.nodes.probed == set()


def test_a_node_that_still_answers_a_while_after_the_death_of_its_worker_is_alive():
    scene = Scene()
    for name in ("first", "second", "third"):
        scene.run.died(name, UNREACHABLE)
        scene.advance(AFTERMATH_SECONDS - 1, answers=[FAR])
        assert scene.nodes.probed == {FAR}, "its worker may only have been the first to die"
        scene.advance(1, answers=[FAR])
        assert scene.nodes.probed == set()
        if name != "third":
            scene.start({"first": "second", "second": "third"}[name])
    usage = scene.live.meter.usage()
    assert usage.losses == {"worker died": 3}
    assert scene.given_up == ["the worker cannot be reached any more: its process or its node died"]
    assert [loss.reason for loss in scene.live.meter.latest()] == ["worker died"] * 3


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (DIED, "the worker process died"),
        (UNREACHABLE, "the worker cannot be reached any more: its process or its node died"),
    ],
)
def test_a_trial_whose_last_death_may_be_its_nodes_waits_for_the_reason(error, message):
    scene = Scene(attempts=1)
    scene.run.died("first", error)
    assert (scene.given_up, scene.dispatcher.busy, scene.dispatcher.done) == ([], [], False)
    scene.advance(AFTERMATH_SECONDS, answers=[FAR])
    assert (scene.given_up, scene.dispatcher.done) == ([message], True)


def test_a_trial_that_waited_runs_again_where_its_node_is_lost():
    scene = Scene(attempts=1)
    scene.run.died("first", UNREACHABLE)
    scene.nodes.set_alive(FARTHER)
    scene.advance(0)
    assert scene.given_up == []
    assert scene.dispatcher.busy
    assert scene.wasted == {"node died": 3.0}


def test_a_trial_that_waits_at_the_end_of_a_run_is_left_for_the_next_launch():
    scene = Scene(attempts=1)
    scene.run.died("first", UNREACHABLE)
    scene.dispatcher.close()
    assert scene.given_up == []
    assert scene.wasted == {"worker died": 3.0}


def test_at_the_end_of_a_run_an_open_reason_is_the_death_of_the_worker():
    scene = Scene()
    scene.run.died("first", UNREACHABLE)
    scene.dispatcher.unresolved.close()
    scene.dispatcher.unresolved.close()
    assert scene.wasted == {"worker died": 3.0}
    assert scene.live.meter.device_seconds == 3.0


def test_a_death_on_the_drivers_own_node_is_settled_at_once():
    scene = Scene(own=FAR)
    scene.run.died("first", UNREACHABLE)
    assert scene.wasted == {"worker died": 3.0}
    assert not scene.dispatcher.unresolved.nodes


@pytest.fixture
def killed(monkeypatch):
    """Workers that the controller kills."""
    found: list[Any] = []
    monkeypatch.setattr(controller.ray, "kill", found.append)
    return found


def test_workers_are_late_and_killed_once_the_grace_period_of_draining_is_over(killed):
    scene = Scene()
    scene.seconds = 100.0
    assert not scene.run.late
    scene.dispatcher.drain()
    scene.seconds = 100.0 + GRACE
    scene.run.kill_late()
    assert (scene.run.late, scene.run.done, killed) == (False, False, [])
    scene.seconds += 0.1
    scene.run.kill_late()
    assert (scene.run.late, scene.run.done, killed) == (True, True, [scene.actor])


def test_a_worker_without_a_report_for_its_patience_and_more_is_killed_once(killed):
    scene = Scene()
    limit = PATIENCE + UNRESPONSIVE_SECONDS
    scene.seconds = limit
    scene.run.kill_unresponsive()
    assert killed == []
    scene.seconds = limit + 1
    scene.run.kill_unresponsive()
    scene.run.kill_unresponsive()
    assert killed == [scene.actor]


def test_a_run_ends_when_the_head_is_silent_or_packs_fit_nowhere_for_too_long():
    scene = Scene()
    scene.nodes.silent_seconds = SILENT_SECONDS
    scene.run.tick()
    scene.nodes.silent_seconds += 1
    with pytest.raises(ConnectError, match="the cluster's head has not answered for 30 s"):
        scene.run.tick()
    scene.nodes.silent_seconds = 0.0
    scene.nodes.set_alive()
    scene.run.died("first", DIED)
    scene.seconds = READY
    scene.run.tick()
    scene.seconds += 4.0
    with pytest.raises(ConnectError, match=r"1 packs wait for .*, which no live node has held for 600 s$"):
        scene.run.tick()


@pytest.fixture
def listening():
    """Yield the address of a server that greets as Ray's do, and a function that ends it."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            with peer:
                peer.sendall(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
                peer.recv(100)

    thread = threading.Thread(target=serve)
    thread.start()

    def end():
        if server.fileno() >= 0:
            server.shutdown(socket.SHUT_RDWR)
            server.close()
            thread.join()

    yield server.getsockname(), end
    end()


def until(found):
    deadline = time.monotonic() + 30
    while not found():
        assert time.monotonic() < deadline, inspect.getsource(found)
        time.sleep(0.01)


@pytest.mark.heavy
def test_a_probed_node_is_gone_once_its_port_is_closed_even_if_the_head_reports_it_alive(
    monkeypatch, listening, loopback_silence
):
    (host, port), end = listening
    live = [
        Node(FAR, "f", 1.0, 0.0, None, (host, port)),
        Node(FARTHER, "s", 1.0, 0.0, None, loopback_silence),
    ]
    monkeypatch.setattr(nodes_module, "live_nodes", lambda: live)
    monkeypatch.setattr(nodes_module, "own_node", lambda: OWN)
    monkeypatch.setattr(nodes_module, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(nodes_module, "ANSWER_SECONDS", 0.2)
    with Nodes() as nodes:
        began = time.monotonic()
        nodes.probe(frozenset({FAR, FARTHER}))
        until(lambda: nodes.answered.get(FAR, 0.0) > began)
        assert FARTHER not in nodes.answered, "it accepts connections and sends nothing"
        assert set(nodes.latest) == {FAR, FARTHER}
        end()
        until(lambda: set(nodes.latest) == {FARTHER})
        assert FAR not in nodes.answered
        assert [node.node_id for node in nodes.resources] == [FARTHER]


def test_polling_ends_at_once_whenever_it_would_be_next(monkeypatch):
    monkeypatch.setattr(nodes_module, "live_nodes", list)
    monkeypatch.setattr(nodes_module, "own_node", lambda: OWN)
    monkeypatch.setattr(nodes_module, "POLL_SECONDS", 20.0)
    began = time.monotonic()
    with Nodes():
        pass
    assert time.monotonic() - began < 10


@pytest.fixture
def loopback_silence():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()
