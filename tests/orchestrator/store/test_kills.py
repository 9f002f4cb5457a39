"""Kill writers at random moments: every acknowledged row is present exactly once, and no others."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time

import pytest

from sweeplaw.analysis.tables import tables
from sweeplaw.orchestrator.store.compaction import compact
from sweeplaw.orchestrator.store.store import Store

pytestmark = pytest.mark.kill

PER_WRITER = 12


def run_and_kill(zygote, uri, launch, first, after, delay):
    """Start a writer, kill it ``delay`` seconds after ``after`` acknowledgements, and return the acknowledged seeds."""
    zygote.stdin.write(f"{uri}\t{launch}\t{first}\t{PER_WRITER}\n")
    zygote.stdin.flush()
    acknowledged, child, killed = [], 0, False
    for line in iter(zygote.stdout.readline, ""):
        word = line.strip()
        if word == "gone":
            break
        if word.startswith("pid "):
            child = int(word.removeprefix("pid "))
        elif word.isdigit():
            acknowledged.append(int(word))
        if child and not killed and len(acknowledged) >= after:
            time.sleep(delay)
            with contextlib.suppress(ProcessLookupError):  # already finished
                os.kill(child, signal.SIGKILL)
            killed = True
    return acknowledged


def kill_many(zygote, uri, times, seed):
    rng = random.Random(seed)
    acknowledged: set[int] = set()
    for launch in range(times):
        after, delay = rng.randrange(PER_WRITER), rng.expovariate(1 / 0.004)
        acknowledged.update(run_and_kill(zygote, uri, f"launch{launch}", launch * PER_WRITER, after, delay))
        if launch % 25 == 24:
            check(uri, acknowledged, times)
            compact(Store.open(uri).location)
    check(uri, acknowledged, times)
    Store.open(uri).writer("last").close()
    check(uri, acknowledged, times)
    return acknowledged


def check(uri, acknowledged, times):
    loaded = tables.load(uri)
    assert loaded.faults == ()
    assert loaded.dropped == {}
    seen = loaded.trials.collect()["seed"].to_list()
    assert len(seen) == len(set(seen))
    assert acknowledged <= set(seen) <= set(range(times * PER_WRITER))
    # A write killed after its last byte and before its acknowledgement may be present, at most one per writer.
    assert len(set(seen) - acknowledged) <= times
    assert loaded.curves.collect().height == 3 * len(seen)


def test_a_writer_killed_at_random_moments_loses_no_acknowledged_row(zygote, tmp_path):
    uri = str(tmp_path / "store")
    Store.open(uri, create=True)
    acknowledged = kill_many(zygote, uri, times=20, seed=1)
    assert len(acknowledged) > 50


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_hundreds_of_killed_writers_lose_no_acknowledged_row(zygote, tmp_path):
    uri = str(tmp_path / "store")
    Store.open(uri, create=True)
    kill_many(zygote, uri, times=200, seed=2)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_killed_writers_to_a_bucket_lose_no_acknowledged_row(bucket, zygote):
    Store.open(bucket, create=True)
    kill_many(zygote, bucket, times=100, seed=3)
