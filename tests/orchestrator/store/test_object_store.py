"""Stores on an object store: moto's S3 on loopback, configured by environment variables."""

from __future__ import annotations

import datetime as dt
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

from tests.paths import ROOT

pytest.importorskip("moto", reason="moto[server] emulates S3")
pytest.importorskip("obstore", reason="claims on an object store need obstore")

from sweeplaw.analysis.tables import tables
from sweeplaw.orchestrator.store import atomic, compare_and_swap
from sweeplaw.orchestrator.store.compaction import compact
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.store_format.parts import verification

pytestmark = pytest.mark.kill


def test_rows_in_a_bucket_are_readable_before_and_after_sealing(bucket, record, points):
    store = Store.open(bucket, create=True)
    writer = store.writer("one")
    writer.write([record(1)], points(record(1)))
    writer.write([record(2)], points(record(2)))
    before = tables.load(bucket)
    assert before.curves.collect().height == 6
    writer.close()
    assert store.location.names("journal", ".jsonl") == []
    after = tables.load(bucket)
    assert after.trials.collect().equals(before.trials.collect())
    assert len(Store.open(bucket).finished()) == 2


def test_a_row_is_written_by_one_request_and_a_large_object_in_parts_both_whole(bucket, record):
    import obstore

    store = Store.open(bucket, create=True)
    store.writer("one").write([record(1)])
    (journal,) = store.location.names("journal", ".jsonl")
    large = os.urandom(2**20) * 12
    atomic.publish(store.location, "launches/large.json", large)
    assert store.location.read("launches/large.json") == large
    seen = compare_and_swap._bucket(store.location)
    parts = str(obstore.head(seen, "launches/large.json")["e_tag"])
    whole = str(obstore.head(seen, f"journal/{journal}.jsonl")["e_tag"])
    assert "-" in parts, "a digest of parts ends with their number"
    assert "-" not in whole or int(pa.__version__.partition(".")[0]) < 21


def test_a_uri_that_is_not_a_store_is_refused_without_showing_secrets(bucket, record):
    with pytest.raises(InputError, match="is not a sweeplaw store"):
        Store.open(bucket)
    with pytest.raises(InputError) as caught:
        Store.open("s3://key:secret@bucket/store")
    assert "key:secret" not in str(caught.value)


def test_compaction_of_a_bucket_leaves_the_same_rows(bucket, record, points):
    store = Store.open(bucket, create=True)
    for launch in range(3):
        with store.writer(f"launch{launch}") as writer:
            for seed in range(launch * 3, launch * 3 + 3):
                writer.write([record(seed)], points(record(seed)))
    before = tables.load(bucket).trials.collect().sort("trial_id")
    assert compact(store.location).rows == 9
    assert tables.load(bucket).trials.collect().sort("trial_id").equals(before)
    assert compact(store.location).merged == []


@pytest.fixture
def stored(bucket, record, points, monkeypatch, tmp_path):
    """A store of two sealed parts, and calls that change one of its objects."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = Store.open(bucket, create=True)
    for launch in range(2):
        with store.writer(f"launch{launch}") as writer:
            rows = [record(seed, loss=2.0 + seed / 7) for seed in range(launch * 20, launch * 20 + 20)]
            writer.write(rows, [point for row in rows for point in points(row)])
    return store


def rewritten(store, name, change):
    """Replace an object by what ``change`` makes of its bytes."""
    atomic.publish(store.location, name, change(bytearray(store.location.read(name))))


def flipped(content):
    content[len(content) // 3] ^= 1
    return bytes(content)


@pytest.mark.parametrize("folder", ["trials", "curves"])
def test_a_changed_byte_of_an_object_and_an_object_in_the_place_of_another_are_named(stored, folder):
    one, other = (f"{folder}/{name}.parquet" for name in stored.location.names(folder, ".parquet"))
    sound = stored.location.read(one)
    rewritten(stored, one, flipped)
    assert any(f"{one} is damaged inside" in fault for fault in tables.load(stored.location.uri).faults)
    rewritten(stored, one, lambda _: stored.location.read(other))
    assert any(f"{one} does not count: it was written as" in fault for fault in tables.load(stored.location.uri).faults)
    rewritten(stored, one, lambda _: sound)
    assert tables.load(stored.location.uri).faults == ()


def test_an_object_is_downloaded_once_per_state_and_a_large_one_only_before_its_sources_go(stored, monkeypatch):
    read, verify = [], verification._verify_content

    def noted(file, source):
        read.append(source)
        verify(file, source)

    monkeypatch.setattr(verification, "_verify_content", noted)
    for expected in (4, 0):
        monkeypatch.setattr(verification, "_verified", {})  # as in a new process
        read.clear()
        assert tables.load(stored.location.uri).faults == ()
        assert len(read) == expected
    monkeypatch.setattr(verification, "DOWNLOADED_BYTES", 0)
    (merged,) = compact(stored.location).merged
    read.clear()
    rewritten(stored, f"trials/{merged}.parquet", flipped)
    assert tables.load(stored.location.uri).faults == ()  # as documented
    assert read == []
    assert compact(stored.location, grace=dt.timedelta(0)).removed == 0
    assert len(stored.location.names("trials", ".parquet")) == 3


def test_a_line_gone_from_the_middle_of_a_journal_of_objects_is_named(bucket, record):
    store = Store.open(bucket, create=True)
    writer = store.writer("one")
    for seed in range(4):
        writer.write([record(seed)])
    assert tables.load(bucket).faults == ()
    _, second, third, _ = store.location.names("journal", ".jsonl")
    atomic.remove(store.location, f"journal/{second}.jsonl")
    atomic.remove(store.location, f"journal/{third}.jsonl")
    assert tables.load(bucket).faults == (f"journal/{second}.jsonl is missing, and 1 after it",)
    writer.close()
    assert tables.load(bucket).faults == ()


def test_concurrent_launches_on_a_bucket_claim_disjoint_trials(bucket):
    Store.open(bucket, create=True)
    wanted = [f"trial{number}" for number in range(24)]
    granted: dict[str, set[str]] = {}

    def launch(name: str) -> None:
        own = Store.open(bucket)
        taken: set[str] = set()
        for start in range(0, 24, 6):
            taken |= own.claim(wanted[start : start + 6], name, 60)
        granted[name] = taken

    threads = [threading.Thread(target=launch, args=(f"launch{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(trial for taken in granted.values() for trial in taken) == sorted(wanted)


def test_concurrent_updates_of_one_object_are_all_applied(bucket):
    """The loser of a conditional PUT retries, so no increment is lost."""
    location = Store.open(bucket, create=True).location

    def count() -> None:
        for _ in range(5):
            compare_and_swap.update(
                location, "claims/count.json", lambda content: {"count": content.get("count", 0) + 1}
            )

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert location.read_json("claims/count.json") == {"count": 20}


def test_a_writer_to_a_bucket_killed_at_random_moments_loses_no_acknowledged_row(bucket, record, points):
    rng = random.Random(5)
    store = Store.open(bucket, create=True)
    acknowledged: set[int] = set()
    script = Path(__file__).with_name("bucket_writer.py")
    path = os.pathsep.join([str(ROOT), str(script.parent)])
    for launch in range(3):
        command = [sys.executable, str(script), bucket, f"launch{launch}", str(launch * 1000)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})
        enough = rng.randrange(1, 25)
        assert process.stdout is not None
        for line in process.stdout:
            acknowledged.add(int(line))
            if len(acknowledged) % 1000 and int(line) % 1000 >= enough:
                time.sleep(rng.uniform(0, 0.05))
                process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    loaded = tables.load(bucket)
    seeds = loaded.trials.collect()["seed"].to_list()
    assert loaded.faults == ()
    assert len(seeds) == len(set(seeds))
    assert acknowledged <= set(seeds)
    assert len(set(seeds) - acknowledged) <= 3
    assert loaded.curves.collect().height == 3 * len(seeds)
    assert len(store.finished()) == len(seeds)
