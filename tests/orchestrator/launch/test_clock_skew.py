"""Clocks that are an hour off, or jump, change neither claims, nor which outcome counts, nor durations."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeplaw.analysis.tables import tables
from sweeplaw.analysis.tables.launches import launches
from sweeplaw.orchestrator.launch.facts import new_launch_id
from sweeplaw.orchestrator.launch.state import LaunchState
from sweeplaw.orchestrator.store import atomic, claims, clocks
from sweeplaw.orchestrator.store.compaction import compact
from sweeplaw.orchestrator.store.heartbeats import Lease
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.record import Outcome, TrialRecord
from tests.conftest import make_points, make_record

pytestmark = pytest.mark.kill

HOUR = 3600.0
PATIENCE = 120.0  # seconds; a loaded machine is slow
SWEEP = 'name = "t"\nworkload = "surrogate"\nseeds = [0, 1, 2, 3]\n[scientific]\nparams = [1000]\ntokens = [50]\n'
LONG = SWEEP + "[fixed]\nseconds = 600\n"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start launchers, each with its clock ``ahead`` seconds ahead."""
    started = []

    def launcher(text: str, ahead: float = 0.0) -> subprocess.Popen[str]:
        (tmp_path / "t.toml").write_text(text)
        words = ["launch", tmp_path / "t.toml", "--store", tmp_path / "s", "--cluster", "inline", "--json"]
        module = "tests.orchestrator.launch.skewed" if ahead else "sweeplaw"
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", module, *map(str, words)],
                env={**os.environ, "SKEW": str(ahead)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield launcher
    for process in started:
        process.kill()
        process.communicate()


def answer(launcher: subprocess.Popen[str]) -> dict[str, Any]:
    out, errors = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode == 0, errors
    found: dict[str, Any] = json.loads(out)
    return found


def held(folder: Path) -> Lease:
    """Return the lease of the only launch on this store, once it holds its trials."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if (folder / "claims" / "table.json").exists():
            for lease in claims.leases(Store.open(folder).location):
                if lease.trials:
                    return lease
        time.sleep(0.05)
    raise AssertionError("no launch ever held a trial")


@pytest.mark.parametrize("ahead", [-HOUR, HOUR])
def test_a_living_launcher_keeps_its_trials_whatever_its_clock(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]], ahead: float
) -> None:
    start(LONG, ahead)
    held(tmp_path / "s")
    found = answer(start(LONG))
    assert (found["ran"], found["elsewhere"]) == (0, 4)


@pytest.mark.parametrize("ahead", [-HOUR, HOUR])
def test_a_dead_launchers_trials_are_free_after_its_lease_whatever_its_clock(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]], ahead: float
) -> None:
    first = start(LONG, ahead)
    lease = held(tmp_path / "s")
    first.send_signal(signal.SIGKILL)
    first.communicate()
    location = Store.open(tmp_path / "s").location
    name = f"claims/{lease.launch_id}.beat.json"
    atomic.publish_json(location, name, {**location.read_json(name), "machine": "another"})
    second = Store.open(tmp_path / "s")
    assert second.claim(lease.trials, "second", 120) == set(), "it may still live"
    silent = time.time() - 121
    os.utime(location.path(name), (silent, silent))
    assert second.claim(lease.trials, "second", 120) == lease.trials


def test_durations_of_a_trial_are_measured_by_a_monotonic_clock(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    found = answer(start(SWEEP + "[fixed]\nseconds = 0.2\n", HOUR))
    assert found["states"] == {"completed": 4}
    rows = tables.load(tmp_path / "s").trials.collect()
    assert rows["train_seconds"].is_between(0.02, PATIENCE).all()
    assert 0.08 <= found["device_seconds"]["useful"] < PATIENCE
    assert found["device_seconds"]["wasted"] == {}


def ended(launch: str, state: Any, hours: float) -> TrialRecord:
    """Return an outcome of one attempt of one trial, from a machine whose clock is ``hours`` ahead."""
    row = make_record(1, state=state, launch=launch)
    at = dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)
    return TrialRecord(
        row.spec,
        row.cost,
        Outcome(row.spec.trial_id, state, ended_at=at, metrics={"val_loss": 2.0}),
        row.sweep,
        1,
        row.pack_id,
        launch,
        row.provenance,
    )


@pytest.mark.parametrize("ahead", [-1.0, 0.0, 1.0])
def test_of_two_outcomes_of_one_attempt_that_of_the_later_launch_counts_whatever_the_clocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    """The first launch stalled until the second had taken its trial over, resumed, and recorded its own outcome."""
    store = Store.open(tmp_path, create=True)
    trial = make_record(1).spec.trial_id
    with monkeypatch.context() as skewed:
        skewed.setattr(clocks, "utc_now", lambda: dt.datetime.now(dt.UTC) + dt.timedelta(hours=ahead))
        first = new_launch_id(store)
        store.add_launch(first, {}, [trial])
    second = new_launch_id(store)
    store.add_launch(second, {}, [trial])
    assert [facts["launch_id"] for facts in launches(store.location)] == [first, second]
    for launch, state, hours in ((second, "completed", 0.0), (first, "preempted", ahead)):
        with store.writer(launch) as writer:
            row = ended(launch, state, hours)
            writer.write([row], make_points(row))
    for _ in range(2):
        assert Store.open(tmp_path).finished() == {trial: "completed"}
        (kept,) = tables.load(tmp_path, states=None).trials.collect().iter_rows(named=True)
        assert (kept["state"], kept["launch_id"]) == ("completed", second)
        compact(store.location)  # a merged part gives the same


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(clock=st.lists(st.floats(-HOUR, HOUR), min_size=2, max_size=6))
def test_launches_are_in_order_whatever_their_clocks(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    store = Store.open(tmp_path_factory.mktemp("s"), create=True)
    ids = []
    for ahead in clock:
        with monkeypatch.context() as skewed:
            skewed.setattr(clocks, "utc_now", lambda ahead=ahead: dt.datetime.now(dt.UTC) + dt.timedelta(seconds=ahead))
            ids.append(new_launch_id(store))
            store.add_launch(ids[-1], {}, ["a"])
    assert ids == sorted(set(ids))
    assert [facts["launch_id"] for facts in launches(store.location)] == ids


def test_setting_the_clock_while_a_launch_runs_changes_no_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    launch_state = LaunchState()
    launch_state.begin(1, 1)
    monkeypatch.setattr(clocks, "utc_now", lambda: dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))
    assert 0 <= launch_state.seconds < PATIENCE


def test_the_clock_of_a_store_is_that_of_its_files_and_reading_it_leaves_no_file(tmp_path: Path) -> None:
    location = Store.open(tmp_path, create=True).location
    before = clocks.store_time(location)
    atomic.publish(location, "claims/x", b"")
    assert before <= clocks.modified_at(location, "claims/x") <= clocks.store_time(location)
    assert os.listdir(tmp_path / "claims") == ["x"]
