"""What is followed of a store is what a fresh reader finds, and only what was added is read."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sweeplaw.analysis.tables import scans
from sweeplaw.orchestrator.launch.retries import requeue
from sweeplaw.orchestrator.live import followed
from sweeplaw.orchestrator.live.followed import FollowedStore
from sweeplaw.orchestrator.monitor.status import progress
from sweeplaw.orchestrator.store.compaction import compact
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.store.writer import Writer
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import State
from tests.conftest import make_record

pytestmark = pytest.mark.heavy  # half a second a test, or many of them

COLUMNS = ["trial_id", "state", "attempt", "final", "val_loss"]


def same(store: Store, seen: FollowedStore) -> None:
    """Check what is followed against a fresh reader."""
    fresh = Store(store.location)
    expected = fresh.outcomes(("val_loss",)).select(COLUMNS).sort("trial_id")
    assert seen.rows.select(COLUMNS).sort("trial_id").equals(expected)
    assert seen.store.problems == fresh.problems


@pytest.mark.parametrize("seed", range(4))
def test_rounds_of_rows_retries_and_compactions_are_followed(store: Store, seed: int) -> None:
    draw = random.Random(seed)
    seen = FollowedStore(store.location.uri)
    assert seen.read()
    same(store, seen)
    attempts: dict[int, int] = {}
    states: list[State] = ["completed", "completed", "diverged", "preempted", "failed"]
    for number in range(8):
        with Writer(store.location, f"launch{number}") as writer:
            for trial in draw.sample(range(40), 12):
                attempts[trial] = attempts.get(trial, 0) + 1
                writer.write([make_record(trial, attempt=attempts[trial], state=draw.choice(states))])
                if draw.random() < 0.1:
                    assert seen.read()
                    same(store, seen)
        if draw.random() < 0.5:
            requeue(store, ["failed"])
        if draw.random() < 0.4:
            compact(store.location, grace=dt.timedelta(0), target_rows=15)
        seen.read()
        same(store, seen)


def test_a_store_without_changes_is_not_read_and_parts_are_read_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def scan(location: Any, now: Any, name: str, types: Any) -> pl.LazyFrame:
        read.extend(part.name for part in now.trials)
        return original(location, now, name, types)

    original = scans.scan
    monkeypatch.setattr(followed, "scan", scan)
    seen = FollowedStore(store.location.uri)
    for number in range(3):
        with Writer(store.location, f"launch{number}") as writer:
            writer.write([make_record(number)])
        assert seen.read()
        assert not seen.read()
    assert len(read) == len(set(read)) == 3
    assert seen.rows.height == 3


def test_damage_is_named_as_a_fresh_reader_names_it(store: Store) -> None:
    for number in range(2):
        with Writer(store.location, f"launch{number}") as writer:
            writer.write([make_record(number)])
    seen = FollowedStore(store.location.uri)
    seen.read()
    name = store.location.names("trials", ".parquet")[0]
    path = store.location.path(f"trials/{name}.parquet")
    with open(path, "r+b") as file:
        file.seek(40)
        file.write(b"\xff" * 8)
    seen.read()
    same(store, seen)
    assert any(name in problem for problem in seen.store.problems)


def test_progress_of_what_is_followed_is_that_of_the_store(store: Store) -> None:
    with Writer(store.location, "one") as writer:
        writer.write([make_record(seed, state="failed" if seed == 3 else "completed") for seed in range(6)])
    seen = FollowedStore(store.location.uri)
    seen.read()
    now = dt.datetime(2026, 1, 1, 0, 20, tzinfo=dt.UTC)
    assert progress(seen.store, now, rows=seen.rows, plans=seen.plans) == progress(Store(store.location), now)


def test_a_store_that_is_gone_is_said_and_what_was_read_stays(store: Store) -> None:
    with store.writer("launch") as writer:
        writer.write([make_record(number) for number in range(3)])
    seen = FollowedStore(store.location.uri)
    seen.read()
    place = Path(store.location.root)
    away = place.rename(place.with_name("away"))
    with pytest.raises(InputError, match="is not a sweeplaw store"):
        seen.read()
    assert seen.rows.height == 3
    away.rename(place)
    assert not seen.read()
    same(store, seen)
