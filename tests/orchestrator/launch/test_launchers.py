"""Launcher processes on one store: concurrent, killed while they hold claims, on a disk that fills up."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweeplaw.analysis.tables.tables import load
from sweeplaw.orchestrator.store import atomic, claims, clocks
from sweeplaw.orchestrator.store.store import Store

pytestmark = pytest.mark.kill

SWEEP = 'name = "{name}"\nworkload = "surrogate"\nseeds = {seeds}\n[scientific]\nparams = {params}\ntokens = [50, 70]\n'
PATIENCE = 120.0  # seconds; a loaded machine is slow


def start(folder, text, store, **options):
    """Start a launcher of the sweep ``text`` in a process of its own."""
    file = folder / f"{abs(hash(text))}.toml"
    file.write_text(text)
    command = [sys.executable, "-m", "sweeplaw", "launch", file, "--store", store, "--cluster", "inline"]
    return subprocess.Popen(
        [*map(str, command), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def answer(launcher):
    """Return its JSON answer; fail the test when the launcher failed."""
    out, errors = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode == 0, errors
    return json.loads(out)


def rows(store):
    """Return the trials of the store; fail the test when one ran twice or a file is damaged."""
    loaded = load(store, states=None)
    assert (loaded.faults, dict(loaded.dropped)) == ((), {})
    trials = loaded.trials.collect()
    assert trials["trial_id"].n_unique() == trials.height
    assert set(trials["state"]) <= {"completed"}
    return trials


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def recorded(store):
    with contextlib.suppress(Exception):  # it is being created
        return load(store, states=None).trials.collect().height
    return 0


def test_concurrent_launchers_of_overlapping_sweeps_lose_and_repeat_no_trial(tmp_path):
    sweeps = [
        SWEEP.format(name=name, seeds=[0, 1, 2], params=params) + "[fixed]\nseconds = 0.05\n"
        for name, params in (("low", [1000, 2000]), ("high", [2000, 3000]), ("low", [1000, 2000]))
    ]
    launchers = [start(tmp_path, text, tmp_path / "s") for text in sweeps]
    answers = [answer(launcher) for launcher in launchers]
    assert rows(tmp_path / "s").height == sum(one["ran"] for one in answers) == 3 * 3 * 2
    assert all(one["ran"] + one["already"] + one["elsewhere"] == one["planned"] == 12 for one in answers)


@pytest.mark.slow
def test_a_killed_launchers_claims_are_taken_over_at_once_here_and_after_expiry_elsewhere(tmp_path):
    text = SWEEP.format(name="t", seeds=[0, 1, 2], params=[1000, 2000]) + "[fixed]\nseconds = 0.3\n"
    store = tmp_path / "s"
    first = start(tmp_path, text, store)
    until(lambda: recorded(store) >= 2)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    location = Store.open(store).location
    (lease,) = claims.leases(location)
    assert lease.dead
    assert len(lease.trials) == 12

    name = f"claims/{lease.launch_id}.beat.json"
    beat = location.read_json(name)
    beyond = {**beat, "machine": "another", "lease_seconds": 3600}
    atomic.publish_json(location, name, beyond)  # as if on another machine, whose processes cannot be seen
    before = rows(store).height
    during = answer(start(tmp_path, text, store))
    assert (during["ran"], during["already"], during["elsewhere"]) == (0, before, 12 - before)

    atomic.publish_json(location, name, {**beyond, "lease_seconds": 0})
    second = start(tmp_path, text, store)
    until(lambda: recorded(store) >= before + 2)
    second.send_signal(signal.SIGKILL)
    second.communicate()
    done = answer(start(tmp_path, text, store))  # at once: it died on this machine
    assert (done["elsewhere"], done["ran"] + done["already"]) == (0, 12)
    assert rows(store).height == 12
    assert claims.leases(location) == ()


@contextlib.contextmanager
def small_disk(folder):
    """Mount a file system of half a megabyte."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=500k", "none", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can make a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def stopped(launcher):
    _, errors = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode == 1
    assert "Traceback" not in errors
    assert "recorded results are safe; relaunch to continue" in errors
    return errors


BIG = SWEEP.format(name="t", seeds=list(range(100)), params=[1000, 2000])


def test_a_full_disk_stops_a_launch_with_a_message_and_the_next_one_continues(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        filler = disk / "filler"
        filler.write_bytes(bytes(300_000))
        errors = stopped(start(tmp_path, BIG, disk / "s"))
        assert os.strerror(28) in errors  # no space left on device
        before = rows(disk / "s").height
        assert 0 < before < 400
        filler.unlink()
        location = Store.open(disk / "s").location
        assert claims.live_launches(location, clocks.store_time(location)) == set()
        done = answer(start(tmp_path, BIG, disk / "s"))
        assert (done["already"], done["ran"]) == (before, 400 - before)
        assert rows(disk / "s").height == 400


@pytest.mark.slow
def test_a_limit_on_file_size_stops_a_launch_like_a_full_disk(tmp_path):
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))  # noqa: E731
    stopped(start(tmp_path, BIG, tmp_path / "s", preexec_fn=limit))
    before = rows(tmp_path / "s").height
    assert 0 < before < 400
    assert answer(start(tmp_path, BIG, tmp_path / "s"))["already"] == before
    assert rows(tmp_path / "s").height == 400
    assert not list(Path(tmp_path / "s").rglob(".*.parquet.*"))
