"""Guarantees of a store: every acknowledged row is present exactly once, whichever files hold it."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import pytest

from sweeplaw.analysis.tables import tables
from sweeplaw.orchestrator.store.journal import LocalJournal
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.store.writer import StoreWriteError, Writer
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.store_format.layout import MARKER


def ids(store, **options):
    return sorted(tables.load(store.location.uri, states=None, **options).trials.collect()["trial_id"].to_list())


def test_rows_are_the_same_in_the_journal_and_in_the_sealed_part(store, record, points):
    first = record(1)
    writer = store.writer("one")
    writer.write([first], points(first))
    before = tables.load(store.location.uri)
    open_rows = before.trials.collect(), before.curves.collect()
    writer.close()
    assert store.location.names("journal", ".jsonl") == []
    after = tables.load(store.location.uri)
    assert after.trials.collect().equals(open_rows[0])
    assert after.curves.collect().equals(open_rows[1])
    assert open_rows[0].row(0, named=True).items() >= {k: v for k, v in first.row().items() if v is not None}.items()


def test_an_open_journal_may_have_rows_of_one_table_only(store, record, points):
    with contextlib.closing(store.writer("one")) as writer:
        writer.write([], points(record(1)))
        before = tables.load(store.location.uri)
        assert (before.trials.collect().height, before.curves.collect().height) == (0, 3)
    with contextlib.closing(store.writer("two")) as writer:
        writer.write([record(2)])
        after = tables.load(store.location.uri)
        assert (after.trials.collect().height, after.curves.collect().height) == (1, 3)


def test_finished_returns_the_state_of_the_latest_attempt(store, record):
    with store.writer("one") as writer:
        writer.write([record(1, state="failed"), record(2), record(3, state="diverged", loss=float("nan"))])
        writer.write([record(1, attempt=2)])
    names = {record(seed).spec.trial_id: seed for seed in (1, 2, 3)}
    finished = {names[trial]: state for trial, state in store.finished().items()}
    assert finished == {1: "completed", 2: "completed", 3: "diverged"}
    assert {names[trial]: count for trial, count in store.attempts().items()} == {1: 2, 2: 1, 3: 1}


def test_an_attempt_with_only_curve_points_counts_as_an_attempt(store, record, points):
    with store.writer("one") as writer:
        writer.write([], points(record(1)))
    assert store.attempts() == {record(1).spec.trial_id: 1}
    assert store.finished() == {}


def test_a_torn_last_line_is_dropped_and_reported_and_earlier_lines_kept(store, record):
    writer = store.writer("one")
    writer.write([record(1)])
    writer.write([record(2)])
    path = store.location.path(f"journal/{store.location.names('journal', '.jsonl')[0]}.jsonl")
    assert isinstance(writer._journal, LocalJournal)
    os.close(writer._journal._file)
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) - 7)
    assert ids(store) == [record(1).spec.trial_id]
    fresh = Store.open(store.location.uri)
    fresh.writer("two").close()
    assert [problem for problem in fresh.problems if "torn last line" in problem]
    assert ids(fresh) == [record(1).spec.trial_id]


def test_a_damaged_line_is_reported_and_the_others_are_read(store, record):
    writer = store.writer("one")
    for seed in range(3):
        writer.write([record(seed)])
    path = store.location.path(f"journal/{store.location.names('journal', '.jsonl')[0]}.jsonl")
    lines = Path(path).read_bytes().split(b"\n")
    lines[1] = lines[1].replace(b"surrogate", b"surrogatf")
    Path(path).write_bytes(b"\n".join(lines))
    loaded = tables.load(store.location.uri)
    assert loaded.trials.collect().height == 2
    assert "1 damaged lines (2)" in loaded.faults[0]


def test_a_write_to_a_full_disk_raises_changes_nothing_and_can_be_retried(store, record, monkeypatch):
    writer = store.writer("one")
    writer.write([record(1)])
    full = {"now": True}
    real = os.write

    def write(descriptor, data):
        if not full["now"]:
            return real(descriptor, data)
        real(descriptor, bytes(data)[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sweeplaw.orchestrator.store.journal.os.write", write)
    with pytest.raises(StoreWriteError, match="No space left"):
        writer.write([record(2)])
    assert ids(store) == [record(1).spec.trial_id]
    full["now"] = False
    writer.write([record(2)])
    writer.close()
    assert ids(store) == sorted(record(seed).spec.trial_id for seed in (1, 2))


def test_a_segment_that_cannot_be_sealed_remains_readable_as_a_journal(store, record, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("sweeplaw.orchestrator.store.atomic.publish_table", full)
        with store.writer("one") as writer:
            writer.write([record(1)])
    assert ids(store) == [record(1).spec.trial_id]
    store.writer("two").close()
    assert store.location.names("journal", ".jsonl") == []
    assert ids(store) == [record(1).spec.trial_id]


def test_a_segment_is_sealed_when_it_has_grown(store, record):
    with Writer(store.location, "one", segment_bytes=2_000) as writer:
        for seed in range(20):
            writer.write([record(seed)])
    assert len(store.location.names("trials", ".parquet")) >= 5
    assert len(ids(store)) == 20


def test_the_journal_of_a_live_writer_is_not_recovered(store, record):
    writer = store.writer("one")
    writer.write([record(1)])
    store.writer("two").close()
    assert len(store.location.names("journal", ".jsonl")) == 1
    writer.write([record(2)])
    writer.close()
    assert len(ids(store)) == 2


def test_a_journal_removed_between_its_creation_and_its_lock_is_not_written_to(store, monkeypatch):
    def removed(descriptor, *, wait):
        for name in store.location.names("journal", ".jsonl"):
            os.unlink(store.location.path(f"journal/{name}.jsonl"))
        return True

    monkeypatch.setattr("sweeplaw.orchestrator.store.journal.lock", removed)
    with pytest.raises(FileNotFoundError):
        LocalJournal(store.location, "one-0")


def test_a_value_that_does_not_fit_its_column_is_null_and_reported_in_the_message(store, record):
    odd = record(1).row() | {"val_loss": "low", "params": 1.5, "state": "failed"}
    with store.writer("one") as writer:
        writer.write_rows([odd])
    row = tables.load(store.location.uri, states=None).trials.collect().row(0, named=True)
    assert row["val_loss"] is None
    assert row["params"] is None
    assert "val_loss = 'low' is not float" in row["message"]


def test_knobs_of_different_sweeps_share_one_table_with_nulls_and_the_wider_type(store, record):
    with store.writer("one") as writer:
        writer.write([record(1, depth=4)])
    with store.writer("two") as writer:
        writer.write([record(2, depth=4.5), record(3, flavour="sweet")])
    with store.writer("three") as writer:
        writer.write([record(4, flavour=7)])
    frame = tables.load(store.location.uri).trials.collect().sort("seed")
    assert frame["depth"].to_list() == [4.0, 4.5, None, None]
    assert frame["flavour"].to_list() == [None, None, "sweet", "7"]


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        (None, "is not a sweeplaw store"),
        ("nonsense", "cannot be read"),
        (json.dumps({"format": "another", "schema": 1}), "is not a sweeplaw store"),
        (json.dumps({"format": "sweeplaw store", "schema": 99}), "schema 99"),
    ],
)
def test_a_folder_that_is_not_a_store_or_a_newer_one_is_refused(tmp_path, marker, words):
    if marker is not None:
        (tmp_path / MARKER).write_text(marker)
    for opened in (Store.open, tables.load):
        with pytest.raises(InputError, match=words):
            opened(tmp_path)


def test_a_folder_with_other_files_does_not_become_a_store(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="other files in it"):
        Store.open(tmp_path, create=True)


def test_opening_an_existing_store_with_create_changes_nothing(store, record):
    with store.writer("one") as writer:
        writer.write([record(1)])
    assert Store.open(store.location.uri, create=True).finished() == store.finished()


def test_launch_facts_round_trip(store):
    store.add_launch("one", {"command": "sweeplaw launch demo.toml"}, planned=["a", "b"])
    (facts,) = tables.load(store.location.uri).launches
    assert facts["command"] == "sweeplaw launch demo.toml"
    with pytest.raises(InputError, match="launch id"):
        store.add_launch("../one", {})


def test_a_corrupt_part_is_reported_and_the_rest_is_read(store, record):
    for launch in ("one", "two"):
        with store.writer(launch) as writer:
            writer.write([record(1 if launch == "one" else 2)])
    name = store.location.names("trials", ".parquet")[0]
    path = store.location.path(f"trials/{name}.parquet")
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: len(data) // 2])
    loaded = tables.load(store.location.uri)
    assert loaded.trials.collect().height == 1
    assert f"trials/{name}.parquet cannot be read" in loaded.faults[0]
    assert len(store.finished()) == 1
    assert store.problems == loaded.faults


def test_curves_have_the_latest_attempt_and_running_trials(store, record, points):
    with store.writer("one") as writer:
        writer.write([record(1, state="failed")], points(record(1, state="failed"), steps=5))
        writer.write([record(1, attempt=2)], points(record(1, attempt=2), steps=2))
        writer.write([], points(record(2), steps=4))
    curves = tables.load(store.location.uri).curves.collect()
    steps = dict(curves.group_by("trial_id").len().iter_rows())
    assert steps == {record(1).spec.trial_id: 2, record(2).spec.trial_id: 4}


def test_a_store_that_another_launcher_is_creating_can_be_opened(tmp_path):
    for folder in ("launches", "journal"):
        (tmp_path / folder).mkdir()
    (tmp_path / ".store.json.0badcafe").write_text("{")
    assert Store.open(tmp_path, create=True).finished() == {}
    (tmp_path / "store.json").unlink()
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="other files in it"):
        Store.open(tmp_path, create=True)


@pytest.mark.parametrize("uri", ["s3://", "gs:///x", "file://", "file://host/x", "s3://[", "://x"])
def test_an_address_that_names_nothing_is_refused_in_a_message(uri):
    with pytest.raises(InputError, match=r"names no bucket|is not the address|is no address"):
        Store.open(uri)
    with pytest.raises(InputError, match=r"names no bucket|is not the address|is no address"):
        tables.load(uri)
