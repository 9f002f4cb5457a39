"""Several launches on one store: a trial is one launch's, a dead launch's trials are free, nothing runs twice."""

from __future__ import annotations

import datetime as dt
import threading

from orchestrator import claims
from orchestrator.store import Store


def test_a_trial_is_granted_to_one_launch_only(store):
    assert store.claim(["a", "b"], "one", 60) == {"a", "b"}
    assert store.claim(["b", "c"], "two", 60) == {"c"}
    assert store.claim(["a", "b"], "one", 60) == {"a", "b"}


def test_a_released_trial_is_free(store):
    store.claim(["a", "b"], "one", 60)
    store.release("one", ["a"])
    assert store.claim(["a", "b"], "two", 60) == {"a"}
    store.release("one")
    assert store.claim(["b"], "two", 60) == {"b"}


def test_a_dead_launch_loses_its_trials_and_learns_of_it_when_it_wakes(store):
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    now = {"time": start}
    clock = lambda: now["time"]  # noqa: E731
    claims.claim(store.location, ["a"], "one", 60, clock)
    assert claims.renew(store.location, "one", 60, clock)
    now["time"] = start + dt.timedelta(seconds=61)
    assert claims.claim(store.location, ["a"], "two", 60, clock) == {"a"}
    assert not claims.renew(store.location, "one", 60, clock)
    assert claims.claim(store.location, ["a"], "one", 60, clock) == set()


def test_what_another_launch_finished_meanwhile_is_not_granted(store, record):
    other = Store.open(store.location.uri)
    assert store.finished() == other.finished() == {}
    trial = record(1).spec.trial_id
    assert other.claim([trial], "two", 60) == {trial}
    writer = other.writer("two")
    writer.write([record(1, launch="two")])
    other.release("two", [trial])
    assert store.claim([trial], "one", 60) == set()
    writer.write([record(2, launch="two")])
    writer.close()
    assert store.claim([record(2).spec.trial_id, "z"], "one", 60) == {"z"}


def test_many_launches_at_once_share_the_trials_without_overlap(store):
    wanted = [f"trial{number}" for number in range(60)]
    granted: dict[str, set[str]] = {}

    def launch(name: str) -> None:
        own = Store.open(store.location.uri)
        taken: set[str] = set()
        for start in range(0, 60, 5):
            taken |= own.claim(wanted[start : start + 5], name, 60)
        granted[name] = taken

    threads = [threading.Thread(target=launch, args=(f"launch{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(trial for taken in granted.values() for trial in taken) == sorted(wanted)
