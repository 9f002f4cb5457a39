"""Damage in a store is named, and the answer comes from the rest; it is never silent, and never a traceback."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sweeplaw.analysis.tables import tables
from sweeplaw.analysis.tables.launches import launches
from sweeplaw.orchestrator.importing.importer import import_from
from sweeplaw.orchestrator.launch import retries, usage
from sweeplaw.orchestrator.store import atomic, claims, exclusions, heartbeats, journal
from sweeplaw.orchestrator.store.compaction import compact
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.store.writer import Writer, recover
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.store_format.location import locate
from sweeplaw.trials.store_format.parts import verification
from sweeplaw.trials.store_format.parts.id_index import name_of
from tests.orchestrator.store import damage

FLIPS = 100 * int(os.environ.get("SWEEPLAW_FUZZ", "1"))  # 1,000 take some five minutes
WRONG = {
    "empty": b"",
    "a list": b"[1]",
    "null": b"null",
    "torn": b'{"attempts": {',
    "not UTF-8": b'{"sweep": "\xff"}',
    "deep": b"[" * 100_000,
    "wrong types": b'{"replaces": 3, "later_knobs": 3, "scientific": 3, "retry": {"x": 1}, "attempts": [1],'
    b' "useful": "a", "lease_seconds": "a", "holder": 3, "at": 3, "packs": 3, "trials": "a", "recorded_at": 3}',
    "nested wrong types": b'{"replaces": [3], "later_knobs": {"lr": 1e999}, "scientific": [3], "retry": 3,'
    b' "useful": 1e999, "attempts": {"a": 1e999}, "wasted": {"x": "a"}, "lease_seconds": 1e999, "holder": {},'
    b' "at": "a", "packs": [3], "trials": {}, "recorded_at": "now"}',
}
QUICK = ("torn", "wrong types")  # one that is no JSON, one that is

SMALL = (
    *("launches/*.json", "merges/*.json", "retries/*.json", "usage/*.json", "sealed/*.json"),
    *("claims/*.beat.json", "claims/*.running.json"),
)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A small store with every kind of file, and an open journal."""
    folder = tmp_path_factory.mktemp("sound") / "store"
    writer = damage.open_journal(damage.build(folder))
    yield folder
    writer.close()


@pytest.fixture
def copy(original, tmp_path):
    """A copy of the store, whose claims are as old as in the original."""
    return Path(shutil.copytree(original, tmp_path / "store"))


@pytest.mark.heavy
def test_a_changed_byte_in_any_file_changes_no_answer_or_is_named(original):
    expected, faults = damage.answers(original)
    assert faults == ()
    named = 0
    for path, position in damage.flips(original, FLIPS, seed=1):
        where = f"{path.relative_to(original)}, byte {position}"
        try:
            found, faults = damage.answers(original)
        except InputError as error:
            found, faults = expected, (str(error),)
        assert not faults or any(path.name.partition(".")[0] in fault for fault in faults), where
        assert faults or not damage.differing(found, expected), where
        named += bool(faults)
    assert named > FLIPS / 2
    assert damage.answers(original)[1] == ()


@pytest.mark.parametrize(
    "content", [name if name in QUICK else pytest.param(name, marks=pytest.mark.heavy) for name in WRONG]
)
@pytest.mark.heavy
def test_small_files_with_any_content_are_named(copy, content):
    """Each by itself: a part whose merges/ file is damaged does not count, and then nor does its sealed/ file."""
    for path in [found for pattern in SMALL for found in copy.glob(pattern)]:
        sound = path.read_bytes()
        path.write_bytes(WRONG[content])
        faults = damage.answers(copy)[1]
        assert any(f"{path.parent.name}/{path.name}" in fault for fault in faults), path
        path.write_bytes(sound)
    assert damage.answers(copy)[1] == ()


@pytest.mark.heavy
@pytest.mark.parametrize("content", WRONG)
def test_small_files_damaged_together_end_no_command(copy, content):
    damaged = [next(copy.glob(pattern)) for pattern in SMALL]
    for path in damaged:
        path.write_bytes(WRONG[content])
    named = " ".join(damage.answers(copy)[1])
    assert all(f"{path.parent.name}/{path.name}" in named for path in damaged if path.parent.name != "sealed")


@pytest.mark.heavy
@pytest.mark.parametrize("content", WRONG)
def test_no_traceback_ends_a_compaction_or_a_retry_beside_damage(copy, content):
    for path in [next(copy.glob(pattern)) for pattern in SMALL if not pattern.startswith("merges")]:
        path.write_bytes(WRONG[content])
    (copy / "claims" / "table.json").write_bytes(WRONG[content])
    done = compact(Store.open(copy).location)
    assert len(done.merged) == 1
    assert retries.requeue(Store.open(copy), ["completed"])


@pytest.mark.parametrize(("attempt", "sound"), [(0, True), (2**31 - 1, True), (2**31, False), (-1, False)])
def test_a_retry_after_an_attempt_that_no_row_can_have_is_damage(store: Store, attempt: int, sound: bool) -> None:
    """Attempts of rows are integers of 32 bits."""
    atomic.publish_json(store.location, "retries/asked.json", {"attempts": {"a": attempt}})
    store.attempts()
    store.outcomes()
    named = [problem for problem in store.problems if "retries/asked.json" in problem]
    assert bool(named) is not sound


@pytest.mark.heavy
@pytest.mark.parametrize("folder", ["trials", "curves", "earlier", "merges", "launches"])
def test_damage_in_a_parquet_file_that_reads_like_a_valid_one_is_found(copy, folder):
    """As an uncompressed page of losses does: a changed bit is another number."""
    for path in sorted((copy / folder).glob("*.parquet")):
        content = path.read_bytes()
        path.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
        assert any(f"{folder}/{path.name}" in fault for fault in damage.answers(copy)[1])
        path.write_bytes(content)


@pytest.mark.heavy
@pytest.mark.parametrize("folder", ["trials", "curves", "earlier"])
def test_a_missing_part_is_named(copy, folder):
    for path in sorted((copy / folder).glob("*.parquet")):
        content = path.read_bytes()
        path.unlink()
        assert any(f"{folder}/{path.name} is missing" in fault for fault in damage.answers(copy)[1])
        path.write_bytes(content)
    assert damage.answers(copy)[1] == ()


def test_a_merged_part_without_its_commit_is_named_and_neither_removed_nor_written_beside(copy):
    (commit, *_) = sorted((copy / "merges").glob("*.json"))
    commit.unlink()
    part = copy / "trials" / f"{commit.stem}.parquet"
    os.utime(part, (0, 0))
    assert any(f"merges/{commit.name} is missing" in fault for fault in tables.load(copy).faults)
    assert any(commit.name in fault for fault in compact(Store.open(copy).location).faults)
    assert part.exists()
    with pytest.raises(InputError, match=commit.name):
        Store.open(copy).writer("again")


@pytest.mark.heavy
def test_a_store_without_counts_raises_no_alarm(copy):
    """As older versions wrote it."""
    shutil.rmtree(copy / "sealed")
    assert damage.answers(copy)[1] == ()
    for part in (copy / "curves").glob("*.parquet"):
        part.unlink()
    assert tables.load(copy).faults == ()


@pytest.mark.heavy
def test_compaction_sets_aside_the_damaged_file_alone_and_its_loss_is_then_accepted(copy):
    (part, *_) = sorted((copy / "trials").glob("2026*.parquet"))
    content = part.read_bytes()
    part.write_bytes(content[:300] + bytes([content[300] ^ 1]) + content[301:])
    rows = tables.load(copy, states=None).trials.collect().height
    done = compact(Store.open(copy).location)
    assert done.quarantined == [f"trials/{part.name} is damaged and was moved to quarantine/trials-{part.name}"]
    assert (copy / "curves" / part.name).exists()
    loaded = tables.load(copy, states=None)
    assert loaded.trials.collect().height == rows
    assert [fault for fault in loaded.faults if "set aside" in fault] == list(loaded.faults)
    (copy / "quarantine" / f"trials-{part.name}").unlink()
    assert tables.load(copy).faults == ()


@pytest.mark.heavy
def test_damaged_curves_leave_their_trials(copy):
    (part, *_) = sorted((copy / "curves").glob("merged-*.parquet"))
    part.write_bytes(part.read_bytes()[:-20])
    before = tables.load(copy, states=None).trials.collect().height
    done = compact(Store.open(copy).location, grace=damage.NO_GRACE)
    assert [sentence.split()[0] for sentence in done.quarantined] == [f"curves/{part.name}"]
    assert tables.load(copy, states=None).trials.collect().height == before
    (copy / "quarantine" / f"curves-{part.name}").unlink()
    assert tables.load(copy).faults == ()


@pytest.mark.heavy
def test_a_damaged_index_admits_its_part_and_is_rebuilt(copy):
    location = Store.open(copy).location
    expected = damage.answers(copy)[0]["one"]
    (part,) = compact(location, grace=damage.NO_GRACE).merged
    path = copy / name_of(part)
    for content in (b"", path.read_bytes()[:-8], bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]):
        path.write_bytes(content)
        assert damage.answers(copy)[0]["one"].equals(expected)
        assert compact(location, target_rows=20).indexed == [part]
        assert compact(location, target_rows=20).indexed == []


@pytest.mark.heavy
@pytest.mark.parametrize("folder", ["launches", "usage", "retries", "sealed", "exclusions", "merges"])
def test_a_sound_file_in_the_place_of_another_one_is_named(copy, folder, record):
    """Its own checksum holds: it tells by the name that it carries."""
    store = Store.open(copy)
    for seed in (3, 4):
        exclusions.exclude(store, [record(seed).spec.trial_id], f"because of {seed}")
    retries.requeue(store, ["completed"])
    one, *_ = sorted((copy / folder).glob("*.json"))
    donor = sorted((copy / ("sealed" if folder == "merges" else folder)).glob("*.json"))[-1]
    shutil.copy(donor, one)
    assert any(f"{folder}/{one.name} cannot be read: it was written as" in fault for fault in damage.answers(copy)[1])


@pytest.mark.parametrize("left", [0, 1, 2])
@pytest.mark.heavy
def test_lines_gone_from_the_end_of_an_open_journal_are_named_until_the_loss_is_accepted(
    copy, monkeypatch, record, left
):
    monkeypatch.setattr(journal, "COUNT_SECONDS", 0)
    store = Store.open(copy)
    writer = Writer(store.location, "20260101T000005-ff")
    for seed in range(50, 53):
        writer.write([record(seed)])
    assert damage.answers(copy)[1] == ()
    (path,) = (copy / "journal").glob("20260101T000005-ff*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:left]))
    before = damage.answers(copy)
    assert any(f"{path.name} lacks {3 - left} line" in fault for fault in before[1])
    segment: Any = writer._journal
    os.close(segment._file)  # as if its process had died: now a launch may seal it
    problems = recover(store.location)
    assert any(f"{path.name} lacks {3 - left} line" in fault for fault in problems)
    assert damage.differing(damage.answers(copy)[0], before[0]) == []
    path.with_suffix(".json").unlink()
    assert recover(store.location) == []
    assert damage.answers(copy)[1] == ()
    assert len(store.finished()) == len(before[0]["finished"])


@pytest.mark.heavy
def test_a_line_gone_from_the_middle_of_a_journal_and_a_journal_gone_as_a_whole_are_named(copy):
    (path,) = (copy / "journal").glob("*.jsonl")
    first, _, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + third)
    assert any(f"{path.name} lacks 1 line" in fault for fault in damage.answers(copy)[1])
    path.unlink()
    assert any(f"{path.name} is missing" in fault for fault in damage.answers(copy)[1])
    compact(Store.open(copy).location)
    assert any(f"{path.name} is missing" in fault for fault in damage.answers(copy)[1])


@pytest.mark.heavy
def test_a_damaged_count_of_a_journal_costs_none_of_its_rows(copy):
    expected = damage.answers(copy)[0]
    (count,) = (copy / "journal").glob("*.json")
    count.write_bytes(count.read_bytes().replace(b"lines", b"limes"))
    found, faults = damage.answers(copy)
    assert damage.differing(found, expected) == []
    assert any(count.name in fault for fault in faults)


def test_a_sealed_journal_leaves_no_count(copy):
    store = Store.open(copy)
    writer = damage.open_journal(store)
    assert len(list((copy / "journal").glob("*.json"))) == 2
    writer.close()
    assert len(list((copy / "journal").glob("*.json"))) == 1


@pytest.mark.heavy
def test_a_decision_about_exclusions_that_is_gone_is_missed_by_the_next_one(copy, record):
    store = Store.open(copy)
    ids = [record(seed).spec.trial_id for seed in (3, 4, 5)]
    exclusions.exclude(store, ids[:1], "one")
    exclusions.exclude(store, ids[1:], "two")
    exclusions.restore(store, ids[2:])
    assert damage.answers(copy)[1] == ()
    *earlier, last = sorted((copy / "exclusions").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    for path in earlier:
        content = path.read_bytes()
        path.unlink()
        named = f"exclusions/{path.name} is missing; the trials that it excludes or restores are not"
        assert named in damage.answers(copy)[1]
        path.write_text('{"reason": "lost", "trial_ids": []}')  # as documented: it settles the loss
        assert damage.answers(copy)[1] == ()
        path.write_bytes(content)
    last.unlink()  # as documented: nothing tells of the latest one
    assert damage.answers(copy)[1] == ()


@pytest.mark.heavy
def test_a_repeated_journal_line_counts_once_and_is_named(copy):
    expected = damage.answers(copy)[0]
    (journal,) = (copy / "journal").glob("*.jsonl")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines, lines[1]]))
    found, faults = damage.answers(copy)
    assert damage.differing(found, expected) == []
    assert any("1 damaged lines (4)" in fault for fault in faults)


@pytest.mark.parametrize("name", ["table.json", "20260101T000004-ee.beat.json", "ids"])
def test_no_launch_claims_trials_where_damage_hides_that_another_one_runs_them(copy, record, name):
    location = Store.open(copy).location
    held = record(40).spec.trial_id
    heartbeats.beat(location, "20260101T000004-ee", 60)
    path = next((copy / "claims").glob("*.ids")) if name == "ids" else copy / "claims" / name
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(content)
    if name.endswith("beat.json"):
        assert claims.claim(location, [held], "other", 60) == set()
    else:
        with pytest.raises(InputError, match=path.name):
            claims.claim(location, [held], "other", 60)
        assert not (copy / "claims" / "other.beat.json").exists()
    assert any(path.name in fault for fault in claims.faults(location))
    assert claims.renew(location, "20260101T000004-ee", 60)


def test_a_launch_id_sorts_after_a_launch_whose_record_is_damaged(copy):
    store = Store.open(copy)
    store.add_launch("29990101T000000-ff", {}, ["a"])
    (copy / "launches" / "29990101T000000-ff.json").write_bytes(b"[1]")
    assert f"{store.next_time():%Y}" == "2999"
    assert any("29990101T000000-ff.json" in problem for problem in store.problems)


@pytest.mark.heavy
def test_an_import_beside_damage_names_it(copy, tmp_path):
    (tmp_path / "runs.csv").write_text("n,d,loss\n1e6,1e8,3.0\n")
    part = next(copy.glob("trials/*.parquet"))
    part.write_bytes(b"")
    pairs = ["params_non_embedding=n", "tokens=d", "val_loss=loss"]
    done = import_from(str(tmp_path / "runs.csv"), str(copy), pairs=pairs)
    assert done.added == 1
    assert any(part.name in fault for fault in done.faults)


def test_without_a_list_for_damage_it_raises(copy):
    for folder, read in (("usage", usage.load), ("launches", launches)):
        path = next(copy.glob(f"{folder}/*.json"))
        path.write_bytes(b"[1]")
        with pytest.raises(InputError, match=path.name):
            read(locate(copy))


@pytest.mark.heavy
def test_a_file_is_verified_again_only_when_it_has_changed(copy, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(verification, "REMEMBERED_BYTES", 0)
    read = []
    verify = verification._verify

    def noted(path):
        read.append(path)
        verify(path)

    monkeypatch.setattr(verification, "_verify", noted)
    every = len(list(copy.glob("[tce]*/*.parquet")))
    for expected in (every, 0):
        monkeypatch.setattr(verification, "_verified", {})  # as in a new process
        read.clear()
        assert tables.load(copy).faults == ()
        assert len(read) == expected
    os.utime(part := next(copy.glob("trials/*.parquet")), (1, 1))
    monkeypatch.setattr(verification, "_verified", {})
    assert tables.load(copy).faults == ()
    assert read == [str(part)]


@pytest.mark.parametrize("memory", [b"", b"[1]", b'{"a": 1}', None])
def test_a_cache_that_cannot_be_used_changes_nothing(copy, monkeypatch, tmp_path, memory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(verification, "REMEMBERED_BYTES", 0)
    monkeypatch.setattr(verification, "_verified", {})
    if memory is None:
        (tmp_path / "cache").write_text("a file, no folder")
    else:
        assert tables.load(copy).faults == ()
        (path,) = (tmp_path / "cache").glob("sweeplaw/verified/*.json")
        path.write_bytes(memory)
        monkeypatch.setattr(verification, "_verified", {})
    assert tables.load(copy).faults == ()


def test_a_part_of_an_older_version_is_verified_by_the_checksums_of_its_pages(store, record):
    with store.writer("one") as writer:
        writer.write([record(seed, loss=2.0 + seed / 7) for seed in range(100)])
    (path,) = Path(store.location.path("trials/x")).parent.glob("*.parquet")
    content = path.read_bytes().replace(b"sweeplaw.file_crc32", b"another_program_key")
    path.write_bytes(content)
    assert tables.load(store.location.uri).faults == ()
    losses = pl.Series([2.0 + 50 / 7]).to_numpy().tobytes()
    path.write_bytes(content.replace(losses, pl.Series([12.0 + 50 / 7]).to_numpy().tobytes()))
    assert content != path.read_bytes()
    assert any(path.name in fault for fault in tables.load(store.location.uri).faults)
