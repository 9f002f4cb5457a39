"""Worker slots, with recording workers: which runs what, and what happens when one ends. No Ray."""

import datetime as dt
from types import SimpleNamespace
from typing import Any

from sweeplaw.orchestrator.plan.plan import Group
from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.schedule.device_time import WastedWork
from sweeplaw.orchestrator.schedule.dispatcher import START_TRIES, Dispatcher, DispatcherCallbacks
from sweeplaw.orchestrator.schedule.packs import Pack, Queue
from sweeplaw.orchestrator.schedule.placement import NodeResources, Placement
from sweeplaw.orchestrator.worker.worker import Job
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.record import Outcome, Provenance, Row, TrialRecord

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
ONE, TWO = TrialResources(1), TrialResources(1, processes=2)


def pack(name, size=ONE, trials=1, weight=1.0):
    ids = tuple(f"{name}{index}" for index in range(trials))
    return Pack((Group("w", {}, ("i",), tuple((i,) for i in range(trials)), ids, Cost()),), weight, size=size)


class RecordingWorker:
    """A worker that records its calls."""

    def __init__(self):
        self.fed: list[str] = []
        self.drained = 0

    def feed(self, job):
        self.fed.append(job.pack_id)

    def drain(self):
        self.drained += 1


class Bench:
    """A dispatcher on one node of ``cores`` cores, and all its callbacks."""

    def __init__(self, *packs, cores=2):
        self.rows: list[Row] = []
        self.lost: list[tuple[list[str], str | None]] = []
        self.given_up: list[tuple[int, str, str]] = []
        self.workers: dict[str, RecordingWorker] = {}
        self.time = 0.0
        callbacks = DispatcherCallbacks(
            make_job=lambda pack: Job(pack.pack_id, "w", {}, (), (pack.attempt,), "s", "l", pack.micro_batch_divisor),
            sink=self.rows.extend,
            give_up=lambda pack, spec, message, state: self.given_up.append((spec["i"], message, state)),
            lost=self.note_lost,
            settled=lambda loss, reason: None,
            placed=lambda pack, host: None,
            ended=lambda pack: None,
            ending=lambda: False,
        )
        self.dispatcher = Dispatcher(
            Queue(packs, max_attempts=2), Placement(), callbacks, driver_node="a", clock=lambda: self.time
        )
        self.nodes(a=cores)

    def note_lost(self, pack, trials, reason):
        self.lost.append((list(trials), reason))
        return WastedWork(pack.pack_id, tuple(trials), 0.0, reason, NOW)

    def nodes(self, **cores):
        """Make these the live nodes, with their numbers of cores."""
        resources = [NodeResources(name, count) for name, count in cores.items()]
        self.dispatcher.update(resources, {name: name for name in cores})
        self.start_all()

    def start_all(self):
        """Start a worker for every pending slot; return the running packs."""
        self.dispatcher.fill()
        while slot := self.dispatcher.next_pending():
            self.workers[slot.key] = RecordingWorker()
            self.dispatcher.started(slot, self.workers[slot.key])
        return self.running

    @property
    def running(self):
        return sorted(pack_of(slot).pack_id for slot in self.dispatcher.busy)

    def slot(self, pack_id):
        return next(slot for slot in self.dispatcher.busy if pack_of(slot).pack_id == pack_id)

    def end(self, pack_id):
        slot = self.slot(pack_id)
        rows = [row(trial_id) for group in pack_of(slot).groups for trial_id in group.ids]
        self.dispatcher.reported(slot, rows, True, None, "worker died")
        self.start_all()


def pack_of(slot):
    assert slot.pack is not None
    return slot.pack


def row(trial_id):
    spec: Any = SimpleNamespace(trial_id=trial_id)
    return TrialRecord(spec, Cost(), Outcome(trial_id, "completed"), "s", 1, "p", "l", Provenance(None, None, "", None))


def test_a_worker_is_reused_for_packs_of_its_size_and_evicted_for_another_size():
    bench = Bench(pack("a"), pack("b"), pack("c"), pack("d"), cores=2)
    assert bench.running == ["a0-1", "b0-1"]
    reused = bench.slot("a0-1")
    bench.end("a0-1")
    assert bench.workers[reused.key].fed == ["c0-1"]
    bench.dispatcher.queue.put(pack("big", TWO))
    bench.end("b0-1")
    assert bench.running == ["c0-1"], "the large one is before d"
    bench.end("c0-1")
    assert bench.running == ["big0-1"]
    assert len(bench.dispatcher.to_stop) == 2
    bench.end("big0-1")
    bench.end("d0-1")
    assert bench.dispatcher.done


def test_the_trial_that_ran_is_requeued_first_and_given_up_in_the_end():
    bench = Bench(pack("a", trials=3, weight=9.0), pack("b"), cores=1)
    slot = bench.slot("a0-3")
    bench.dispatcher.reported(slot, [row("a0")], False, None, "worker died")
    bench.dispatcher.died(slot, "it died", "worker died")
    assert bench.lost == [(["a1", "a2"], "worker died")]
    assert bench.start_all() == ["a1-1"]
    bench.dispatcher.died(bench.slot("a1-1"), "it died", "worker died")
    assert bench.given_up == [(1, "it died", "failed")]
    assert bench.start_all() == ["a2-1"]


def test_a_worker_killed_for_memory_gives_up_its_trial_at_once():
    bench = Bench(pack("a", trials=2), cores=1)
    bench.dispatcher.died(bench.slot("a0-2"), "low on memory", "out of memory")
    assert bench.given_up == [(0, "low on memory", "out_of_memory")]
    assert bench.start_all() == ["a1-1"]


def test_a_pack_whose_worker_had_not_begun_when_its_node_died_is_requeued_unchanged():
    bench = Bench(cores=1)
    bench.dispatcher.queue.put(pack("a"))
    bench.dispatcher.fill()
    bench.dispatcher.update([], {})
    assert (bench.lost, bench.dispatcher.busy, bench.dispatcher.next_pending()) == ([], [], None)
    bench.nodes(b=1)
    assert bench.running == ["a0-1"]
    assert pack_of(bench.slot("a0-1")).attempt == 1


def test_packs_that_fit_no_live_node_are_counted_as_stuck():
    bench = Bench(pack("big", TWO), cores=1)
    assert bench.running == []
    bench.time = 50.0
    assert bench.dispatcher.stuck_seconds == 50.0
    assert not bench.dispatcher.done


def test_draining_reaches_workers_and_starts_nothing_more():
    bench = Bench(pack("a"), pack("b"), cores=1)
    worker = bench.workers[bench.slot("a0-1").key]
    bench.dispatcher.drain()
    assert worker.drained == 1
    bench.end("a0-1")
    assert bench.dispatcher.done
    assert len(bench.dispatcher.queue) == 1


def test_a_node_on_which_workers_do_not_start_is_barred_and_no_trial_is_charged():
    bench = Bench(cores=1)
    bench.dispatcher.queue.put(pack("p"))
    bench.dispatcher.fill()
    for _ in range(START_TRIES):
        slot = bench.dispatcher.next_pending()
        assert slot is not None
        bench.dispatcher.failed_to_start(slot)
    assert bench.dispatcher.barred == {"a"}
    bench.nodes(a=1)
    assert bench.running == []
    bench.nodes(a=1, b=1)
    (slot,) = bench.dispatcher.busy
    assert (slot.nodes, pack_of(slot).attempt) == (("b",), 1)
    assert not bench.given_up
    assert not bench.lost
