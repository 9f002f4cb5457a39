"""Compaction changes the files of a store, never its rows."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeplaw.analysis.tables import tables
from sweeplaw.orchestrator.store import atomic
from sweeplaw.orchestrator.store.compaction import compact
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.store.writer import Writer

NOW = dt.timedelta(0)


def fill(store, record, points, launches=5, each=20):
    for launch in range(launches):
        with Writer(store.location, f"launch{launch}") as writer:
            for seed in range(launch * each, launch * each + each):
                writer.write([record(seed)], points(record(seed)))
    return launches * each


def contents(store):
    loaded = tables.load(store.location.uri, states=None)
    trials = loaded.trials.collect().sort("trial_id")
    curves = loaded.curves.collect().sort("trial_id", "attempt", "step")
    return trials.select(sorted(trials.columns)), curves.select(sorted(curves.columns)), dict(loaded.dropped)


@pytest.mark.heavy
def test_compaction_merges_all_parts_into_one_with_the_same_rows(store, record, points):
    fill(store, record, points)
    before = contents(store)
    done = compact(store.location, grace=NOW)
    after = contents(store)
    assert (done.replaced, done.rows, len(done.merged)) == (5, 100, 1)
    assert store.location.names("trials", ".parquet") == done.merged
    assert before[0].equals(after[0])
    assert before[1].equals(after[1])
    assert compact(store.location).merged == []


@pytest.mark.heavy
def test_replaced_files_are_kept_for_readers_that_have_listed_them(store, record, points):
    fill(store, record, points)
    reader = tables.load(store.location.uri)
    compact(store.location)
    assert reader.trials.collect().height == 100
    assert tables.load(store.location.uri).trials.collect().height == 100
    root = Path(store.location.root)
    temporary = root / "trials" / ".part.parquet.0123abcd"  # of a writer that died before its rename
    temporary.write_bytes(b"")
    os.utime(temporary, (0, 0))
    files = set(root.rglob("*"))
    done = compact(store.location, grace=NOW)
    assert len(store.location.names("trials", ".parquet")) == 1
    assert done.removed == len(files - set(root.rglob("*"))) > 10
    assert not temporary.exists()


@pytest.mark.heavy
def test_later_attempts_supersede_merged_rows_and_earlier_ones_remain_counted(store, record, points):
    fill(store, record, points, launches=2)
    compact(store.location, grace=NOW)
    with Writer(store.location, "again") as writer:
        writer.write([record(3, attempt=2, loss=1.0), record(1000)], points(record(3, attempt=2)))
    before = contents(store)
    assert before[2] == {"earlier attempts or versions, replaced by later ones": 1}
    compact(store.location, grace=NOW)
    assert contents(store)[2] == {"earlier attempts or versions, replaced by later ones": 1}
    assert contents(store)[0].equals(before[0])
    with Writer(store.location, "third") as writer:
        writer.write([record(3, attempt=3, loss=0.5)])
    compact(store.location, grace=NOW)
    trials, _, dropped = contents(store)
    assert dropped == {"earlier attempts or versions, replaced by later ones": 2}
    assert trials.filter(pl.col("trial_id") == record(3).spec.trial_id)["val_loss"].to_list() == [0.5]


@pytest.mark.heavy
def test_merged_parts_never_repeat_a_trial_even_if_they_are_full(store, record, points):
    fill(store, record, points, launches=4)
    compact(store.location, grace=NOW, target_rows=30)
    parts = len(store.location.names("trials", ".parquet"))
    assert parts > 1
    with Writer(store.location, "again") as writer:
        writer.write([record(seed, attempt=2, loss=1.0) for seed in range(0, 80, 9)])
    compact(store.location, grace=NOW, target_rows=30)
    every = pl.concat(
        [
            pl.read_parquet(store.location.path(f"trials/{name}.parquet"), columns=["trial_id", "attempt"])
            for name in store.location.names("trials", ".parquet")
        ]
    )
    assert every.height == every["trial_id"].n_unique() == 80
    assert (every["attempt"] == 2).sum() == 9


def test_a_damaged_part_is_quarantined_and_reported_and_the_rest_merged(store, record, points):
    fill(store, record, points, launches=3)
    name = store.location.names("trials", ".parquet")[1]
    Path(store.location.path(f"trials/{name}.parquet")).write_bytes(b"PAR1 nonsense")
    done = compact(store.location, grace=NOW)
    assert any(f"trials/{name}.parquet" in sentence for sentence in done.quarantined)
    loaded = tables.load(store.location.uri)
    assert loaded.trials.collect().height == 40
    assert any(f"quarantine/trials-{name}.parquet" in fault for fault in loaded.faults)


def test_damage_behind_a_valid_footer_is_found(store, record, points):
    fill(store, record, points, launches=2)
    name = store.location.names("trials", ".parquet")[0]
    path = Path(store.location.path(f"trials/{name}.parquet"))
    data = bytearray(path.read_bytes())
    data[40:60] = bytes(20)
    path.write_bytes(bytes(data))
    done = compact(store.location)
    assert any(name in sentence for sentence in done.quarantined)
    compact(store.location)
    assert tables.load(store.location.uri).trials.collect().height == 20


class Killed(BaseException):
    """Simulated death of the process."""


@pytest.mark.parametrize("attempts", [1, 2])
@pytest.mark.heavy
def test_a_compaction_that_dies_at_any_step_leaves_the_same_rows(tmp_path, record, points, monkeypatch, attempts):
    """Dies at each rename, fsync and unlink in turn; the next compaction completes."""
    step, died = 0, True
    while died:
        store = Store.open(tmp_path / f"store{step}", create=True)
        fill(store, record, points, launches=3, each=4)
        if attempts == 2:
            compact(store.location, grace=NOW)
            with Writer(store.location, "again") as writer:
                writer.write([record(1, attempt=2, loss=1.0)])
        before = contents(store)
        with monkeypatch.context() as patch:
            left = {"steps": step}
            for name in ("replace", "fsync", "unlink"):
                patch.setattr(os, name, dying(getattr(os, name), left))
            patch.setattr("sweeplaw.orchestrator.store.atomic.remove", dying(atomic.remove, left))
            try:
                compact(store.location, grace=NOW)
                died = False
            except Killed:
                assert contents(store)[0].equals(before[0])
                assert contents(store)[1].equals(before[1])
        compact(store.location, grace=NOW)
        after = contents(store)
        assert after[0].equals(before[0])
        assert after[1].equals(before[1])
        assert after[2] == before[2]
        step += 1
    assert step > 10


def dying(call, left):
    def wrapped(*arguments, **options):
        if left["steps"] == 0:
            raise Killed
        left["steps"] -= 1
        return call(*arguments, **options)

    return wrapped


@pytest.mark.heavy
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4)), max_size=6), min_size=1, max_size=5))
def test_the_latest_attempt_counts_for_any_sequence_of_writes_and_compactions(
    tmp_path_factory, record, write_rounds, rounds
):
    """Compared with a dictionary: the latest attempt of each trial, and the number of all others."""
    store = Store.open(tmp_path_factory.mktemp("any") / "store", create=True)
    written = write_rounds(store, rounds)
    latest = {record(seed).spec.trial_id: attempt for seed, attempt in sorted(written)}
    loaded = tables.load(store.location.uri)
    trials = loaded.trials.collect()
    assert dict(trials.select("trial_id", "attempt").iter_rows()) == latest
    assert loaded.dropped.get("earlier attempts or versions, replaced by later ones", 0) == len(written) - len(latest)
