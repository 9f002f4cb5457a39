"""A store may have been written by anyone: each way to lead a command out of it, or to make it wait for ever."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from pathlib import Path

import pytest

from sweeplaw.analysis.tables import tables
from sweeplaw.orchestrator.store import claims
from sweeplaw.orchestrator.store.compaction import compact
from sweeplaw.trials.store_format import confined
from sweeplaw.trials.store_format.location import locate
from tests.orchestrator.store.hostile import (
    IRREGULAR,
    SENTINEL,
    age,
    make_store,
    run,
    state_of,
)

NOW = dt.timedelta(0)
ENDLESS = {"link to /dev/zero": "/dev/zero", "link to itself": None, "dangling link": "/nonexistent"}


@pytest.mark.parametrize("suffix", [".parquet", ".json", ".ids", ".jsonl", ""])
@pytest.mark.parametrize("up", ["../../outside/", "{outside}/", "../", "sub/../../../outside/"])
@pytest.mark.heavy
def test_a_merge_cannot_replace_what_is_outside(store, tmp_path, up, suffix):
    victims = tmp_path / "outside"
    victims.mkdir()
    names = [f"{up.format(outside=victims)}v{number}" for number in range(2)]
    for number in range(2):
        for written in (victims, tmp_path / "store"):
            (written / f"v{number}{suffix or '.json'}").write_text("of a user")
    before = state_of(victims)
    evil = tmp_path / "store/merges/evil.json"
    evil.write_text(json.dumps({"replaces": [*names, *(f"{name}{suffix}" for name in names)], "rows": 0}))
    age(tmp_path / "store")
    code, text = run("compact", tmp_path / "store", "--now")
    assert (code, "merges/evil.json" in text) == (3, True)
    assert state_of(victims) == before
    assert (tmp_path / "store" / f"v0{suffix or '.json'}").exists()


def test_a_damaged_merge_leaves_its_part_and_all_others_alone(tmp_path):
    store = make_store(tmp_path / "store")
    (part,) = store.location.names("merges", ".json")
    Path(store.location.path(f"merges/{part}.json")).write_text('{"replaces": ["../x"]}')
    age(tmp_path / "store")
    files = sorted(str(path) for path in (tmp_path / "store").rglob("*.parquet"))
    done = compact(store.location, grace=NOW)
    assert done.merged == []
    assert any(f"merges/{part}.json" in fault for fault in done.faults)
    assert set(files) <= {str(path) for path in (tmp_path / "store").rglob("*.parquet")}


@pytest.mark.parametrize("table", [{"dead": "../outside/v.txt"}, {"../../outside/v": "claims/x.ids"}, {"dead": ["v"]}])
def test_the_table_of_claims_names_only_files_of_claims(store, tmp_path, table):
    victim = tmp_path / "outside" / "v.txt"
    victim.parent.mkdir()
    victim.write_text("of a user")
    (victim.parent / "v.beat.json").write_text("{}")
    before = state_of(victim.parent)
    Path(store.location.path(claims.TABLE)).write_text(json.dumps(table))
    assert [lease for lease in claims.leases(store.location) if lease.trials] == []
    code, text = run("status", store.location.root)
    assert (code, claims.TABLE in text) == (3, True)
    claims.claim(store.location, {"a"}, "one", 60.0)
    claims.release(store.location, "one")
    assert state_of(victim.parent) == before
    assert store.location.read_json(claims.TABLE) == {}


def test_only_our_own_temporary_files_are_swept(store, tmp_path):
    root = Path(store.location.root)
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "analysis").mkdir()
    ours = [root / "trials/.a-0123456789.parquet.0a1b2c3d", root / "claims/.0a1b2c3d.time"]
    ours += [root / "claims/.table.json.0a1b2c3d", root / "claims/..0a1b2c3d.time.0a1b2c3d"]
    theirs = [root / "launches/.nfs0000000000a1b2c300000001", root / "analysis/.env", root / "trials/.DS_Store"]
    theirs += [root / "trials/.notes.20240101", root / "analysis/.x.json.0a1b2c3d", root / "merges/.lock"]
    theirs += [outside / ".env", outside / ".x.json.0a1b2c3d"]
    for path in (*ours, *theirs):
        path.touch()
    (root / "extra").symlink_to(outside)
    (root / "curves/.y.json.0a1b2c3d").symlink_to(outside / ".env")
    age(tmp_path)
    assert compact(store.location, grace=NOW).removed == len(ours)
    assert [path for path in (*ours, *theirs) if path.exists()] == theirs


@pytest.mark.parametrize("kind", IRREGULAR)
@pytest.mark.heavy
def test_what_is_no_regular_file_is_named_and_not_read(base, outside, tmp_path, kind):
    store = shutil.copytree(base / "store", tmp_path / "store")
    names = {"journal": "v.jsonl", "trials": "v.parquet", "curves": "v.parquet"}
    names |= dict.fromkeys(("merges", "launches", "retries", "claims", "usage", "exclusions", "sealed"), "v.json")
    for folder, name in names.items():
        (store / folder).mkdir(exist_ok=True)
        IRREGULAR[kind](store / folder / name, outside / folder / name)
    code, text = run("query", store, "--columns", "trial_id")
    assert code == 3
    for folder, name in names.items():
        assert f"{folder}/{name} cannot be read: it is {kind}" in text
    assert SENTINEL not in text


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ENDLESS)
def test_a_file_that_is_a_link_is_named_and_not_read(base, tmp_path, kind):
    store = shutil.copytree(base / "store", tmp_path / "store")
    links = ("merges/*.json", "merges/*.ids", "trials/merged-*.parquet", "launches/*.parquet", "claims/*.json")
    found = [next(store.glob(pattern)) for pattern in links]
    for path in found:
        path.unlink()
        path.symlink_to(ENDLESS[kind] or path)
    for words in (("query", store), ("status", store), ("export", store, tmp_path / "out.csv")):
        code, text = run(*words)
        assert code == 3
        assert [path for path in found if str(path.relative_to(store)) not in text] == []
    (store / "store.json").unlink()
    (store / "store.json").symlink_to(ENDLESS[kind] or store / "store.json")
    code, text = run("launch", base / "second.toml", "--store", store, "--cluster", "inline")
    assert code == 2
    assert "store.json" in text
    assert (store / "store.json").is_symlink()


@pytest.mark.heavy
@pytest.mark.parametrize(
    "folders", [["trials"], ["merges"], ["claims"], ["journal", "curves", "launches", "retries", "checkpoints"]]
)
def test_a_folder_that_is_a_link_is_neither_read_nor_written(base, outside, tmp_path, folders):
    store = shutil.copytree(base / "store", tmp_path / "store")
    for folder in folders:
        shutil.rmtree(store / folder, ignore_errors=True)
        (store / folder).symlink_to(outside / folder)
    before = state_of(outside)
    code, text = run("query", store, "--columns", "trial_id")
    assert code == 3
    assert SENTINEL not in text
    written, refusal = run("launch", base / "second.toml", "--store", store, "--cluster", "inline")
    assert written == 2
    for folder in folders:
        assert f"{folder} cannot be read: it is a symbolic link, not a folder" in text
        assert f"{folder}: it is a symbolic link, not a folder" in refusal
    run("compact", store, "--now")
    assert state_of(outside) == before


@pytest.mark.heavy
def test_a_store_may_be_reached_through_a_link_and_hold_hard_links(base, tmp_path):
    store = shutil.copytree(base / "store", tmp_path / "store")
    (tmp_path / "link").symlink_to(store)
    part = next((store / "trials").glob("*.parquet"))
    os.link(part, tmp_path / "copy")
    expected = tables.load(base / "store", states=None).trials.collect().height
    assert run("query", tmp_path / "link")[0] == 0
    assert tables.load(tmp_path / "link", states=None).trials.collect().height == expected
    assert run("launch", base / "second.toml", "--store", tmp_path / "link", "--cluster", "inline")[0] == 0


def test_two_dots_after_a_link_lead_where_the_system_goes(tmp_path, monkeypatch):
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real/deep")
    monkeypatch.chdir(tmp_path)
    base = os.path.realpath(tmp_path)
    for path, place in (
        ("link/../s", "real/s"), ("link/..", "real"), ("link/../../s", "s"), ("link/../..s/x", "real/..s/x"),
        ("no/../s", "s"), ("./a..b//s/", "a..b/s"),
    ):  # fmt: skip
        assert locate(path).root == f"{base}/{place}"
        assert locate(f"{tmp_path}/{path}").root in (f"{base}/{place}", f"{tmp_path}/{place}")
    assert locate("..").root == os.path.dirname(base)
    assert locate("link/s").root == os.path.abspath("link/s")  # a link that the path itself goes through stays


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["claims/table.json.lock", "merges/.lock"])
@pytest.mark.parametrize("kind", ["a symbolic link", "a FIFO"])
def test_a_lock_that_is_a_link_is_refused_with_a_sentence(base, tmp_path, name, kind):
    store = shutil.copytree(base / "store", tmp_path / "store")
    (store / name).unlink(missing_ok=True)
    target = tmp_path / "target"
    IRREGULAR[kind](store / name, target)
    words = ("compact", store) if name.startswith("merges") else ("launch", base / "second.toml", "--store", store)
    code, text = run(*words, *(() if words[0] == "compact" else ("--cluster", "inline")))
    assert code == 2
    assert kind in text
    assert not target.exists()


@pytest.mark.parametrize("name", ["../x", "/x", "a/../x", "a/b/c", "", "a//b", "trials/x\n", "trials/..", ".."])
def test_a_location_resolves_only_names_of_its_own(store, name):
    for resolve in (store.location.path, store.location.read, store.location.exists, store.location.writable):
        with pytest.raises(ValueError, match="is not the name of a file"):
            resolve(name)


def test_names_that_no_file_of_a_store_has_are_reported_without_control_characters(store):
    for name in ("we ird.jsonl", "e\x1b[31mvil.jsonl", "-x.jsonl"):
        Path(store.location.root, "journal", name).touch()
    faults = tables.load(store.location.root).faults
    assert len(faults) == 3
    assert all(fault.isprintable() for fault in faults)


def test_hidden_files_are_not_listed(store):
    for name in (".nfs00000001.json", ".x.json", "x.json"):
        Path(store.location.root, "launches", name).write_text("{}")
    assert store.location.names("launches", ".json") == ["x"]


def test_an_error_of_the_system_names_the_whole_path(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        confined.open_file(str(tmp_path), "absent.json")
    assert caught.value.filename == f"{tmp_path}/absent.json"
    (tmp_path / "taken.json").touch()
    with pytest.raises(FileExistsError) as taken:
        confined.open_file(str(tmp_path), "taken.json", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    assert taken.value.filename == f"{tmp_path}/taken.json"


def test_odd_entries_are_named_if_they_are_visible_and_of_the_kind_that_is_read(tmp_path: Path) -> None:
    for name in ("a.jsonl", ".b.jsonl", "c.txt", ".d.txt"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "e.jsonl").write_text("")
    tmp_path.joinpath("folder").mkdir()
    found = confined.irregular(str(tmp_path.parent), tmp_path.name, (".jsonl",))
    assert found == {f"{tmp_path.name}/a.jsonl": "cannot be read: it is a FIFO, not a regular file"}
