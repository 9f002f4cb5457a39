"""Status counts planned, claimed, running and ended trials apart, and wasted device time by reason."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.launch import launch, published_packs, usage
from sweeplaw.orchestrator.launch.facts import launch_facts
from sweeplaw.orchestrator.launch.retries import requeue
from sweeplaw.orchestrator.launch.state import LaunchState
from sweeplaw.orchestrator.monitor.status import progress
from sweeplaw.orchestrator.plan.plan import Plan, plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.schedule import device_time
from sweeplaw.orchestrator.schedule.packs import Pack, cut
from sweeplaw.orchestrator.store import claims, clocks
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.record import CurvePoint, Outcome, Provenance, Row, State, TrialRecord

pytestmark = pytest.mark.kill

HEAD = 'name = "t"\nworkload = "surrogate"\n'
SWEEP = HEAD + "[scientific]\nparams = [1000, 2000]\ntokens = [50]\n[nuisance]\nlr = [0.1, 0.2, 0.3]\n"


class ManualClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

    def __call__(self) -> dt.datetime:
        return self.time

    def passes(self, seconds: float) -> None:
        self.time += dt.timedelta(seconds=seconds)


def made(text: str = SWEEP) -> Plan:
    return plan(parse(text))


def packs(trials: int = 3) -> list[Pack]:
    return [Pack((group.only(set(group.ids[:trials])),), 1.0) for group in made().groups]


def row(pack: Pack, index: int, state: Any = "completed", seconds: float | None = 2.0) -> TrialRecord:
    spec = list(pack.specs)[index]
    outcome = Outcome(spec.trial_id, state, train_seconds=seconds, metrics={"val_loss": 3.0 - index})
    return TrialRecord(spec, Cost(), outcome, "t", 1, pack.pack_id, "one", Provenance("far", "cpu", "{}", None))


def started(clock: ManualClock, *, devices: float = 2.0) -> tuple[LaunchState, Pack]:
    launch_state, pack = LaunchState(clock), packs()[0]
    launch_state.begin(3, 1)
    launch_state.pack_started(pack, devices)
    launch_state.pack_placed(pack, "far")
    return launch_state, pack


def test_a_running_trial_is_one_that_reports_steps_and_before_any_does_the_first_in_line():
    launch_state, pack = started(ManualClock())
    ids = [spec.trial_id for spec in pack.specs]
    assert launch_state.snapshot().running[0].steps == {ids[0]: None}
    launch_state.recorded([CurvePoint(ids[0], 40), CurvePoint(ids[0], 50)])
    assert launch_state.snapshot().running[0].steps == {ids[0]: 50}
    launch_state.recorded([row(pack, 0)])
    (shown,) = launch_state.snapshot().running
    assert (shown.steps, shown.left, shown.host) == ({ids[1]: None}, 2, "far")
    launch_state.recorded([row(pack, 1), row(pack, 2)])
    assert launch_state.snapshot().running == ()
    assert (launch_state.snapshot().states, launch_state.snapshot().best_loss) == ({"completed": 3}, 1.0)


def test_device_time_is_useful_or_wasted_and_adds_up():
    clock = ManualClock()
    launch_state, pack = started(clock, devices=2.0)
    clock.passes(2)
    launch_state.recorded([row(pack, 0, "completed", 2.0)])
    clock.passes(3)
    launch_state.recorded([row(pack, 1, "out_of_memory", 3.0)])
    clock.passes(5)
    assert launch_state.device_seconds() == pytest.approx(2 * (2 + 3 + 5))
    launch_state.lost(pack, [list(pack.specs)[2].trial_id], None, "worker died")
    found = launch_state.snapshot().usage
    assert found.useful == pytest.approx(4)
    assert found.wasted == pytest.approx({"out of memory": 6.0, "worker died": 10.0})
    assert found.losses == {"out of memory": 1, "worker died": 1}
    assert launch_state.device_seconds() == found.device_seconds == pytest.approx(20)
    assert "80.0 % of it wasted" in found.sentence()


def test_a_trial_given_up_without_a_train_time_is_charged_once_as_a_loss():
    clock = ManualClock()
    launch_state, pack = started(clock)
    clock.passes(4)
    launch_state.lost(pack, [], 8.0, "worker died")
    launch_state.recorded([row(pack, 0, "failed", None)])
    assert launch_state.snapshot().usage.wasted == {"worker died": 8.0}


@pytest.mark.parametrize(
    ("since", "useful", "wasted"),
    [(None, 0.0, 14.0), (2.0, 10.0, 4.0), (0.0, 14.0, 0.0), (50.0, 0.0, 14.0)],
    ids=["no checkpoint", "a checkpoint", "one at the very end", "one of an earlier attempt"],
)
def test_a_dead_worker_wastes_only_the_work_since_its_last_checkpoint(since, useful, wasted):
    clock = ManualClock()
    launch_state, pack = started(clock, devices=2.0)
    asked: list[tuple[str, ...]] = []

    def checkpoint_age(trials: Sequence[str]) -> float | None:
        asked.append(tuple(trials))
        return since

    launch_state.begin(3, 1, checkpoint_age)
    clock.passes(7)
    launch_state.lost(pack, ["a", "b"], None, "worker died")
    assert asked == [("a", "b")]
    assert launch_state.snapshot().usage == device_time.Usage(useful, {"worker died": wasted}, {"worker died": 1})


def test_a_loss_is_measured_when_it_happens_and_counts_by_reason_once_that_is_known():
    clock = ManualClock()
    launch_state, pack = started(clock, devices=2.0)
    clock.passes(7)
    loss = launch_state.lost(pack, ["a"], None, None)
    clock.passes(20)
    assert launch_state.snapshot().usage == device_time.Usage()
    assert launch_state.meter.latest() == ()
    assert launch_state.device_seconds() == 14.0
    launch_state.meter.settle(loss, "node died")
    assert launch_state.snapshot().usage == device_time.Usage(0.0, {"node died": 14.0}, {"node died": 1})
    assert launch_state.meter.latest() == (device_time.WastedWork(pack.pack_id, ("a",), 14.0, "node died", loss.at),)
    assert launch_state.device_seconds() == 14.0


def test_an_interrupted_launch_charges_the_running_packs():
    clock = ManualClock()
    launch_state, _ = started(clock, devices=1.0)
    clock.passes(7)
    launch_state.cut_short("interrupted")
    assert launch_state.snapshot().usage.wasted == {"interrupted": 7.0}
    assert not launch_state.snapshot().running


def test_an_interrupted_launch_wastes_the_time_of_its_trials_and_no_other():
    """Neither the start of a worker counts, nor the time that passes until the launch has ended."""
    clock, (first, second, *_) = ManualClock(), packs(1)
    launch_state = LaunchState(clock)
    launch_state.begin(2, 2)
    for pack in (first, second):
        launch_state.pack_started(pack, 2.0)
    clock.passes(20)
    assert launch_state.device_seconds() == 0.0
    launch_state.pack_placed(first, "far")
    clock.passes(3)
    launch_state.interrupt()
    clock.passes(10)
    assert launch_state.device_seconds() == 6.0
    launch_state.recorded([row(first, 0, "preempted", 3.0)])  # what stops is recorded with its time, once
    assert launch_state.cut_short("interrupted") == [(second, ())]  # its worker was starting: no trial had begun
    assert launch_state.cut_short("interrupted") == []
    used = launch_state.snapshot().usage
    assert (used.useful, used.wasted, used.losses) == (0.0, {"preempted": 6.0}, {"preempted": 1})
    assert launch_state.device_seconds() == used.wasted_seconds == 6.0
    assert not launch_state.snapshot().running


def test_the_unfinished_work_of_a_dead_launcher_is_charged_once(store):
    clock = ManualClock()
    launch_state, _ = started(clock, devices=3.0)
    clock.passes(11)
    published_packs.publish(store.location, "one", launch_state.snapshot("one").running, clock())
    usage.publish(store.location, "one", "t", launch_state.meter)
    for _ in range(2):
        published_packs.charge_dead_launches(store.location, clock())
    assert usage.load(store.location)["one"].wasted == {"launcher died": 33.0}
    usage.close(store.location, "one", 33.0, 1)
    assert usage.load(store.location)["one"].wasted == {"launcher died": 33.0}
    assert published_packs.read(store.location, "one") is None


def test_a_living_launch_is_not_charged_as_dead(store):
    clock = ManualClock()
    launch_state, _ = started(clock)
    claims.claim(store.location, ["a"], "one", 60)
    published_packs.publish(store.location, "one", launch_state.snapshot("one").running, clock())
    published_packs.charge_dead_launches(store.location, clocks.store_time(store.location))
    assert published_packs.read(store.location, "one") is not None


def test_usage_of_launches_adds_up_by_reason():
    usages = [
        device_time.Usage(1.0, {"hung": 2.0}, {"hung": 1}),
        device_time.Usage(3.0, {"hung": 4.0, "preempted": 1.0}, {"hung": 2}),
    ]
    total = device_time.total(usages)
    assert (total.useful, total.wasted, total.losses) == (4.0, {"hung": 6.0, "preempted": 1.0}, {"hung": 3})


def test_each_trial_of_a_store_is_counted_once(store, record):
    """Six planned trials: one ended, one preempted, one running, one claimed beside it, two without a launch."""
    sweep, clock = made(), ManualClock()
    (first, second) = (sorted(group.ids) for group in sweep.groups)
    store.add_launch("one", launch_facts(sweep, profile.load("inline")), sweep.ids)
    specs = {spec.trial_id: spec for spec in sweep.specs}
    ends: list[tuple[str, State]] = [(first[0], "completed"), (first[1], "preempted")]
    with store.writer("one") as writer:
        for trial, state in ends:
            outcome = Outcome(trial, state, train_seconds=1.5)
            unknown = Provenance(None, None, "{}", None)
            writer.write([TrialRecord(specs[trial], Cost(), outcome, "t", 1, "p", "one", unknown)])
    held = [second[0], second[1]]
    claims.claim(store.location, held, "two", 60)
    pack = Pack((next(group for group in sweep.groups if second[0] in group.ids).only(set(held)),), 1.0)
    launch_state = LaunchState(clock)
    launch_state.pack_started(pack, 1.0)
    launch_state.pack_placed(pack, "here")
    published_packs.publish(store.location, "two", launch_state.snapshot("two").running, clock())
    found = progress(store)
    assert (found.missing, found.waiting, found.claimed, found.running) == (5, 3, 1, 1)
    assert found.states == {"completed": 1, "preempted": 1}
    assert found.relaunch == {"not run yet": 2, "preempted": 1}
    assert [pack.host for pack in found.packs] == ["here"]
    late = progress(store, clocks.store_time(store.location) + dt.timedelta(seconds=61))
    assert (late.waiting, late.claimed, late.running, late.packs) == (5, 0, 0, ())
    assert late.relaunch == {"not run yet": 4, "preempted": 1}
    assert late.dead == ("two",)
    assert late.usage.useful == 3.0, "two rows of 1.5 s, of a launch that published no usage"


def test_a_relaunch_runs_the_trials_that_status_announces(tmp_path):
    text = SWEEP + 'behaviour = ["failed", "diverged", "normal"]\n[retry]\nfailed = {failed}\ndiverged = 0\n'
    store = Store.open(tmp_path, create=True)
    launch.launch(made(text.format(failed=0)), store, profile.load("inline"))
    assert progress(store).relaunch == {}
    requeue(store, ["diverged"])
    store.add_launch("asked", launch_facts(made(text.format(failed=1)), profile.load("inline")))
    announced = progress(store).relaunch
    assert announced == {"asked to run again": 6, "retry policy": 6}
    done = launch.launch(made(text.format(failed=1)), Store.open(tmp_path), profile.load("inline"))
    assert sum(done.states.values()) == sum(announced.values())
    assert progress(store).relaunch == {}


def test_status_of_a_running_launch_names_trial_step_and_host_and_a_killed_one_leaves_its_loss(tmp_path):
    (tmp_path / "t.toml").write_text(SWEEP + "[fixed]\nseconds = 200\n")
    store, words = tmp_path / "s", [sys.executable, "-m", "sweeplaw"]
    command = [*words, "launch", str(tmp_path / "t.toml"), "--store", str(store), "--cluster", "inline"]
    driver = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        answer = _until_running(store, words)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    assert (answer["waiting"], answer["claimed"], answer["running"]) == (0, 5, 1)
    (pack,) = answer["packs"]
    assert pack["host"] == os.uname().nodename
    assert pack["about"]["lr"] in (0.1, 0.2, 0.3)
    assert (pack["about"]["tokens"], pack["about"]["params"]) in ((50, 1000), (50, 2000))
    done = subprocess.run([*words, "status", str(store)], capture_output=True, text=True, check=True, timeout=60)
    assert "its process is gone" in done.stdout
    assert "6  a relaunch would run (6 not run yet)" in done.stdout
    opened = Store.open(store)
    published_packs.charge_dead_launches(opened.location, clocks.store_time(opened.location))
    assert progress(opened).usage.wasted["launcher died"] > 0


def _until_running(store: Any, words: list[str]) -> dict[str, Any]:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if (store / "store.json").exists():
            done = subprocess.run([*words, "status", str(store), "--json"], capture_output=True, text=True, timeout=60)
            answer: dict[str, Any] = json.loads(done.stdout)
            if answer["packs"]:
                return answer
        time.sleep(0.2)
    raise AssertionError("the launch never published what it runs")


def test_concurrent_threads_lose_no_device_time():
    meter = device_time.Meter()

    def use() -> None:
        for _ in range(2000):
            meter.used(1.0)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.usage().useful == 8000


def test_curve_points_find_their_trial_among_many_packs():
    launch_state = LaunchState(ManualClock())
    several = cut(made().groups, 6)
    for pack in several:
        launch_state.pack_started(pack, 1.0)
    points: list[Row] = [CurvePoint(spec.trial_id, 7) for pack in several for spec in pack.specs]
    launch_state.recorded(points)
    assert all(set(pack.steps.values()) == {7} for pack in launch_state.snapshot().running)
