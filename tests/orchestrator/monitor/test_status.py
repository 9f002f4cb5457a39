"""Planned, claimed, running and ended trials are kept apart, and wasted device time is told with its reason."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.launch import launch, running, usage
from sweeplaw.orchestrator.launch.launch import _facts
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
from sweeplaw.trials.record import CurvePoint, Outcome, Provenance, Row, TrialRecord

HEAD = 'name = "t"\nworkload = "surrogate"\n'
SWEEP = HEAD + "[scientific]\nparams = [1000, 2000]\ntokens = [50]\n[nuisance]\nlr = [0.1, 0.2, 0.3]\n"


class Hour:
    """A clock a test moves."""

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


def started(clock: Hour, *, devices: float = 2.0) -> tuple[LaunchState, Pack]:
    seen, pack = LaunchState(clock), packs()[0]
    seen.began(3, 1)
    seen.pack_started(pack, devices)
    return seen, pack


def test_what_runs_is_the_trial_that_shows_steps_and_before_any_the_first_in_line():
    seen, pack = started(Hour())
    ids = [spec.trial_id for spec in pack.specs]
    assert seen.view().running[0].steps == {ids[0]: None}
    seen.recorded([CurvePoint(ids[0], 40), CurvePoint(ids[0], 50)])
    assert seen.view().running[0].steps == {ids[0]: 50}
    seen.recorded([row(pack, 0)])
    (shown,) = seen.view().running
    assert (shown.steps, shown.left, shown.host) == ({ids[1]: None}, 2, "far")
    seen.recorded([row(pack, 1), row(pack, 2)])
    assert seen.view().running == ()
    assert (seen.view().states, seen.view().best_loss) == ({"completed": 3}, 1.0)


def test_device_time_is_useful_or_wasted_and_adds_up():
    clock = Hour()
    seen, pack = started(clock, devices=2.0)
    clock.passes(2)
    seen.recorded([row(pack, 0, "completed", 2.0)])
    clock.passes(3)
    seen.recorded([row(pack, 1, "out_of_memory", 3.0)])
    clock.passes(5)
    assert seen.device_seconds() == pytest.approx(2 * (2 + 3 + 5))
    seen.lost(pack, [list(pack.specs)[2].trial_id], None, "worker died")
    found = seen.view().usage
    assert found.useful == pytest.approx(4)
    assert found.wasted == pytest.approx({"out of memory": 6.0, "worker died": 10.0})
    assert found.losses == {"out of memory": 1, "worker died": 1}
    assert seen.device_seconds() == found.device_seconds == pytest.approx(20)
    assert "80.0% of it wasted" in found.sentence()


def test_a_trial_given_up_without_a_time_of_its_own_is_charged_once_by_the_scheduler():
    clock = Hour()
    seen, pack = started(clock)
    clock.passes(4)
    seen.lost(pack, [], 8.0, "worker died")
    seen.recorded([row(pack, 0, "failed", None)])
    assert seen.view().usage.wasted == {"worker died": 8.0}


@pytest.mark.parametrize(
    ("since", "useful", "wasted"),
    [(None, 0.0, 14.0), (2.0, 10.0, 4.0), (0.0, 14.0, 0.0), (50.0, 0.0, 14.0)],
    ids=["no checkpoint", "a checkpoint", "one at the very end", "one of an earlier attempt"],
)
def test_of_a_dead_worker_only_what_came_after_its_last_checkpoint_is_wasted(since, useful, wasted):
    clock = Hour()
    seen, pack = started(clock, devices=2.0)
    asked = []
    seen.began(3, 1, lambda trials: asked.append(tuple(trials)) or since)
    clock.passes(7)
    seen.lost(pack, ["a", "b"], None, "worker died")
    assert asked == [("a", "b")]
    assert seen.view().usage == device_time.Usage(useful, {"worker died": wasted}, {"worker died": 1})


def test_a_loss_whose_reason_comes_later_is_measured_when_it_happened_and_until_then_only_in_the_total():
    clock = Hour()
    seen, pack = started(clock, devices=2.0)
    clock.passes(7)
    loss = seen.lost(pack, ["a"], None, None)
    clock.passes(20)
    assert seen.view().usage == device_time.Usage()
    assert seen.meter.latest() == ()
    assert seen.device_seconds() == 14.0
    seen.meter.settle(loss, "node died")
    assert seen.view().usage == device_time.Usage(0.0, {"node died": 14.0}, {"node died": 1})
    assert seen.meter.latest() == (device_time.WastedWork(pack.pack_id, ("a",), 14.0, "node died", loss.at),)
    assert seen.device_seconds() == 14.0


def test_an_interrupted_launch_charges_what_ran():
    clock = Hour()
    seen, _ = started(clock, devices=1.0)
    clock.passes(7)
    seen.cut("interrupted")
    assert seen.view().usage.wasted == {"interrupted": 7.0}
    assert not seen.view().running


def test_what_a_dead_launcher_was_in_the_middle_of_is_charged_once(store):
    clock = Hour()
    seen, _ = started(clock, devices=3.0)
    clock.passes(11)
    running.publish(store.location, "one", seen.view("one").running, clock())
    usage.publish(store.location, "one", "t", seen.meter)
    for _ in range(2):
        running.charge_dead_launches(store.location, clock())
    assert usage.load(store.location)["one"].wasted == {"launcher died": 33.0}
    usage.close(store.location, "one", 33.0, 1)
    assert usage.load(store.location)["one"].wasted == {"launcher died": 33.0}
    assert running.read(store.location, "one") is None


def test_a_living_launch_is_not_buried(store):
    clock = Hour()
    seen, _ = started(clock)
    claims.claim(store.location, ["a"], "one", 60)
    running.publish(store.location, "one", seen.view("one").running, clock())
    running.charge_dead_launches(store.location, clocks.of_store(store.location))
    assert running.read(store.location, "one") is not None


def test_usage_of_launches_adds_up_by_reason():
    parts = [
        device_time.Usage(1.0, {"hung": 2.0}, {"hung": 1}),
        device_time.Usage(3.0, {"hung": 4.0, "preempted": 1.0}, {"hung": 2}),
    ]
    whole = device_time.total(parts)
    assert (whole.useful, whole.wasted, whole.losses) == (4.0, {"hung": 6.0, "preempted": 1.0}, {"hung": 3})


def test_each_trial_of_a_store_is_in_one_place(store, record):
    """Six planned trials: one ended, one preempted, one running, one claimed beside it, two left over."""
    sweep, clock = made(), Hour()
    (first, second) = (sorted(group.ids) for group in sweep.groups)
    store.add_launch("one", _facts(sweep, profile.load("inline")), sweep.ids)
    specs = {spec.trial_id: spec for spec in sweep.specs}
    ends = [(first[0], "completed"), (first[1], "preempted")]
    with store.writer("one") as writer:
        for trial, state in ends:
            outcome = Outcome(trial, state, train_seconds=1.5)
            unknown = Provenance(None, None, "{}", None)
            writer.write([TrialRecord(specs[trial], Cost(), outcome, "t", 1, "p", "one", unknown)])
    held = [second[0], second[1]]
    claims.claim(store.location, held, "two", 60)
    pack = Pack((next(group for group in sweep.groups if second[0] in group.ids).only(set(held)),), 1.0)
    seen = LaunchState(clock)
    seen.pack_started(pack, 1.0, "here")
    running.publish(store.location, "two", seen.view("two").running, clock())
    found = progress(store)
    assert (found.missing, found.waiting, found.claimed, found.running) == (5, 3, 1, 1)
    assert found.states == {"completed": 1, "preempted": 1}
    assert found.relaunch == {"not run yet": 2, "preempted": 1}
    assert [pack.host for pack in found.packs] == ["here"]
    late = progress(store, clocks.of_store(store.location) + dt.timedelta(seconds=61))
    assert (late.waiting, late.claimed, late.running, late.packs) == (5, 0, 0, ())
    assert late.relaunch == {"not run yet": 4, "preempted": 1}
    assert late.dead == ("two",)
    assert late.usage.useful == 3.0, "two rows of 1.5 s, of a launch that kept no account"


def test_what_a_relaunch_would_run_is_what_it_runs(tmp_path):
    text = SWEEP + 'behaviour = ["failed", "diverged", "normal"]\n[retry]\nfailed = {failed}\ndiverged = 0\n'
    store = Store.open(tmp_path, create=True)
    launch.launch(made(text.format(failed=0)), store, profile.load("inline"))
    assert progress(store).relaunch == {}
    requeue(store, ["diverged"])
    store.add_launch("asked", _facts(made(text.format(failed=1)), profile.load("inline")))
    said = progress(store).relaunch
    assert said == {"asked to run again": 6, "retry policy": 6}
    done = launch.launch(made(text.format(failed=1)), Store.open(tmp_path), profile.load("inline"))
    assert sum(done.states.values()) == sum(said.values())
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
    told = subprocess.run([*words, "status", str(store)], capture_output=True, text=True, check=True, timeout=60).stdout
    assert "its process is gone" in told
    assert "6  a relaunch would run (6 not run yet)" in told
    opened = Store.open(store)
    running.charge_dead_launches(opened.location, clocks.of_store(opened.location))
    assert progress(opened).usage.wasted["launcher died"] > 0


def _until_running(store: Any, words: list[str]) -> dict[str, Any]:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if (store / "store.json").exists():
            told = subprocess.run([*words, "status", str(store), "--json"], capture_output=True, text=True, timeout=60)
            answer: dict[str, Any] = json.loads(told.stdout)
            if answer["packs"]:
                return answer
        time.sleep(0.2)
    raise AssertionError("the launch never said what it runs")


def test_many_threads_lose_no_count():
    meter = device_time.Meter()
    threads = [threading.Thread(target=lambda: [meter.used(1.0) for _ in range(2000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.usage().useful == 8000


def test_curve_points_find_their_trial_among_many_packs():
    seen = LaunchState(Hour())
    several = cut(made().groups, 6)
    for pack in several:
        seen.pack_started(pack, 1.0)
    points: list[Row] = [CurvePoint(spec.trial_id, 7) for pack in several for spec in pack.specs]
    seen.recorded(points)
    assert all(set(pack.steps.values()) == {7} for pack in seen.view().running)
