"""Queries for some trials read only the files that may hold them, with the same result as reading all files."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeplaw.analysis.tables import tables
from sweeplaw.analysis.tables.query import Query, run_query
from sweeplaw.analysis.tables.sql.expressions import values_of
from sweeplaw.orchestrator.store.compaction import compact
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.store.writer import Writer
from sweeplaw.trials.store_format.location import locate
from sweeplaw.trials.store_format.parts.id_index import encoded, hashes, may_hold, name_of
from sweeplaw.trials.store_format.parts.snapshot import snapshot


def merged_parts(store):
    return [part for part in snapshot(store.location).trials if part.merged]


@pytest.fixture
def three_merged(store, record):
    """Three merged parts of twenty trials each."""
    for number in range(3):
        with Writer(store.location, f"launch{number}") as writer:
            writer.write([record(seed) for seed in range(20 * number, 20 * number + 20)])
        compact(store.location, grace=dt.timedelta(0), target_rows=20)
    assert len(merged_parts(store)) == 3
    return store


@given(st.lists(st.text(max_size=70), unique=True), st.lists(st.text(max_size=70)))
@pytest.mark.heavy
def test_the_index_admits_all_ids_of_its_part_and_almost_no_others(tmp_path_factory, held, others):
    location = locate(tmp_path_factory.mktemp("part"))
    os.mkdir(location.path("merges"))
    Path(location.path(name_of("merged-x"))).write_bytes(encoded(held))
    assert may_hold(location, "merged-x", len(held), hashes(held)).all()
    # Trailing zeros are not distinguished, and an empty part has nothing to map.
    strangers = [text for text in others if text.rstrip("\0") not in {text.rstrip("\0") for text in held}]
    assert not held or not may_hold(location, "merged-x", len(held), hashes(strangers)).any()


def test_hashes_never_change():
    """They are stored on disk: 2 x 8 bytes times the first two numbers of PCG64 with seed 0, made odd."""
    first, second = (int(number) | 1 for number in np.random.PCG64(0).random_raw(2))
    assert (first, second) == (11749869230777074271, 4976686463289251617)
    low, high = int.from_bytes(b"trial_id", "little"), int.from_bytes(b"7", "little")
    assert hashes(["trial_id7"]).tolist() == [(low * first + high * second) % 2**64]


@pytest.mark.heavy
def test_a_query_for_one_trial_opens_only_its_part(three_merged, record):
    """The other two are removed after loading, so opening them would fail."""
    wanted = record(25).spec.trial_id
    loaded = tables.load(three_merged.location.uri)
    assert loaded.trials.collect().height == 60
    holds = [
        part for part in merged_parts(three_merged) if may_hold(three_merged.location, part.name, 20, hashes([wanted]))
    ]
    (mine,) = holds
    for part in merged_parts(three_merged):
        if part != mine:
            os.unlink(three_merged.location.path(part.path))
    found = run_query(loaded, Query(where=f"trial_id = '{wanted}' AND val_loss < 10")).frame
    assert found.get_column("trial_id").to_list() == [wanted]


@pytest.mark.heavy
@pytest.mark.parametrize("damage", ["missing", "torn", "short"])
def test_a_part_without_a_complete_index_is_read(three_merged, record, damage):
    wanted = record(25).spec.trial_id
    for part in merged_parts(three_merged):
        path = Path(three_merged.location.path(name_of(part.name)))
        content = path.read_bytes()
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(content[:-1] if damage == "torn" else content[:-8])
    found = run_query(tables.load(three_merged.location.uri), Query(where=f"trial_id = '{wanted}'")).frame
    assert found.height == 1


@pytest.mark.heavy
def test_the_index_is_removed_with_its_part(three_merged, record):
    with Writer(three_merged.location, "again") as writer:
        writer.write([record(seed, attempt=2) for seed in range(60)])
    compact(three_merged.location, grace=dt.timedelta(0))
    compact(three_merged.location, grace=dt.timedelta(0))
    (part,) = merged_parts(three_merged)
    assert three_merged.location.names("merges", ".ids") == [part.name]


@pytest.mark.heavy
def test_damage_to_a_part_that_was_read_before_is_detected(three_merged):
    """Footers are cached by inode, size and mtime of the file."""
    assert not tables.load(three_merged.location.uri).faults
    part = merged_parts(three_merged)[0]
    path = Path(three_merged.location.path(part.path))
    content = path.read_bytes()
    path.write_bytes(content[:-8] + b"PAR0PAR0")
    assert [fault for fault in tables.load(three_merged.location.uri).faults if part.path in fault]
    path.write_bytes(content)
    assert not tables.load(three_merged.location.uri).faults


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rounds=st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4)), max_size=6), min_size=1, max_size=5),
    asked=st.lists(st.integers(0, 11), min_size=1, max_size=3),
)
@pytest.mark.heavy
def test_a_query_by_id_returns_the_same_rows_as_a_full_scan(tmp_path_factory, record, write_rounds, rounds, asked):
    store = Store.open(tmp_path_factory.mktemp("any") / "store", create=True)
    write_rounds(store, rounds)
    loaded = tables.load(store.location.uri)
    ids = ", ".join(f"'{record(seed).spec.trial_id}'" for seed in asked)
    narrow = run_query(loaded, Query(where=f"trial_id IN ({ids})", sort=("trial_id",))).frame
    whole = run_query(loaded, Query(where=f"trial_id IN ({ids}) OR 1 = 0", sort=("trial_id",))).frame
    assert narrow.equals(whole)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("trial_id = 'a'", ["a"]),
        ("\"trial_id\" = 'it''s' -- a remark", ["it's"]),
        ("val_loss < 2 and trial_id in ('a', 'b') AND lr > 0", ["a", "b"]),
        ("trial_id = 'a' AND (lr > 1 AND state = 'failed')", ["a"]),
        ("trial_id = 'a' OR lr > 0", None),
        ("NOT trial_id = 'a'", None),
        ("trial_id != 'a'", None),
        ("trial_id NOT IN ('a')", None),
        ("lr BETWEEN 1 AND trial_id = 'a'", None),
        ("(trial_id = 'a') = (lr > 0)", None),
        ("trial_id = 'a' || host", None),
        ("trial_id IN ('a', host)", None),
        ("trial_id = 'a' IS NULL", None),
        ("state = 'trial_id'", None),
        ("lr > 0", None),
    ],
)
def test_ids_are_extracted_from_a_condition_only_if_it_excludes_all_others(text, values):
    assert values_of("trial_id", text) == values
