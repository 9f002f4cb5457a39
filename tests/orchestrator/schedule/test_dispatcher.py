"""Lanes, with workers that only take notes: who runs what, and what becomes of it. No Ray."""

import datetime as dt

from sweeplaw.orchestrator.plan.plan import Group
from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.schedule.device_time import WastedWork
from sweeplaw.orchestrator.schedule.dispatcher import START_TRIES, Dispatcher, DispatcherCallbacks
from sweeplaw.orchestrator.schedule.packs import Pack, Queue
from sweeplaw.orchestrator.schedule.placement import NodeResources, Placement
from sweeplaw.orchestrator.worker.worker import Job
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.record import Outcome, Provenance, TrialRecord

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
ONE, TWO = TrialResources(1), TrialResources(1, processes=2)


def pack(name, size=ONE, trials=1, weight=1.0):
    ids = tuple(f"{name}{index}" for index in range(trials))
    return Pack((Group("w", {}, ("i",), tuple((i,) for i in range(trials)), ids, Cost()),), weight, size=size)


class Note:
    """A worker that remembers what it was told."""

    def __init__(self):
        self.fed, self.wound = [], 0

    def feed(self, job):
        self.fed.append(job.pack_id)

    def wind(self):
        self.wound += 1


class Bench:
    """Lanes on one node of so many cores, and everything they said."""

    def __init__(self, *packs, cores=2):
        self.rows, self.lost, self.given_up, self.workers = [], [], [], {}
        self.time = 0.0
        calls = DispatcherCallbacks(
            make_job=lambda pack: Job(pack.pack_id, "w", {}, (), (pack.attempt,), "s", "l", pack.shrink),
            sink=self.rows.extend,
            give_up=lambda pack, spec, message, state: self.given_up.append((spec["i"], message, state)),
            lost=self.note_lost,
            settled=lambda loss, reason: None,
            placed=lambda pack, host: None,
            ended=lambda pack: None,
            ending=lambda: False,
        )
        self.lanes = Dispatcher(Queue(packs, max_attempts=2), Placement(), calls, home="a", clock=lambda: self.time)
        self.here(a=cores)

    def note_lost(self, pack, trials, reason):
        self.lost.append((list(trials), reason))
        return WastedWork(pack.pack_id, tuple(trials), 0.0, reason, NOW)

    def here(self, **cores):
        self.lanes.update([NodeResources(name, count) for name, count in cores.items()], {name: name for name in cores})
        self.go()

    def go(self):
        """Every lane that wants a worker gets one; what they run, by first trial."""
        self.lanes.fill()
        while lane := self.lanes.open():
            self.workers[lane.key] = Note()
            self.lanes.started(lane, self.workers[lane.key])
        return self.running

    @property
    def running(self):
        return sorted(lane.pack.pack_id for lane in self.lanes.busy)

    def lane(self, pack_id):
        return next(lane for lane in self.lanes.busy if lane.pack.pack_id == pack_id)

    def end(self, pack_id, **said):
        lane = self.lane(pack_id)
        rows = [row(trial_id) for group in lane.pack.groups for trial_id in group.ids]
        self.lanes.heard(lane, rows, True, said.get("error"), "worker died")
        self.go()


def row(trial_id):
    class Spec:
        pass

    spec = Spec()
    spec.trial_id = trial_id
    return TrialRecord(spec, Cost(), Outcome(trial_id, "completed"), "s", 1, "p", "l", Provenance(None, None, "", None))


def test_a_worker_is_kept_for_packs_of_its_size_and_makes_way_for_another_size():
    bench = Bench(pack("a"), pack("b"), pack("c"), pack("d"), cores=2)
    assert bench.running == ["a0-1", "b0-1"]
    kept = bench.lane("a0-1")
    bench.end("a0-1")
    assert bench.workers[kept.key].fed == ["c0-1"]
    bench.lanes.waiting.put(pack("big", TWO))
    bench.end("b0-1")
    assert bench.running == ["c0-1"], "the large one comes before d"
    bench.end("c0-1")
    assert bench.running == ["big0-1"]
    assert len(bench.lanes.closing) == 2
    bench.end("big0-1")
    bench.end("d0-1")
    assert bench.lanes.over


def test_the_trial_that_ran_comes_back_first_and_is_given_up_in_the_end():
    bench = Bench(pack("a", trials=3, weight=9.0), pack("b"), cores=1)
    lane = bench.lane("a0-3")
    bench.lanes.heard(lane, [row("a0")], False, None, "worker died")
    bench.lanes.died(lane, "it died", "worker died")
    assert bench.lost == [(["a1", "a2"], "worker died")]
    assert bench.go() == ["a1-1"]
    bench.lanes.died(bench.lane("a1-1"), "it died", "worker died")
    assert bench.given_up == [(1, "it died", "failed")]
    assert bench.go() == ["a2-1"]


def test_a_worker_killed_for_memory_gives_up_its_trial_at_once():
    bench = Bench(pack("a", trials=2), cores=1)
    bench.lanes.died(bench.lane("a0-2"), "low on memory", "out of memory")
    assert bench.given_up == [(0, "low on memory", "out_of_memory")]
    assert bench.go() == ["a1-1"]


def test_a_pack_whose_worker_had_not_begun_when_its_node_died_waits_again_as_it_was():
    bench = Bench(cores=1)
    bench.lanes.waiting.put(pack("a"))
    bench.lanes.fill()
    bench.lanes.update([], {})
    assert (bench.lost, bench.lanes.busy, bench.lanes.open()) == ([], [], None)
    bench.here(b=1)
    assert bench.running == ["a0-1"]
    assert bench.lane("a0-1").pack.attempt == 1


def test_packs_that_no_node_holds_any_more_are_told_after_a_while():
    bench = Bench(pack("big", TWO), cores=1)
    assert bench.running == []
    bench.time = 50.0
    assert bench.lanes.stuck_seconds == 50.0
    assert not bench.lanes.over


def test_winding_down_tells_workers_and_starts_nothing_more():
    bench = Bench(pack("a"), pack("b"), cores=1)
    worker = bench.workers[bench.lane("a0-1").key]
    bench.lanes.wind()
    assert worker.wound == 1
    bench.end("a0-1")
    assert bench.lanes.over
    assert len(bench.lanes.waiting) == 1


def test_a_node_on_which_workers_do_not_start_gets_no_more_and_no_trial_is_charged_for_it():
    bench = Bench(cores=1)
    bench.lanes.waiting.put(pack("p"))
    bench.lanes.fill()
    for _ in range(START_TRIES):
        bench.lanes.unstarted(bench.lanes.open())
    assert bench.lanes.barred == {"a"}
    bench.here(a=1)
    assert bench.running == []
    bench.here(a=1, b=1)
    (lane,) = bench.lanes.busy
    assert (lane.nodes, lane.pack.attempt) == (("b",), 1)
    assert not bench.given_up
    assert not bench.lost
