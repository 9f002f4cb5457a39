"""What a merge replaces is kept until the merged part is verified, and stands in for it while it is damaged."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from pyarrow.fs import LocalFileSystem

from sweeplaw.analysis.tables import tables
from sweeplaw.orchestrator.store import atomic, claims, clocks, compaction
from sweeplaw.orchestrator.store.compaction import compact
from sweeplaw.orchestrator.store.exclusions import exclude
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.store.writer import Writer
from sweeplaw.trials.store_format.journal import encode
from sweeplaw.trials.store_format.location import Location
from tests.conftest import make_points, make_record
from tests.orchestrator.store.damage import NO_GRACE
from tests.orchestrator.store.hostile import age, run
from tests.orchestrator.store.test_compaction import Killed, contents, dying


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[300] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "a flipped bit": flip,
    "torn": lambda path: os.truncate(path, 1000),
}


def write(store: Store, launch: str, seeds: range, **facts) -> None:
    with Writer(store.location, launch) as writer:
        for seed in seeds:
            writer.write([made := make_record(seed, launch=launch, **facts)], make_points(made))


@pytest.fixture(scope="module")
def merged(tmp_path_factory) -> Path:
    """A store with a merged part that has earlier attempts, and the parts it was merged from."""
    folder = tmp_path_factory.mktemp("merged") / "store"
    store = Store.open(folder, create=True)
    write(store, "a", range(12))
    write(store, "b", range(12, 14), state="failed")
    write(store, "c", range(12, 13), attempt=2)
    compact(store.location)
    return folder


@pytest.fixture
def copy(merged, tmp_path) -> Store:
    return Store.open(shutil.copytree(merged, tmp_path / "store"))


def the_merged(store: Store, folder: str = "trials") -> Path:
    (path,) = Path(store.location.root, folder).glob("merged-*.parquet")
    return path


def same(found, expected) -> bool:
    return all(a.equals(b) for a, b in zip(found[:2], expected[:2], strict=True)) and found[2] == expected[2]


@pytest.mark.heavy
@pytest.mark.parametrize("folder", ["trials", "curves", "earlier"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_sources_stand_in_for_a_damaged_merged_part_and_are_merged_anew(copy, folder, kind):
    expected = contents(copy)
    path = the_merged(copy, folder)
    DAMAGE[kind](path)
    age(Path(copy.location.root))
    (fault,) = tables.load(copy.location.uri).faults
    assert f"{folder}/{path.name}" in fault
    assert same(contents(copy), expected)
    done = compact(copy.location)
    assert (done.replaced, done.removed, done.quarantined) == (3, 0, [])
    assert [sentence.split()[0] for sentence in done.undone] == [f"{folder}/{path.name}"]
    assert same(contents(copy), expected)
    age(Path(copy.location.root))
    assert compact(copy.location).removed > 0
    assert len(copy.location.names("trials", ".parquet")) == 1
    assert same(contents(copy), expected)
    assert tables.load(copy.location.uri).faults == ()


@pytest.mark.parametrize("kind", DAMAGE)
def test_if_only_some_sources_are_left_they_count_and_nothing_is_removed(copy, kind):
    path = the_merged(copy)
    content = path.read_bytes()
    expected = contents(copy)
    next(path.parent.glob("a-*.parquet")).unlink()
    DAMAGE[kind](path)
    assert tables.load(copy.location.uri, states=None).trials.collect().height == 2
    age(Path(copy.location.root))
    before = sorted(path.parent.parent.rglob("*"))
    done = compact(copy.location, grace=NO_GRACE)
    assert (done.merged, done.removed, done.undone, done.quarantined) == ([], 0, [], [])
    assert any(path.name in fault for fault in done.faults)
    assert sorted(path.parent.parent.rglob("*")) == before
    path.write_bytes(content)
    assert same(contents(copy), expected)


def test_damaged_curves_do_not_replace_trials_whose_sources_are_gone(copy):
    next(the_merged(copy).parent.glob("a-*.parquet")).unlink()
    the_merged(copy, "curves").unlink()
    assert tables.load(copy.location.uri, states=None).trials.collect().height == 14


def test_a_merge_without_a_count_is_verified_before_its_sources_are_removed(copy):
    """As when the compaction died before it counted the rows."""
    for path in Path(copy.location.root, "sealed").glob("merged-*.json"):
        path.unlink()
    content = (path := the_merged(copy, "curves")).read_bytes()
    path.unlink()
    assert compact(copy.location, grace=NO_GRACE).removed == 0
    path.write_bytes(content)
    assert compact(copy.location, grace=NO_GRACE).removed > 0


@pytest.mark.heavy
def test_a_repair_that_dies_at_any_step_leaves_the_same_rows(merged, tmp_path, monkeypatch):
    step, died = 0, True
    while died:
        store = Store.open(shutil.copytree(merged, tmp_path / str(step)))
        expected = contents(store)
        flip(the_merged(store, "curves"))
        with monkeypatch.context() as patch:
            left = {"steps": step}
            patch.setattr(os, "replace", dying(os.replace, left))
            patch.setattr("sweeplaw.orchestrator.store.atomic.remove", dying(atomic.remove, left))
            try:
                compact(store.location, grace=NO_GRACE)
                died = False
            except Killed:
                assert same(contents(store), expected)
        compact(store.location, grace=NO_GRACE)
        assert same(contents(store), expected)
        step += 1
    assert step > 10


@pytest.mark.heavy
@pytest.mark.parametrize("folder", ["trials", "curves", "earlier"])
def test_another_file_under_the_name_of_a_part_is_damage(copy, tmp_path, folder):
    other = Store.open(tmp_path / "other", create=True)
    write(other, "a", range(3))
    write(other, "a", range(2), attempt=2)
    write(other, "a", range(2), attempt=3)
    compact(other.location)
    shutil.copy(the_merged(other, folder), path := the_merged(copy, folder))
    expected = contents(copy)
    (fault,) = tables.load(copy.location.uri).faults
    assert f"{folder}/{path.name} does not count" in fault
    assert compact(copy.location).replaced == 3
    assert same(contents(copy), expected)


@pytest.mark.parametrize("older", [False, True])
def test_a_part_restored_under_the_name_of_another_is_named_and_kept(store, monkeypatch, older):
    if older:  # a file of an older version does not carry its name: only the number of rows tells
        monkeypatch.setattr(atomic, "NAME_KEY", "another key")
    write(store, "a", range(24))
    write(store, "b", range(24, 26 if older else 48), state="failed")
    first, second = sorted(Path(store.location.root, "trials").glob("*.parquet"))
    shutil.copy(first, second)
    named = "it has 24 rows, and sealed" if older else f"it was written as 'trials/{first.name}'"
    assert any(named in fault for fault in tables.load(store.location.uri).faults)
    assert [sentence.split()[0] for sentence in compact(store.location).quarantined] == [f"trials/{second.name}"]
    assert tables.load(store.location.uri, states=None).trials.collect().height == 24


@pytest.mark.heavy
def test_a_part_without_its_curves_is_not_merged_until_they_are_restored(store):
    write(store, "a", range(3))
    write(store, "b", range(3, 6))
    expected = contents(store)
    path = next(Path(store.location.root, "curves").glob("a-*.parquet"))
    content = path.read_bytes()
    path.unlink()
    for _ in range(2):
        assert any("is missing" in fault for fault in compact(store.location, grace=NO_GRACE).faults)
    path.write_bytes(content)
    assert same(contents(store), expected)
    assert compact(store.location, grace=NO_GRACE).faults == []


@pytest.mark.parametrize("rows", ["-1", "1e300", "2.5", "true", '"3"', "null", "[3]"])
def test_an_absurd_count_is_damage_of_the_seal_and_its_part_counts(store, rows):
    write(store, "a", range(3))
    (seal,) = Path(store.location.root, "sealed").glob("*.json")
    seal.write_text(f'{{"trials": {rows}}}')
    (fault,) = tables.load(store.location.uri).faults
    assert fault.startswith(f"sealed/{seal.name} cannot be read")
    assert tables.load(store.location.uri).trials.collect().height == 3


def forge(store: Store, merge: str, replaces: list[str]) -> None:
    atomic.publish_json(store.location, f"merges/{merge}.json", {"replaces": replaces, "rows": 0})


def parts_of(store: Store) -> list[str]:
    return [name for name in store.location.names("trials", ".parquet") if not name.startswith("merged-")]


@pytest.mark.parametrize("absent", [1, 2, 3])
def test_forged_merges_of_parts_that_replace_each_other_hide_no_rows(copy, absent):
    compact(copy.location, grace=NO_GRACE)
    write(copy, "d", range(20, 24))
    expected, parts = contents(copy), parts_of(copy)
    names = [f"merged-forged{number}" for number in range(absent)]
    for number, name in enumerate(names):
        forge(copy, name, [names[(number + 1) % absent], *parts])
    assert same(contents(copy), expected)
    assert all(any(name in fault for fault in tables.load(copy.location.uri).faults) for name in names)
    done = compact(copy.location, grace=NO_GRACE)
    assert done.faults or done.undone
    assert same(contents(copy), expected)


@pytest.mark.heavy
def test_merged_parts_that_replace_themselves_or_each_other_count(copy):
    write(copy, "d", range(20, 24))
    compact(copy.location, grace=NO_GRACE, target_rows=4)
    expected, merges = contents(copy), copy.location.names("merges", ".json")
    assert len(merges) == 2
    for replaced in ([[merges[0]], [merges[1]]], [[merges[1]], [merges[0]]], [merges, merges]):
        for merge, replaces in zip(merges, replaced, strict=True):
            forge(copy, merge, replaces)
        assert same(contents(copy), expected)
        assert len(tables.load(copy.location.uri).faults) == 2
        assert compact(copy.location, grace=NO_GRACE).removed == 0


def test_a_merges_file_of_an_ordinary_part_hides_nothing(store):
    write(store, "a", range(3))
    write(store, "b", range(3, 6))
    expected = contents(store)
    one, other = parts_of(store)
    forge(store, one, [other, one])
    forge(store, other, [one])
    assert same(contents(store), expected)
    assert len(tables.load(store.location.uri).faults) == 2


SMALL_DAMAGE: dict[str, Callable[[Path], object]] = {
    "a missing part": lambda root: next(root.glob("trials/new-*.parquet")).unlink(),
    "a bad seal": lambda root: next(root.glob("sealed/newer-*.json")).write_text("["),
    "a bad exclusion": lambda root: next(root.glob("exclusions/*.json")).write_text("["),
    "a bad launch": lambda root: next(root.glob("launches/*.json")).write_text("["),
    "a bad plan": lambda root: next(root.glob("launches/*.parquet")).write_text("["),
    "a bad retry": lambda root: (root / "retries/x.json").write_text("["),
    "a bad usage": lambda root: (root / "usage/x.json").write_text("["),
    "a bad forecast": lambda root: (root / "forecasts/x.json").write_text("["),
    "bad claims": lambda root: (root / "claims/table.json").write_text("["),
    "a bad line": lambda root: (root / "journal/e-0.jsonl").write_bytes(b"00000000 {}\n"),
    "a file as a folder": lambda root: (root / "logs").write_text("a file"),
}


@pytest.fixture(scope="module")
def complete(tmp_path_factory) -> Path:
    """A store with a small file of each kind."""
    store = Store.open(tmp_path_factory.mktemp("complete") / "store", create=True)
    write(store, "d", range(20, 24))
    store.add_launch("d", {}, ["a"])
    exclude(store, [make_record(20).spec.trial_id], "a test")
    for folder in ("usage", "forecasts"):
        (Path(store.location.root) / folder).mkdir()
    assert run("compact", store.location.root)[0] == 0
    write(store, "new", range(24, 28))
    write(store, "newer", range(28, 30))
    return Path(store.location.root)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", SMALL_DAMAGE)
def test_compact_names_damage_of_every_kind(complete, tmp_path, kind):
    root = shutil.copytree(complete, tmp_path / "store")
    SMALL_DAMAGE[kind](root)
    code, text = run("compact", root)
    assert (code, "damaged: " in text) == (3, True)


@pytest.mark.heavy
def test_compact_names_all_damage_that_reading_commands_name(complete, tmp_path):
    root = shutil.copytree(complete, tmp_path / "store")
    for destroy in SMALL_DAMAGE.values():
        destroy(root)
    read = "".join(run(*words)[1] for words in (("query", root, "select count(*) from trials"), ("status", root)))
    named = {line for line in read.splitlines() if line.startswith("damaged: ")}
    assert len(named) >= len(SMALL_DAMAGE) - 1  # `forecast` names the forecasts
    assert named <= {*run("compact", root)[1].splitlines()}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ('{"format": "sweeplaw store", "schema": "2"}', "schema is '2' (accepted: a whole number"),
        ('{"format": "sweeplaw store"}', "schema is None"),
        ('{"format": "other", "schema": 2}', "is not a sweeplaw store (store.json has format 'other')"),
        ("\0" * 50, "it holds nothing but NUL bytes"),
        ("", "it is empty"),
    ],
)
def test_what_is_wrong_with_the_marker_is_said(store, content, named):
    Path(store.location.path("store.json")).write_text(content)
    code, text = run("query", store.location.root)
    assert code == 2
    assert named in " ".join(text.split())


def test_a_file_in_the_place_of_a_folder_is_called_a_file(store):
    Path(store.location.path("merges")).rmdir()
    Path(store.location.path("merges")).write_text("x")
    assert tables.load(store.location.uri).faults == ("merges cannot be read: it is a file, not a folder",)


def test_a_merged_part_whose_commit_and_count_are_lost_is_kept_and_named(copy):
    path = the_merged(copy)
    content = (commit := Path(copy.location.path(f"merges/{path.stem}.json"))).read_bytes()
    expected = contents(copy)
    compact(copy.location, grace=NO_GRACE)
    commit.unlink()
    Path(copy.location.path(f"sealed/{path.stem}.json")).unlink()
    age(Path(copy.location.root))
    (fault,) = compact(copy.location, grace=NO_GRACE).faults
    assert commit.name in fault
    commit.write_bytes(content)
    assert same(contents(copy), expected)


def test_a_merged_part_of_a_compaction_that_died_is_removed(copy):
    (name,) = copy.location.names("merges", ".json")
    for folder in ("merges", "sealed"):
        Path(copy.location.path(f"{folder}/{name}.json")).unlink()
    expected = contents(copy)
    age(Path(copy.location.root))
    done = compact(copy.location, grace=NO_GRACE)
    assert (done.replaced, done.faults) == (3, [])
    assert name not in copy.location.names("trials", ".parquet")
    assert same(contents(copy), expected)


def test_rows_are_read_once_beside_every_damage_of_merged_parts(copy):
    """The ids over all tables, which a double count would repeat."""
    flip(the_merged(copy))
    ids = tables.load(copy.location.uri, states=None).trials.collect()["trial_id"]
    assert ids.n_unique() == ids.len() == 14
    points = tables.load(copy.location.uri, states=None).curves.collect()
    assert points.height == points.select(pl.struct("trial_id", "attempt", "step").n_unique()).item()


def test_an_abandoned_journal_object_with_damaged_lines_is_not_merged(tmp_path, monkeypatch):
    """Its damaged lines would be gone with it."""
    location = Location("mock", LocalFileSystem(), str(tmp_path), local=False)
    (tmp_path / "journal").mkdir()
    line = encode([make_record(1).row()], [])
    (tmp_path / "journal/a-0.00000001.jsonl").write_bytes(line)
    (tmp_path / "journal/a-0.00000002.jsonl").write_bytes(b"0" + line[1:])
    age(tmp_path)
    monkeypatch.setattr(clocks, "store_time", lambda location: clocks.utc_now())
    monkeypatch.setattr(claims, "live_launches", lambda location, now: set())
    assert compaction._abandoned_objects(location) == ["a-0.00000001"]
