"""What a merge replaced is removed only after every object of the merged part was read again, however large it is."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import replace
from pathlib import Path

import pytest

from sweeplaw.orchestrator.store.compaction import compact
from sweeplaw.orchestrator.store.garbage import collect
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.store.writer import Writer
from sweeplaw.trials.store_format.location import Location
from sweeplaw.trials.store_format.parts import verification
from sweeplaw.trials.store_format.parts.merged_parts import holds_its_rows, is_replaceable, stands_in
from tests.conftest import make_points, make_record


@pytest.fixture
def objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Location:
    """A store with a merged part and what it replaced, as seen on an object store."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = Store.open(tmp_path / "store", create=True)
    for launch in range(2):
        with Writer(store.location, f"launch{launch}") as writer:
            for seed in range(4 * launch, 4 * launch + 4):
                writer.write([record := make_record(seed)], make_points(record))
    compact(store.location)
    return replace(store.location, uri="mock://store", local=False)


def damage(location: Location, folder: str, merge: str) -> None:
    """Change one byte of an object, and neither its size nor its time, as a fault of the store would."""
    path = Path(location.path(f"{folder}/{merge}.parquet"))
    times, content = path.stat(), bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("folder", ["trials", "curves"])
@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_an_object_that_is_too_large_to_verify_or_was_verified_before_is_read_for_it(
    objects: Location, monkeypatch: pytest.MonkeyPatch, folder: str, limit: int
) -> None:
    (merge,) = objects.names("merges", ".json")
    monkeypatch.setattr(verification, "DOWNLOADED_BYTES", limit)
    assert holds_its_rows(objects, merge)
    damage(objects, folder, merge)
    with verification.verifier(objects) as readers:
        readers.verify(f"{folder}/{merge}.parquet")  # a reader of a few columns does not download all of it
    assert not holds_its_rows(objects, merge)
    assert is_replaceable(objects, merge)


def test_nothing_is_removed_for_a_damaged_object(objects: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    (merge,) = objects.names("merges", ".json")
    monkeypatch.setattr("sweeplaw.orchestrator.store.clocks.store_time", lambda location: dt.datetime.now(dt.UTC))
    monkeypatch.setattr(verification, "DOWNLOADED_BYTES", 0)
    before = objects.names("trials", ".parquet")
    damage(objects, "trials", merge)
    assert collect(objects, dt.timedelta(0)) == 0
    assert objects.names("trials", ".parquet") == before
    damage(objects, "trials", merge)
    assert collect(objects, dt.timedelta(0)) > 0
    assert objects.names("trials", ".parquet") == [merge]


def test_replaced_files_stand_in_for_a_damaged_part_as_long_as_any_is_there(objects: Location) -> None:
    (merge,) = objects.names("merges", ".json")
    trials, curves = (f"{folder}/{merge}.parquet" for folder in ("trials", "curves"))
    parts = [name for name in objects.names("trials", ".parquet") if name != merge]
    assert len(parts) == 2
    assert stands_in(objects, merge, [trials])
    assert stands_in(objects, merge, [curves])
    Path(objects.path(f"trials/{parts[0]}.parquet")).unlink()
    assert stands_in(objects, merge, [trials]), "some rows are better than none"
    assert not stands_in(objects, merge, [curves]), "the part has more trials than are left of its parts"
    Path(objects.path(f"trials/{parts[1]}.parquet")).unlink()
    assert not stands_in(objects, merge, [trials]), "nothing is left to stand in"
    assert not stands_in(objects, merge, [curves])
