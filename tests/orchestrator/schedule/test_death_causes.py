"""A worker and its node die together, and the news of it come in either order: the loss is told under its reason."""

import datetime as dt
import inspect
import socket
import threading
import time

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError

from sweeplaw.clusters.connect.cluster import Node
from sweeplaw.orchestrator.launch.state import LaunchState
from sweeplaw.orchestrator.plan.plan import Group
from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.schedule.death_causes import AFTERMATH_SECONDS
from sweeplaw.orchestrator.schedule.dispatcher import Dispatcher, DispatcherCallbacks
from sweeplaw.orchestrator.schedule.packs import Pack, Queue
from sweeplaw.orchestrator.schedule.placement import Placement
from sweeplaw.orchestrator.schedule.ray_tune import nodes as watching
from sweeplaw.orchestrator.schedule.ray_tune.controller import Run
from sweeplaw.orchestrator.schedule.ray_tune.nodes import Nodes
from sweeplaw.orchestrator.worker.worker import Job
from sweeplaw.trials.accounting import Cost

HOME, FAR, FARTHER = "home", "far", "farther"
UNHEARD = ActorUnavailableError(
    "the connection broke", b"x" * 16
)  # what Ray says of a node that is gone without a word
DIED = ActorDiedError()  # what Ray says where the node told of its worker's death


class Seen:
    """What is known of the nodes; a test writes it."""

    def __init__(self, home):
        self.home, self.silent_seconds, self.answered, self.doubted = home, 0.0, {}, frozenset()
        self.are(FAR)

    def are(self, *names):
        self.latest = {name: Node(name, name, 1.0, 0.0, None) for name in names}

    @property
    def machines(self):
        return [watching.Machine(name, 1.0, 0.0) for name in self.latest]

    def doubt(self, nodes):
        self.doubted = nodes


class Scene:
    """A run of one trial, which has begun on node FAR and has used three device-seconds."""

    def __init__(self, home=HOME, attempts=3):
        self.seconds, self.given_up = 0.0, []
        self.live = LaunchState(lambda: dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=self.seconds))
        self.live.began(1, 1)
        calls = DispatcherCallbacks(
            make_job=self.begin,
            sink=self.live.recorded,
            give_up=lambda pack, spec, message, state: self.given_up.append(message),
            lost=lambda pack, trials, reason: self.live.lost(pack, trials, None, reason),
            settled=self.live.meter.settle,
            placed=self.live.pack_on,
            ended=self.live.pack_ended,
            ending=lambda: False,
        )
        pack = Pack((Group("w", {}, ("i",), ((0,),), ("trial",), Cost()),), 1.0)
        self.nodes = Seen(home)
        self.lanes = Dispatcher(
            Queue([pack], max_attempts=attempts), Placement(), calls, home, clock=lambda: self.seconds
        )
        self.run = Run(self.lanes, self.nodes, calls, patience=600.0, grace=1.0, ready=600.0, commit=None)
        self.start("first")
        self.seconds = 3.0

    def begin(self, pack):
        self.live.pack_started(pack, TrialResources(1).devices)
        return Job(pack.pack_id, "w", {}, (), (pack.attempt,), "s", "l", 1)

    def start(self, name):
        assert self.run.open(name), "a worker is wanted"
        self.run.started(name, None)

    def passes(self, seconds, answers=()):
        self.seconds += seconds
        self.nodes.answered = dict.fromkeys(answers, self.seconds)
        self.run.tick()

    @property
    def wasted(self):
        return self.live.meter.usage().wasted


def test_a_nodes_death_that_is_known_first_is_the_reason_at_once():
    scene = Scene()
    scene.nodes.are()
    scene.passes(0)
    scene.run.died("first", UNHEARD)
    assert scene.wasted == {"node died": 3.0}


@pytest.mark.parametrize("error", [UNHEARD, DIED, None], ids=["no word", "told by its node", "no error"])
@pytest.mark.parametrize("after", [0.1, 60.0])
def test_a_nodes_death_that_is_known_later_is_the_reason_and_the_trial_has_not_waited_for_it(error, after):
    scene = Scene()
    scene.nodes.are(FAR, FARTHER)
    scene.passes(0)
    scene.run.died("first", error)
    assert scene.lanes.busy, "it runs again at once"
    assert scene.wasted == {}, "sums by reason never fall, so the loss is in none yet"
    assert scene.live.meter.device_seconds == 3.0, "but in the total, which the budget counts"
    scene.passes(after)
    assert (scene.nodes.doubted, scene.wasted) == ({FAR}, {})
    scene.nodes.are(FARTHER)
    scene.passes(0)
    assert scene.wasted == {"node died": 3.0}
    scene.passes(0)
    assert scene.nodes.doubted == set()


def test_a_node_that_still_answers_some_time_after_its_worker_died_did_not_die():
    scene = Scene()
    for name in ("first", "second", "third"):
        scene.run.died(name, UNHEARD)
        scene.passes(AFTERMATH_SECONDS - 1, answers=[FAR])
        assert scene.nodes.doubted == {FAR}, "its worker may only have been the first to go"
        scene.passes(1, answers=[FAR])
        assert scene.nodes.doubted == set()
        if name != "third":
            scene.start({"first": "second", "second": "third"}[name])
    usage = scene.live.meter.usage()
    assert usage.losses == {"worker died": 3}
    assert scene.given_up == ["the worker cannot be reached any more: its process or its node died"]
    assert [loss.reason for loss in scene.live.meter.latest()] == ["worker died"] * 3


def test_what_is_given_up_before_the_reason_is_known_says_what_is_known():
    told, unheard = Scene(attempts=1), Scene(attempts=1)
    told.run.died("first", DIED)
    unheard.run.died("first", UNHEARD)
    assert told.given_up == ["the worker process died"]
    assert unheard.given_up == ["the worker cannot be reached any more: its process or its node died"]


def test_at_the_end_of_a_run_a_reason_nobody_knows_yet_is_what_is_known():
    scene = Scene()
    scene.run.died("first", UNHEARD)
    scene.lanes.doubts.close()
    scene.lanes.doubts.close()
    assert scene.wasted == {"worker died": 3.0}
    assert scene.live.meter.device_seconds == 3.0


def test_on_the_drivers_own_node_nothing_is_waited_for():
    scene = Scene(home=FAR)
    scene.run.died("first", UNHEARD)
    assert scene.wasted == {"worker died": 3.0}
    assert not scene.lanes.doubts.nodes


@pytest.fixture
def listening():
    """The address of something that greets as Ray's servers do, and how to end it."""
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


def test_a_doubted_node_is_asked_itself_and_gone_once_its_port_is_closed_whatever_the_head_says(
    monkeypatch, listening, loopback_silence
):
    (host, port), end = listening
    live = [
        Node(FAR, "f", 1.0, 0.0, None, (host, port)),
        Node(FARTHER, "s", 1.0, 0.0, None, loopback_silence),
    ]
    monkeypatch.setattr(watching, "live_nodes", lambda: live)
    monkeypatch.setattr(watching, "own_node", lambda: HOME)
    monkeypatch.setattr(watching, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(watching, "ANSWER_SECONDS", 0.2)
    with Nodes() as nodes:
        began = time.monotonic()
        nodes.doubt(frozenset({FAR, FARTHER}))
        until(lambda: nodes.answered.get(FAR, 0.0) > began)
        assert FARTHER not in nodes.answered, "it takes connections and says nothing"
        assert set(nodes.latest) == {FAR, FARTHER}
        end()
        until(lambda: set(nodes.latest) == {FARTHER})
        assert FAR not in nodes.answered
        assert [machine.node_id for machine in nodes.machines] == [FARTHER]


@pytest.fixture
def loopback_silence():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()
